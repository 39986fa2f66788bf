//! The asking side of a check: a progress bar, the differences, the end.
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::UnixStream;
use virga_node::task::Tasks;

use super::{Finding, FsckCall, Kind, Summary, Told};
use crate::Failure;

/// Bytes of one line: the longest path and then some.
const LONGEST_LINE: usize = 64 * 1024;

/// Has an account checked by the process behind `socket`, and shows what comes.
///
/// # Errors
/// What stopped it; that differences are left over is one too.
pub async fn check(socket: &Path, call: &FsckCall, json: bool) -> Result<(), Failure> {
    let bar = match json {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(0),
    };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    let mut findings = Vec::new();
    let mut outcome = None;
    let mut lines = Lines::open(socket, call).await?;
    while let Some(told) = lines.next().await? {
        match told {
            Told::Progress { of, done, total } => {
                bar.set_message(of);
                bar.set_length(total.max(done));
                bar.set_position(done);
            }
            Told::Finding(finding) => {
                if !json {
                    bar.suspend(|| line(&describe(&finding)))?;
                }
                findings.push(finding);
            }
            Told::End(summary) => outcome = Some(Ok(summary)),
            Told::Failed(why) => outcome = Some(Err(why)),
        }
    }
    bar.finish_and_clear();
    let summary = outcome
        .unwrap_or_else(|| Err("the check broke off: the process has ended".to_owned()))
        .map_err(Failure::Failed)?;
    if json {
        let all = serde_json::json!({ "summary": summary, "findings": findings });
        line(&serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?)?;
    } else {
        line(&tell(&summary))?;
    }
    left_over(&summary, call.repair)
}

fn left_over(summary: &Summary, repair: bool) -> Result<(), Failure> {
    let left = summary.findings - summary.repaired;
    match (left, summary.silent_devices.is_empty()) {
        (0, true) => Ok(()),
        (0, false) => Err(Failure::Failed(format!(
            "not all was seen: {} did not say what they hold; run it again when they do",
            summary.silent_devices.join(", ")
        ))),
        (left, _) if repair => Err(Failure::Failed(format!(
            "{left} differences could not be repaired"
        ))),
        (left, _) => Err(Failure::Failed(format!(
            "{left} differences; repair them with --repair"
        ))),
    }
}

fn describe(finding: &Finding) -> String {
    let what = match finding.kind {
        Kind::RowWithoutObject => "listed, but there is no such object",
        Kind::RowDiffers => "its listing says something else",
        Kind::ObjectWithoutRow => "not listed",
        Kind::ObjectWithoutContainer => "its container is not there",
    };
    let path = finding.path.escape_debug();
    match (&finding.trouble, finding.repaired) {
        (Some(why), _) => format!("{path}: {what}; not repaired: {why}"),
        (None, true) => format!("{path}: {what}; repaired"),
        (None, false) => format!("{path}: {what}"),
    }
}

fn tell(summary: &Summary) -> String {
    format!(
        "{} containers with {} rows, {} objects: {} differences, {} repaired",
        summary.containers, summary.rows, summary.objects, summary.findings, summary.repaired
    )
}

fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        // A reader that has seen enough (`| head`) is no failure.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Failed(e.to_string())),
        _ => Ok(()),
    }
}

/// What is told, line by line.
struct Lines {
    body: hyper::body::Incoming,
    buffer: Vec<u8>,
    /// Runs the connection.
    _tasks: Tasks,
}

impl Lines {
    async fn open(socket: &Path, call: &FsckCall) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::Failed(format!("{}: {e}", socket.display()));
        let stream = UnixStream::connect(socket).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        let tasks = Tasks::new();
        tasks.spawn(connection);
        let body = serde_json::to_vec(call).map_err(|e| failed(&e))?;
        let request = http::Request::post("/fsck")
            .header("host", "virga")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body))
            .map_err(|e| failed(&e))?;
        let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
        if !answer.status().is_success() {
            let why = "there is no proxy in this process: name the data folder of one with --data";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(Self {
            body: answer.into_body(),
            buffer: Vec::new(),
            _tasks: tasks,
        })
    }

    async fn next(&mut self) -> Result<Option<Told>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let told = serde_json::from_slice(&line).map_err(|e| Failure::Failed(e.to_string()))?;
                return Ok(Some(told));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(Failure::Failed("an answer of another kind".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Failure::Failed(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_a_failure_that_says_what_to_do() {
        let summary = |findings, repaired, silent: &[&str]| Summary {
            findings,
            repaired,
            silent_devices: silent.iter().map(ToString::to_string).collect(),
            ..Summary::default()
        };
        assert!(left_over(&summary(0, 0, &[]), false).is_ok());
        assert!(left_over(&summary(3, 3, &[]), true).is_ok());
        for (summary, repair, says) in [
            (summary(2, 0, &[]), false, "--repair"),
            (summary(2, 1, &[]), true, "1 differences could not"),
            (summary(0, 0, &["d1"]), false, "d1 did not say"),
        ] {
            let Err(Failure::Failed(why)) = left_over(&summary, repair) else {
                panic!("no failure");
            };
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_finding_says_what_and_where() {
        let finding = Finding {
            kind: Kind::ObjectWithoutRow,
            path: "a/\0versions\0c/o".into(),
            repaired: false,
            trouble: Some("full".into()),
        };
        assert_eq!(
            describe(&finding),
            "a/\\0versions\\0c/o: not listed; not repaired: full"
        );
    }
}

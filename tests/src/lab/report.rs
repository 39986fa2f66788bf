//! What many runs found, as a page: written anew after each, so that what was
//! found is there however the whole ends.
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::run::Verdict;

/// Findings shown of a run; more are counted.
const SHOWN: usize = 12;

/// All verdicts so far, and where the page is.
#[derive(Debug)]
pub struct Report {
    /// Folder of the page and of the logs of runs that were not good.
    pub folder: PathBuf,
    page: PathBuf,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// A page called `name` in the build folder.
    pub fn new(name: &str) -> Self {
        let exe = std::env::current_exe().expect("the path of the test");
        // TARGET/PROFILE/deps/NAME
        let target = exe.ancestors().nth(3).expect("a build folder");
        let folder = target.join("lab");
        std::fs::create_dir_all(&folder).expect("a folder");
        Self {
            page: folder.join(name),
            folder,
            verdicts: Vec::new(),
        }
    }

    /// Adds a run and writes the page.
    pub fn add(&mut self, verdict: Verdict) {
        println!("{}", line(&verdict));
        for finding in verdict.findings.iter().take(SHOWN) {
            println!("    {:>8.3?} {:?}: {}", finding.at, finding.kind, finding.text);
        }
        if let Some(failure) = &verdict.failure {
            println!("    {failure}");
        }
        self.verdicts.push(verdict);
        std::fs::write(&self.page, self.page()).expect("a page");
    }

    /// Seeds of runs that were not good.
    pub fn bad(&self) -> Vec<u64> {
        let bad = self.verdicts.iter().filter(|verdict| !verdict.is_good());
        bad.map(|verdict| verdict.seed).collect()
    }

    fn page(&self) -> String {
        let mut page = String::from("# Runs of the lab\n\n");
        let all = &self.verdicts;
        let requests: usize = all.iter().map(|v| v.requests).sum();
        let refused: usize = all.iter().map(|v| v.refused).sum();
        let mut health: Vec<Duration> = all.iter().filter_map(|v| v.health).collect();
        health.sort_unstable();
        let at = |share: usize| health.get(health.len().saturating_sub(1) * share / 100);
        let seconds = |d: Option<&Duration>| d.map_or(0.0, Duration::as_secs_f64);
        let _ = writeln!(
            page,
            "{} runs, {} not good; {requests} requests answered and judged, {refused} refused while faults \
             justified it. From the last fault to full health: median {:.1} s, 95th percentile {:.1} s, \
             longest {:.1} s.\n",
            all.len(),
            self.bad().len(),
            seconds(at(50)),
            seconds(at(95)),
            seconds(health.last()),
        );
        page += "| seed | faults | requests | refused | findings | by hand | s to health |\n";
        page += "| --- | --- | --- | --- | --- | --- | --- |\n";
        all.iter().for_each(|verdict| page += &row(verdict));
        for verdict in all.iter().filter(|verdict| !verdict.is_good()) {
            let _ = writeln!(page, "\n## Seed {}\n\n{}\n", verdict.seed, verdict.plan);
            for note in &verdict.notes {
                let _ = writeln!(page, "- {note}");
            }
            for finding in verdict.findings.iter().take(SHOWN) {
                let text = finding.text.replace('\n', " ");
                let _ = writeln!(page, "- {:.3?} {:?}: {text}", finding.at, finding.kind);
            }
            if let Some(failure) = &verdict.failure {
                let _ = writeln!(page, "\n```\n{failure}\n```");
            }
        }
        page
    }
}

fn found(verdict: &Verdict) -> String {
    let counts: Vec<String> = verdict
        .counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind:?}"))
        .collect();
    match (&verdict.failure, counts.is_empty()) {
        (Some(_), _) => format!("**failed** {}", counts.join(", ")),
        (None, true) => "none".to_owned(),
        (None, false) if verdict.is_good() => format!("none ({})", counts.join(", ")),
        (None, false) => format!("**{}**", counts.join(", ")),
    }
}

fn health(verdict: &Verdict) -> String {
    let seconds = verdict.health.map(|took| format!("{:.1}", took.as_secs_f64()));
    seconds.unwrap_or_else(|| "never".to_owned())
}

fn row(v: &Verdict) -> String {
    let by_hand: Vec<String> = v.by_hand.iter().map(|s| format!("store{}", s + 1)).collect();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        v.seed,
        v.plan,
        v.requests,
        v.refused,
        found(v),
        by_hand.join(" "),
        health(v)
    )
}

fn line(v: &Verdict) -> String {
    format!(
        "seed {}: {} requests, {} refused, findings: {}, healthy after {} s, {:.1} s in all",
        v.seed,
        v.requests,
        v.refused,
        found(v),
        health(v),
        v.took.as_secs_f64()
    )
}

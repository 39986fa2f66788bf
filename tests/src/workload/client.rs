//! One client of a workload: a door to the object store, chance, and the
//! requests of the Swift API, each judged by what its key may hold.
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::findings::Kind;
use super::register::{Change, Key, Outcome, Sight};
use super::{Container, Workload, body};
use crate::chance::Chance;
use crate::swift::{Answer, Swift};

/// Metadata that names the write it came with.
const OBJECT_MARK: &str = "x-object-meta-write";
const CONTAINER_MARK: &str = "x-container-meta-write";
/// Rows on a page of a listing: few, so that listings have several.
const PAGE: usize = 25;
/// Between tries at doors that are all closed, and how many.
const REST: Duration = Duration::from_millis(100);
const TRIES: usize = 100;

/// How long a proxy waits for a replica before it takes it as silent.
const STALL: Duration = Duration::from_secs(1);
/// Writes that others of the same name may meet.
const MEETING: [&str; 3] = ["PUT hot", "POST hot", "DELETE hot"];

pub(super) struct Client<'a> {
    pub(super) load: &'a Workload,
    pub(super) chance: Chance,
    /// The door in use.
    pub(super) door: usize,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The connection broke; the request is over.
    Cut,
    /// Nobody answered in time; the request may go on.
    Silent,
}

/// An object or a container: what its requests look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Object,
    Container,
}

impl What {
    fn mark(self) -> &'static str {
        match self {
            Self::Object => OBJECT_MARK,
            Self::Container => CONTAINER_MARK,
        }
    }
}

fn number(answer: &Answer, mark: &str) -> u64 {
    answer.header(mark).parse().unwrap_or(u64::MAX)
}

fn etag(answer: &Answer) -> String {
    answer.header("etag").trim_matches('"').to_owned()
}

fn md5(bytes: &[u8]) -> String {
    use md5::Digest;
    hex::encode(md5::Md5::digest(bytes))
}

impl Client<'_> {
    fn swift(&self) -> &Swift {
        &self.load.doors[self.door]
    }

    pub(super) fn note(&self, kind: Kind, text: String) {
        self.load.findings.note(kind, text);
    }

    /// Sends a request; a 5xx and a broken connection are findings.
    pub(super) fn send(
        &mut self,
        name: &'static str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, NoAnswer> {
        let begun = Instant::now();
        let answer = self.swift().exchange(method, path, headers, body);
        let took = begun.elapsed();
        match answer {
            Ok(answer) => {
                self.load.findings.took(name, took);
                if answer.status.is_server_error() {
                    let (id, text) = (answer.header("x-trans-id"), answer.text());
                    let why = format!(
                        "{method} {path}: {} after {took:.1?}, {id}: {text}",
                        answer.status
                    );
                    if answer.status == 503 && took >= STALL && MEETING.contains(&name) {
                        self.load.findings.undecided(took, why);
                    } else {
                        self.load.findings.refused(Kind::Unavailable, took, why);
                    }
                }
                Ok(answer)
            }
            Err(ureq::Error::Timeout(_)) => {
                let why = format!("{method} {path}: no answer in {took:.1?}");
                self.load.findings.refused(Kind::Unavailable, took, why);
                Err(NoAnswer::Silent)
            }
            Err(error) => {
                let url = &self.swift().url;
                let why = format!("{method} {path} at {url}: {error}");
                self.load.findings.refused(Kind::Cut, took, why);
                self.door = (self.door + 1) % self.load.doors.len();
                Err(NoAnswer::Cut)
            }
        }
    }

    /// Sends what may be sent twice, at other doors when one is closed.
    pub(super) fn ask(
        &mut self,
        name: &'static str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        for attempt in 0..TRIES {
            match self.send(name, method, path, headers, b"") {
                Ok(answer) => return Some(answer),
                Err(NoAnswer::Silent) => return None,
                Err(NoAnswer::Cut) if attempt + 1 >= self.load.doors.len() => std::thread::sleep(REST),
                Err(NoAnswer::Cut) => {}
            }
        }
        let why = format!("{method} {path}: every door is closed");
        let took = REST.saturating_mul(TRIES as u32);
        self.load.findings.refused(Kind::Unavailable, took, why);
        None
    }

    /// What a write's answer means; a status that none of `good` is, is a finding.
    fn outcome(&self, what: &str, answer: &Result<Answer, NoAnswer>, good: &[u16]) -> Outcome {
        match answer {
            Ok(answer) if good.contains(&answer.status.as_u16()) => Outcome::Acknowledged,
            Ok(answer) if answer.status.is_server_error() => Outcome::Unknown,
            Ok(answer) => {
                let id = answer.header("x-trans-id");
                self.note(
                    Kind::Wrong,
                    format!("{what}: {} {}, {id}", answer.status, answer.text()),
                );
                Outcome::Unknown
            }
            Err(NoAnswer::Cut) => {
                std::thread::sleep(REST);
                Outcome::Unknown
            }
            Err(NoAnswer::Silent) => Outcome::Silent,
        }
    }

    /// PUT of an object of about `len` bytes, or of a container. False if
    /// somebody else writes the key now.
    pub(super) fn put(&mut self, what: What, key: &Key, len: usize) -> bool {
        let Some(claim) = key.claim() else {
            return false;
        };
        let mut bytes = Vec::new();
        let n = key.begin(&claim, |n| match what {
            What::Object => {
                bytes = body::of(&key.path, n, len);
                Change::Put(md5(&bytes), bytes.len() as u64)
            }
            What::Container => Change::Put(String::new(), 0),
        });
        let name = match (what, len) {
            (What::Container, _) => "PUT box",
            (_, 0..=1_000_000) => "PUT",
            _ => "PUT large",
        };
        let answer = self.send(name, "PUT", &key.path, &[(what.mark(), &n.to_string())], &bytes);
        let good: &[u16] = match what {
            What::Object => &[201],
            What::Container => &[201, 202],
        };
        if let Ok(answer) = &answer
            && what == What::Object
            && answer.status == 201
            && Some(etag(answer)) != key.data(n).map(|(etag, _)| etag)
        {
            let text = format!("PUT {} {n}: ETag {} is not its sum", key.path, etag(answer));
            self.note(Kind::Torn, text);
        }
        let what = format!("PUT {} {n}", key.path);
        key.end(claim, self.outcome(&what, &answer, good));
        true
    }

    /// POST of new metadata, when the key is known to hold something.
    pub(super) fn post(&mut self, what: What, key: &Key) -> bool {
        let Some(claim) = key.claim() else {
            return false;
        };
        if key.exists() != Some(true) {
            return false;
        }
        let n = key.begin(&claim, |_| Change::Post);
        let (name, good): (_, &[u16]) = match what {
            What::Object => ("POST", &[202]),
            What::Container => ("POST box", &[204]),
        };
        let answer = self.send(name, "POST", &key.path, &[(what.mark(), &n.to_string())], b"");
        let text = format!("POST {} {n} (it exists)", key.path);
        key.end(claim, self.outcome(&text, &answer, good));
        true
    }

    /// DELETE.
    pub(super) fn delete(&mut self, what: What, key: &Key) -> bool {
        let Some(claim) = key.claim() else {
            return false;
        };
        let exists = key.exists();
        let n = key.begin(&claim, |_| Change::Delete);
        let name = match what {
            What::Object => "DELETE",
            What::Container => "DELETE box",
        };
        let answer = self.send(name, "DELETE", &key.path, &[], b"");
        let outcome = self.outcome(&format!("DELETE {} {n}", key.path), &answer, &[204, 404]);
        if let (Ok(answer), Outcome::Acknowledged, Some(exists)) = (&answer, outcome, exists)
            && (answer.status == 204) != exists
        {
            let was = if exists { "there" } else { "deleted" };
            let (status, id) = (answer.status, answer.header("x-trans-id"));
            let text = format!("DELETE {} {n}: {status}, and it was {was}; {id}", key.path);
            self.note(Kind::Told, text);
        }
        key.end(claim, outcome);
        true
    }

    /// GET of an object.
    pub(super) fn get(&mut self, key: &Key) {
        let window = key.window();
        let Some(answer) = self.ask("GET", "GET", &key.path, &[]) else {
            return;
        };
        let sight = match answer.status.as_u16() {
            200 if etag(&answer) != md5(&answer.body) => {
                let text = format!("GET {}: the ETag is not the sum of the body", key.path);
                return self.note(Kind::Torn, text);
            }
            200 => match body::number(&key.path, &answer.body) {
                Ok(data) => Sight::Data(data, number(&answer, OBJECT_MARK)),
                Err(why) => return self.note(Kind::Torn, format!("GET {}: {why}", key.path)),
            },
            404 => Sight::Gone,
            _ => return self.wrong("GET", key, &answer),
        };
        self.judge("GET", key, (window, &sight), &answer);
    }

    /// GET of some bytes of an object.
    pub(super) fn get_range(&mut self, key: &Key) {
        let window = key.window();
        let first = self.chance.below(2_000) as usize;
        let last = first + self.chance.below(200_000) as usize;
        let range = format!("bytes={first}-{last}");
        let Some(answer) = self.ask("GET range", "GET", &key.path, &[("range", &range)]) else {
            return;
        };
        let (sum, mark) = (etag(&answer), number(&answer, OBJECT_MARK));
        let sight = match answer.status.as_u16() {
            206 => Sight::Head(sum, mark),
            // It is shorter than that.
            416 => return,
            404 => Sight::Gone,
            _ => return self.wrong("GET range", key, &answer),
        };
        if let Sight::Head(etag, _) = &sight
            && let Some(n) = key.by_etag(etag)
        {
            let len = key.data(n).map_or(0, |(_, size)| size as usize);
            let whole = body::of(&key.path, n, len);
            let wanted = whole.get(first..whole.len().min(last + 1)).unwrap_or_default();
            if wanted != answer.body {
                let text = format!("GET {} {range} of write {n}: other bytes", key.path);
                return self.note(Kind::Torn, text);
            }
        }
        self.judge("GET range", key, (window, &sight), &answer);
    }

    /// HEAD.
    pub(super) fn head(&mut self, what: What, key: &Key) {
        let window = key.window();
        let name = match what {
            What::Object => "HEAD",
            What::Container => "HEAD box",
        };
        let Some(answer) = self.ask(name, "HEAD", &key.path, &[]) else {
            return;
        };
        let sight = match answer.status.as_u16() {
            200 | 204 => Sight::Head(etag(&answer), number(&answer, what.mark())),
            404 => Sight::Gone,
            _ => return self.wrong(name, key, &answer),
        };
        self.judge(name, key, (window, &sight), &answer);
    }

    fn wrong(&self, request: &str, key: &Key, answer: &Answer) {
        if !answer.status.is_server_error() {
            let text = format!("{request} {}: {} {}", key.path, answer.status, answer.text());
            self.note(Kind::Wrong, text);
        }
    }

    fn judge(
        &self,
        request: &str,
        key: &Key,
        (window, sight): (super::register::Window, &Sight),
        answer: &Answer,
    ) {
        if let Err((kind, why)) = key.judge(window, sight) {
            let id = answer.header("x-trans-id");
            self.note(kind, format!("{request} {}: {why}; {id}", key.path));
        }
    }

    /// GET of a whole listing, page by page; every row and every missing one
    /// is judged as if it was a read.
    pub(super) fn list(&mut self, container: &Container) {
        let mut marker = String::new();
        loop {
            let windows: Vec<_> = container.keys.iter().map(Key::window).collect();
            let path = format!("{}?format=json&limit={PAGE}&marker={marker}", container.name);
            let Some(answer) = self.ask("LIST", "GET", &path, &[]) else {
                return;
            };
            if answer.status != 200 {
                if !answer.status.is_server_error() {
                    let text = format!("GET {path}: {} {}", answer.status, answer.text());
                    self.note(Kind::Wrong, text);
                }
                return;
            }
            let Some(rows) = rows(&answer) else {
                return self.note(Kind::Torn, format!("GET {path}: {}", answer.text()));
            };
            let end = (rows.len() == PAGE).then(|| rows[PAGE - 1].0.clone());
            for (key, window) in container.keys.iter().zip(windows) {
                let name = key.path.split_once('/').map_or("", |(_, name)| name);
                if name <= marker.as_str() || end.as_deref().is_some_and(|end| name > end) {
                    continue;
                }
                let row = rows.binary_search_by(|(listed, _)| listed.as_str().cmp(name));
                let sight = row.map_or(Sight::Unlisted, |at| rows[at].1.clone());
                if let Err((kind, why)) = key.judge(window, &sight) {
                    let id = answer.header("x-trans-id");
                    let text = format!("LIST {}: {kind:?}: {why}; {id}", key.path);
                    let late = self.load.late_listings.load(Ordering::Relaxed);
                    self.note(if late { Kind::Late } else { Kind::Listing }, text);
                }
            }
            match end {
                Some(end) => marker = end,
                None => return,
            }
        }
    }
}

/// Names with ETag and size, in the order of the listing.
fn rows(answer: &Answer) -> Option<Vec<(String, Sight)>> {
    let page: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    page.as_array()?
        .iter()
        .map(|row| {
            let etag = row["hash"].as_str()?.to_owned();
            let sight = Sight::Row(etag, row["bytes"].as_u64()?);
            Some((row["name"].as_str()?.to_owned(), sight))
        })
        .collect()
}

//! Keys that many clients write at once. What they saw is kept and judged when
//! all is quiet: is there an order of the calls that explains every answer?
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::body;
use super::client::{Client, NoAnswer};
use super::findings::Kind;
use crate::linear::{self, Call, Register, RegisterOp, Verdict};
use crate::swift::Answer;

/// Calls of one key, at most; then another key takes its place.
const CALLS: usize = 150;
const MARK: &str = "x-object-meta-write";

/// A key and all its calls.
#[derive(Debug)]
struct HotKey {
    path: String,
    calls: Mutex<Vec<Call<RegisterOp>>>,
}

/// All hot keys.
#[derive(Debug)]
pub(super) struct Hot {
    container: String,
    /// Those in use; every one that was, stays in `all`.
    current: Mutex<Vec<Arc<HotKey>>>,
    all: Mutex<Vec<Arc<HotKey>>>,
    /// Numbers of writes, and of keys.
    numbers: AtomicU64,
}

impl Hot {
    pub(super) fn new(container: String, keys: usize) -> Self {
        let hot = Self {
            container,
            current: Mutex::default(),
            all: Mutex::default(),
            numbers: AtomicU64::new(1),
        };
        let fresh = (0..keys).map(|_| hot.fresh()).collect();
        *hot.current.lock().expect("just made") = fresh;
        hot
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn fresh(&self) -> Arc<HotKey> {
        let key = Arc::new(HotKey {
            path: format!("{}/{:06}", self.container, self.number()),
            calls: Mutex::default(),
        });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(key.clone());
        key
    }

    fn key(&self, place: usize) -> Arc<HotKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |key: &HotKey| key.calls.lock().is_ok_and(|calls| calls.len() >= CALLS);
        if full(&current[place]) {
            current[place] = self.fresh();
        }
        current[place].clone()
    }

    /// Calls that were recorded.
    pub(super) fn calls(&self) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|key| key.calls.lock().map_or(0, |calls| calls.len()))
            .sum()
    }
}

impl Client<'_> {
    /// One call of one of the keys.
    pub(super) fn hot(&mut self) {
        let hot = &self.load.hot;
        let key = hot.key(self.chance.below(self.load.mix.hot as u64) as usize);
        match self.chance.below(10) {
            0..=2 => self.hot_write(&key, "PUT"),
            3 => self.hot_write(&key, "POST"),
            4 => self.hot_write(&key, "DELETE"),
            _ => self.hot_read(&key),
        }
    }

    fn hot_write(&mut self, key: &HotKey, method: &str) {
        let write = self.load.hot.number();
        let (name, bytes) = match method {
            "PUT" => (
                "PUT hot",
                body::of(&key.path, write, self.chance.below(3000) as usize),
            ),
            "POST" => ("POST hot", Vec::new()),
            _ => ("DELETE hot", Vec::new()),
        };
        let mark = write.to_string();
        let headers: &[(&str, &str)] = match method {
            "DELETE" => &[],
            _ => &[(MARK, &mark)],
        };
        let begun = self.load.findings.now();
        let answer = self.send(name, method, &key.path, headers, &bytes);
        let status = match &answer {
            Ok(answer) => answer.status.as_u16(),
            Err(NoAnswer::Cut | NoAnswer::Silent) => 0,
        };
        let (found, ended) = match status {
            404 => (Some(false), true),
            200..=299 => (Some(true), true),
            _ => (None, false),
        };
        let op = match method {
            "PUT" => RegisterOp::Put(write),
            "POST" => RegisterOp::Post { write, found },
            // What a DELETE says it found is nothing that Swift promises.
            _ => RegisterOp::Delete { found: None },
        };
        if (400..500).contains(&status) && (status != 404 || method == "PUT") {
            self.note(Kind::Wrong, format!("{method} {}: {status}", key.path));
        }
        self.record(key, op, begun, ended);
    }

    fn hot_read(&mut self, key: &HotKey) {
        let begun = self.load.findings.now();
        let Some(answer) = self.ask("GET hot", "GET", &key.path, &[]) else {
            return;
        };
        match shown(&key.path, &answer) {
            Ok(Some(held)) => self.record(key, RegisterOp::Get(held), begun, true),
            Ok(None) => {}
            Err(why) => self.note(Kind::Torn, format!("GET {}: {why}", key.path)),
        }
    }

    fn record(&self, key: &HotKey, op: RegisterOp, begun: u64, ended: bool) {
        let ended = ended.then(|| self.load.findings.now());
        let mut calls = key.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(Call { op, begun, ended });
    }

    /// Reads every key once more and judges all calls.
    pub(super) fn judge_hot(&mut self, when: &str) {
        let all = self.load.hot.all.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<Arc<HotKey>> = all.clone();
        drop(all);
        for key in keys {
            self.hot_read(&key);
            let calls = key.calls.lock().unwrap_or_else(PoisonError::into_inner);
            match linear::check::<Register>(None, &calls, linear::USUAL_BUDGET) {
                Verdict::Linearizable => {}
                Verdict::TooHard => self.note(Kind::NotChecked, format!("{when}: {}", key.path)),
                Verdict::Broken(broken) => {
                    self.note(Kind::NotLinearizable, format!("{when}: {}: {broken}", key.path));
                }
            }
        }
    }
}

/// What a GET shows; `Ok(None)` for an answer that says nothing of it.
fn shown(path: &str, answer: &Answer) -> Result<Option<linear::Held>, String> {
    match answer.status.as_u16() {
        200 => {
            let data = body::number(path, &answer.body)?;
            let meta = answer.header(MARK).parse();
            Ok(Some(Some((data, meta.map_err(|_| "no metadata".to_owned())?))))
        }
        404 => Ok(Some(None)),
        500.. => Ok(None),
        other => Err(format!("{other} {}", answer.text())),
    }
}

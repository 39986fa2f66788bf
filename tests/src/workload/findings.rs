//! What clients of a workload met: requests and how long they took, and every
//! answer that should not have been.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Findings of a kind that are kept in words; more are counted.
const KEPT: usize = 25;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A 5xx, or no answer in a long time.
    Unavailable,
    /// A write that met others of its name was refused: some replicas had it,
    /// others newer ones already, and the one to decide had just fallen silent.
    /// Whether it happened is not known, and a second try might do it twice.
    Undecided,
    /// The connection broke: no server, or it went away.
    Cut,
    /// A status that the request cannot have.
    Wrong,
    /// What was acknowledged is not there.
    Lost,
    /// Older than what was acknowledged last.
    Stale,
    /// Older than what a read has shown before.
    WentBack,
    /// Deleted, and there again.
    CameBack,
    /// Not what any write left.
    Torn,
    /// An update of the metadata over older data than it was made over.
    Mixed,
    /// A DELETE found something else than reads do.
    Told,
    /// A listing shows something else than reads do.
    Listing,
    /// A listing is behind while a fault lasts: its row is owed.
    Late,
    /// An answer is behind what was acknowledged while stand-ins made up a
    /// quorum, and until they have brought it to whom it belongs.
    Behind,
    /// No order of the calls of several writers explains their answers.
    NotLinearizable,
    /// Checking took too long; nothing was found out.
    NotChecked,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Since the workload was made.
    pub at: Duration,
    /// What it is.
    pub kind: Kind,
    /// The request, the answer, and what it should have been.
    pub text: String,
}

/// How long one kind of request took.
#[derive(Debug, Default, Clone)]
struct Took {
    /// Every answered request, microseconds.
    micros: Vec<u32>,
}

impl Took {
    fn at(&self, share: f64) -> Duration {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        let micros = sorted.get(at.min(sorted.len().saturating_sub(1)));
        Duration::from_micros(u64::from(micros.copied().unwrap_or_default()))
    }
}

#[derive(Debug, Default)]
struct Notes {
    kept: Vec<Finding>,
    counts: BTreeMap<Kind, usize>,
    took: BTreeMap<&'static str, Took>,
    /// From when to when requests may be refused; the last may be open.
    excuses: Vec<(Duration, Option<Duration>)>,
    refused: usize,
    /// Whether stand-ins may have made up a quorum, and not brought it yet.
    behind: bool,
    /// Whether a replica may be silent.
    silence: bool,
}

impl Notes {
    fn add(&mut self, mut finding: Finding) {
        finding.kind = match finding.kind {
            Kind::Lost | Kind::Stale | Kind::WentBack | Kind::CameBack | Kind::Mixed if self.behind => {
                Kind::Behind
            }
            // "It is not there", of what is.
            Kind::Wrong if self.behind && finding.text.contains(": 404") => Kind::Behind,
            // Of all calls, also those before.
            Kind::NotLinearizable if !self.excuses.is_empty() => Kind::Behind,
            kind => kind,
        };
        let count = self.counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= KEPT {
            self.kept.push(finding);
        }
    }
}

/// All of them. Shared by the clients.
#[derive(Debug)]
pub struct Findings {
    begun: Instant,
    notes: Mutex<Notes>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            notes: Mutex::default(),
        }
    }
}

impl Findings {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().expect("no client panicked")
    }

    /// Nanoseconds since the workload was made.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes something that should not have been.
    pub fn note(&self, kind: Kind, text: String) {
        let at = self.begun.elapsed();
        let mut notes = self.notes();
        notes.add(Finding { at, kind, text });
    }

    /// Notes that a request that took so long was refused or cut off: a
    /// finding, unless faults justify it.
    pub fn refused(&self, kind: Kind, took: Duration, text: String) {
        let at = self.begun.elapsed();
        let mut notes = self.notes();
        let begun = at.saturating_sub(took);
        let excused = |(_, to): &(Duration, Option<Duration>)| to.is_none_or(|to| begun <= to);
        if notes.excuses.iter().any(excused) {
            notes.refused += 1;
        } else {
            notes.add(Finding { at, kind, text });
        }
    }

    /// As [`Findings::refused`], of a write that others of its name may have met,
    /// and that waited for a replica: as long as one may be silent,
    /// [`Kind::Undecided`].
    pub fn undecided(&self, took: Duration, text: String) {
        let kind = match self.notes().silence {
            true => Kind::Undecided,
            false => Kind::Unavailable,
        };
        self.refused(kind, took, text);
    }

    /// From now on a replica may be silent; or none any more.
    pub fn silence(&self, may: bool) {
        self.notes().silence = may;
    }

    /// From now on requests may be refused, as more than one replica may be
    /// away; or no longer. What stand-ins took in the meantime may be missed by
    /// readers until [`Findings::caught_up`].
    pub fn excuse(&self, may: bool) {
        let at = self.begun.elapsed();
        let mut notes = self.notes();
        notes.behind |= may;
        match (notes.excuses.last_mut(), may) {
            (Some((_, None)), true) => {}
            (_, true) => notes.excuses.push((at, None)),
            (Some((_, to @ None)), false) => *to = Some(at),
            (_, false) => {}
        }
    }

    /// All replicas are equal: nothing may be behind any more.
    pub fn caught_up(&self) {
        self.notes().behind = false;
    }

    /// How many requests were refused with a good excuse.
    pub fn excused(&self) -> usize {
        self.notes().refused
    }

    /// How many of each kind were found.
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        self.notes().counts.clone()
    }

    /// Those that are kept in words.
    pub fn kept(&self) -> Vec<Finding> {
        self.notes().kept.clone()
    }

    /// Notes an answered request.
    pub fn took(&self, what: &'static str, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.notes().took.entry(what).or_default().micros.push(micros);
    }

    /// Answered requests so far.
    pub fn answered(&self) -> usize {
        self.notes().took.values().map(|took| took.micros.len()).sum()
    }

    /// How many of a kind were found.
    pub fn count(&self, kind: Kind) -> usize {
        self.notes().counts.get(&kind).copied().unwrap_or_default()
    }

    /// The longest that any request took.
    pub fn slowest(&self) -> Duration {
        let longest = self.notes().took.values().map(|took| took.at(1.0)).max();
        longest.unwrap_or_default()
    }

    /// One line for each kind of request: how many, how long.
    pub fn figures(&self) -> String {
        let notes = self.notes();
        let line = |(what, took): (&&str, &Took)| {
            format!(
                "  {what:<12} {:>7}  p50 {:>9.1?}  p99 {:>9.1?}  longest {:>9.1?}\n",
                took.micros.len(),
                took.at(0.5),
                took.at(0.99),
                took.at(1.0)
            )
        };
        notes.took.iter().map(line).collect()
    }

    /// Panics with everything that was found, but for kinds in `tolerated`.
    pub fn assert_none_but(&self, tolerated: &[Kind]) {
        let notes = self.notes();
        let bad = |kind: &Kind| !tolerated.contains(kind);
        let total: usize = notes
            .counts
            .iter()
            .filter(|(kind, _)| bad(kind))
            .map(|(_, n)| n)
            .sum();
        if total == 0 {
            return;
        }
        let mut text = format!("{total} findings {:?}:\n", notes.counts);
        for finding in notes.kept.iter().filter(|finding| bad(&finding.kind)) {
            text += &format!("  {:>8.3?} {:?}: {}\n", finding.at, finding.kind, finding.text);
        }
        drop(notes);
        panic!("{text}");
    }
}

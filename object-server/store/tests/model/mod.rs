//! The reference model of a device: per name, everything it may be.
//!
//! An operation that was acknowledged narrows what may be; one that failed
//! half-way (power lost, sync failed) widens it. A read must find one of the
//! possibilities, and narrows them to what it found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
use std::collections::{HashMap, HashSet};

/// A version in the model.
pub type Version = u64;

/// Data of a name: version, tie-breaking hash and the body, or a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    pub version: Version,
    pub blake3: [u8; 32],
    pub body: Option<Vec<u8>>,
    pub delete_at: Option<u64>,
}

/// A metadata update: version, the value it sets and the expiry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Post {
    pub version: Version,
    pub value: String,
    pub delete_at: Option<u64>,
}

impl Change {
    /// Whether it is of data, or a deletion.
    fn is_data(&self) -> bool {
        matches!(self, Self::Data(_))
    }
}

/// One thing a name may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct State {
    pub data: Option<Data>,
    pub post: Option<Post>,
}

/// A change of a name.
#[derive(Clone, Debug)]
pub enum Change {
    Data(Data),
    Post(Post),
}

/// What a reader sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum View {
    Absent,
    Deleted(Version),
    Object {
        version: Version,
        meta_version: Version,
        body: Vec<u8>,
        value: Option<String>,
    },
}

impl State {
    /// Newest version known.
    pub fn version(&self) -> Version {
        let data = self.data.as_ref().map_or(0, |data| data.version);
        self.post.as_ref().map_or(data, |post| post.version.max(data))
    }

    fn expired(&self, now: u64) -> bool {
        let at = match (&self.post, &self.data) {
            (Some(post), _) => post.delete_at,
            (None, Some(data)) => data.delete_at,
            (None, None) => None,
        };
        at.is_some_and(|at| at <= now)
    }

    /// What a reader sees at `now` (seconds).
    pub fn view(&self, now: u64) -> View {
        match &self.data {
            None => View::Absent,
            Some(data) if data.body.is_none() => View::Deleted(data.version),
            Some(_) if self.expired(now) => View::Deleted(self.version()),
            Some(data) => View::Object {
                version: data.version,
                meta_version: self.version(),
                body: data.body.clone().unwrap(),
                value: self.post.as_ref().map(|post| post.value.clone()),
            },
        }
    }

    fn data_version(&self) -> Version {
        self.data.as_ref().map_or(0, |data| data.version)
    }

    /// The merge rule: the larger version wins each slot, and newer data takes
    /// the place of older data with what was posted to that.
    pub fn with(&self, change: &Change) -> Self {
        let mut new = self.clone();
        match change {
            Change::Data(data) => {
                let rank = |data: &Data| (data.version, data.blake3);
                if self.data.as_ref().is_none_or(|old| rank(old) < rank(data)) {
                    new.data = Some(data.clone());
                    new.post = new.post.filter(|_| self.data_version() == data.version);
                }
            }
            Change::Post(post) => {
                let newer = self.post.as_ref().is_none_or(|old| old.version < post.version);
                if newer && self.data.as_ref().is_none_or(|data| data.version < post.version) {
                    new.post = Some(post.clone());
                }
            }
        }
        new
    }
}

/// All names of a device.
#[derive(Debug, Default)]
pub struct Model {
    may_be: HashMap<u8, HashSet<State>>,
    /// Every change ever asked for.
    asked: HashMap<u8, Vec<Change>>,
    /// Changes that failed with the device: not seen while it stays open
    /// (nothing applies them), but their record may be on the medium and show
    /// when it is opened again.
    latent: Vec<(u8, Change)>,
    /// Bits were flipped on the medium: any past may show, or nothing, but
    /// never bytes that were not written under that version.
    pub tainted: bool,
}

impl Model {
    /// What a name may be.
    pub fn states(&self, name: u8) -> HashSet<State> {
        self.may_be
            .get(&name)
            .cloned()
            .unwrap_or_else(|| HashSet::from([State::default()]))
    }

    fn set(&mut self, name: u8, states: HashSet<State>) {
        if self.tainted {
            return;
        }
        assert!(
            !states.is_empty(),
            "name {name}: the answer contradicts {:?}",
            self.states(name)
        );
        self.may_be.insert(name, states);
    }

    fn keep(&mut self, name: u8, what: &str, wanted: impl Fn(&State) -> bool) {
        let all = self.states(name);
        let states: HashSet<_> = all.iter().filter(|state| wanted(state)).cloned().collect();
        assert!(
            self.tainted || !states.is_empty(),
            "name {name}: {what}, but it may be {all:?}"
        );
        self.set(name, states);
    }

    /// The change was acknowledged.
    pub fn done(&mut self, name: u8, change: &Change) {
        self.asked.entry(name).or_default().push(change.clone());
        let states = self.states(name).iter().map(|state| state.with(change)).collect();
        self.set(name, states);
    }

    /// The change failed in a way that leaves open whether it happened.
    pub fn unsure(&mut self, name: u8, change: &Change) {
        self.asked.entry(name).or_default().push(change.clone());
        self.latent.push((name, change.clone()));
        self.allow(name, change);
    }

    /// The device was opened again: what failed before may show now. From here
    /// on it stays as it is seen.
    pub fn reopened(&mut self) {
        for (name, change) in std::mem::take(&mut self.latent) {
            self.allow(name, &change);
        }
    }

    fn allow(&mut self, name: u8, change: &Change) {
        let before = self.states(name);
        let states = before
            .iter()
            .map(|state| state.with(change))
            .chain(before.iter().cloned())
            .collect();
        self.set(name, states);
    }

    /// The device said it knows `version` already, for a change of version `asked`.
    pub fn newer(&mut self, name: u8, change: &Change, asked: Version, version: Version) {
        assert!(
            version >= asked,
            "name {name}: {version} is not newer than {asked}"
        );
        self.keep(name, "it is newer", |state| {
            let known = if change.is_data() {
                state.data_version()
            } else {
                state.version()
            };
            known == version
        });
    }

    /// The device said that there is no object.
    pub fn gone(&mut self, name: u8, now: u64) {
        self.keep(name, "it is gone", |state| {
            !matches!(state.view(now), View::Object { .. })
        });
    }

    /// A reader saw `view` at `now` (seconds).
    pub fn saw(&mut self, name: u8, view: &View, now: u64) {
        if !self.tainted {
            return self.keep(name, &format!("saw {view:?}"), |state| state.view(now) == *view);
        }
        let View::Object { version, body, .. } = view else {
            return;
        };
        let written = self
            .asked
            .get(&name)
            .into_iter()
            .flatten()
            .any(|change| match change {
                Change::Data(data) => data.version == *version && data.body.as_ref() == Some(body),
                Change::Post(_) => false,
            });
        assert!(
            written,
            "name {name}: bytes that nobody wrote as version {version}"
        );
    }

    /// The device set the record of a name aside.
    pub fn damaged(&self, name: u8) {
        assert!(self.tainted, "name {name}: damaged without a fault");
    }
}

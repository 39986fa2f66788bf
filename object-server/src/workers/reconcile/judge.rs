//! What another device lacks of one name, and whether it may be pushed. Pure.
use std::time::Duration;

use virga_node::clock::{Micros, Version};
use virga_object_wire::movement::{NameState, Rank};
use virga_object_wire::posted::PostRank;

/// What a round goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) now: Micros,
    /// Names newer than this may still be on their way to all replicas.
    pub(super) settled: Version,
    /// Age from which on devices drop deletions, each in its own time.
    pub(super) reclaim_age: Duration,
    /// Deletions up to this version may have been forgotten.
    pub(super) horizon: Version,
    /// When this device's last complete round began.
    pub(super) last_round: Version,
}

/// What a device lacks of a name that another one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    /// The object or its deletion.
    pub(super) data: bool,
    /// The newest metadata update.
    pub(super) post: bool,
}

impl Lack {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Rules {
    /// What `theirs` lacks of `ours`.
    pub(super) fn lack(&self, ours: &NameState, theirs: Option<&NameState>) -> Lack {
        if theirs.is_none() && self.is_forgettable(ours) {
            return Lack::default();
        }
        let their_data = theirs.and_then(|theirs| theirs.data).map(|data| data.rank);
        let their_post = theirs.and_then(|theirs| theirs.post);
        let newer_data = |rank: Rank| their_data.is_some_and(|theirs| theirs >= rank);
        let newer_post = |rank: PostRank| their_post.is_some_and(|theirs| theirs >= rank);
        let overtaken = |post: PostRank| their_data.is_some_and(|theirs| !post.outlives(theirs.version));
        Lack {
            data: ours.data.is_some_and(|data| !newer_data(data.rank)),
            post: ours
                .post
                .is_some_and(|post| !newer_post(post) && !overtaken(post)),
        }
    }

    /// Whether a name is a deletion so old that whoever does not know it may
    /// have dropped it: pushed, it would come and go for ever.
    fn is_forgettable(&self, ours: &NameState) -> bool {
        let deleted = ours.data.is_some_and(|data| data.deleted);
        deleted && self.now.since(ours.version().time()) > self.reclaim_age
    }

    /// Whether a device that knows nothing of the name may have known its
    /// deletion: this one has not been through a complete round since before
    /// such deletions were forgotten (invariant I7). A metadata update tells
    /// nothing of it: a deletion is newer than data, whatever was posted to that.
    pub(super) fn is_suspicious(&self, ours: &NameState) -> bool {
        let deleted = ours.data.is_some_and(|data| data.deleted);
        let version = ours.data.map_or(ours.version(), |data| data.rank.version);
        !deleted && version <= self.horizon && self.last_round <= self.horizon
    }
}

#[cfg(test)]
mod tests {
    use virga_object_wire::movement::DataState;
    use virga_ring::NameHash;

    use super::*;

    fn rank(version: u64, tie: u64) -> Rank {
        Rank {
            version: Version(version),
            tie,
        }
    }

    fn known(data: Option<(u64, bool)>, post: Option<u64>) -> NameState {
        NameState {
            hash: NameHash([1; 16]),
            data: data.map(|(version, deleted)| DataState {
                rank: rank(version, u64::from(!deleted)),
                deleted,
                size: 1,
            }),
            // Over the data that is known, or else over all that is older.
            post: post.map(|version| PostRank {
                over: Version(data.map_or(version - 1, |(data, _)| data)),
                version: Version(version),
                typed: Version(0),
                tie: 0,
            }),
        }
    }

    fn rules(horizon: u64, last_round: u64) -> Rules {
        Rules {
            now: Version(1 << 40).time(),
            settled: Version(1 << 40),
            reclaim_age: Duration::from_secs(100),
            horizon: Version(horizon),
            last_round: Version(last_round),
        }
    }

    #[test]
    fn what_is_newer_here_or_missing_there_is_pushed() {
        let young = 1 << 40;
        let rules = rules(0, 0);
        let object = known(Some((young, false)), None);
        let both = Lack {
            data: true,
            post: true,
        };
        let nothing = Lack::default();
        let data = Lack {
            data: true,
            post: false,
        };
        let post = Lack {
            data: false,
            post: true,
        };
        let updated = known(Some((young, false)), Some(young + 5));
        for (ours, theirs, lack) in [
            (object, None, data),
            (object, Some(object), nothing),
            (object, Some(known(Some((young - 1, false)), None)), data),
            (object, Some(known(Some((young + 1, true)), None)), nothing),
            (object, Some(known(Some((young, true)), None)), data),
            (known(Some((young, true)), None), Some(object), nothing),
            (known(Some((young, true)), None), None, data),
            (updated, None, both),
            (updated, Some(object), post),
            (updated, Some(known(Some((young + 9, false)), None)), nothing),
            (
                updated,
                Some(known(Some((young - 9, false)), Some(young + 5))),
                both,
            ),
            (updated, Some(known(Some((young, false)), Some(young + 4))), post),
            (known(None, Some(young)), None, post),
        ] {
            assert_eq!(rules.lack(&ours, theirs.as_ref()), lack, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn i7_an_old_deletion_goes_to_those_with_an_older_object_only() {
        let rules = rules(0, 0);
        let old = known(Some((1000, true)), None);
        assert!(rules.lack(&old, None).is_nothing());
        assert!(rules.lack(&old, Some(&known(Some((999, false)), None))).data);
    }

    #[test]
    fn i7_what_may_have_been_deleted_and_forgotten_is_suspicious() {
        let object = known(Some((50, false)), None);
        assert!(
            !rules(0, 0).is_suspicious(&object),
            "nobody has forgotten anything"
        );
        assert!(rules(60, 0).is_suspicious(&object), "the index was lost");
        assert!(rules(60, 60).is_suspicious(&object), "away since then");
        assert!(!rules(60, 61).is_suspicious(&object), "was there");
        assert!(
            !rules(49, 0).is_suspicious(&object),
            "younger than all that is forgotten"
        );
        assert!(!rules(60, 0).is_suspicious(&known(Some((50, true)), None)));
    }
}

//! A name of a simulated cluster with everything that clients did to it, and
//! which of that is promised to have an order: decisions 8 and 10, to the letter.
//!
//! Two things are left out of the search for an order, and nothing else:
//!
//! - what a read showed that the proxy itself counted as uncertain
//!   ([`Core::uncertain_reads`](virga_proxy::core::Core::uncertain_reads));
//! - what was seen while an acknowledged write was on fewer than two of the name's
//!   own devices, as others stood in: from its acknowledgement until it has been
//!   brought home.
use std::collections::BTreeMap;
use std::sync::Mutex;

use virga_proxy::core::ObjectName;

use crate::linear::{Call, RegisterOp};

/// A name, with everything that clients did to it.
pub struct Key {
    /// Container, "c0".
    pub container: String,
    /// Object.
    pub object: String,
    /// What was called and answered.
    pub calls: Mutex<Vec<Call<RegisterOp>>>,
    /// Size and ETag of every write of data.
    pub writes: Mutex<BTreeMap<u64, (u64, String)>>,
    /// Acknowledged writes that devices which stand in made up a quorum for.
    pub weak: Mutex<Vec<Weak>>,
}

/// A write that is acknowledged and not on a quorum of the name's own devices.
#[derive(Clone, Copy, Debug)]
pub struct Weak {
    /// When it was acknowledged.
    pub from: u64,
    /// When two of the name's own devices had it; none if that was not seen.
    pub until: Option<u64>,
}

impl Weak {
    fn meets(&self, call: &Call<RegisterOp>, healthy: u64) -> bool {
        call.begun < self.until.unwrap_or(healthy) && call.ended.is_none_or(|ended| ended >= self.from)
    }
}

impl Key {
    /// A name that nobody has used.
    pub fn new(number: usize, containers: usize) -> Self {
        Self {
            container: format!("c{}", number % containers),
            object: format!("o{number}"),
            calls: Mutex::default(),
            writes: Mutex::default(),
            weak: Mutex::default(),
        }
    }

    /// Its name as the core knows it.
    pub fn name(&self) -> ObjectName {
        ObjectName::new("AUTH_sim", &self.container, &self.object).expect("a good name")
    }

    /// Where it lies, below the account.
    pub fn path(&self) -> String {
        format!("{}/{}", self.container, self.object)
    }

    /// Its calls as far as they are promised to have an order. Nothing may be lost
    /// all the same, which what is seen from `healthy` on must show.
    pub fn promised(&self, healthy: u64) -> Vec<Call<RegisterOp>> {
        let weak = self.weak.lock().expect("nobody panics here").clone();
        let mut calls = self.calls.lock().expect("nobody panics here").clone();
        calls.retain_mut(|call| {
            if call.begun >= healthy || !weak.iter().any(|weak| weak.meets(call, healthy)) {
                return true;
            }
            match &mut call.op {
                RegisterOp::Get(_) => return false,
                // That nothing was there rests on such a read; and what was posted to
                // older data goes with that.
                RegisterOp::Post { found, .. } => {
                    *found = None;
                    call.ended = None;
                }
                RegisterOp::Put(_) | RegisterOp::Delete { .. } => {}
            }
            true
        });
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(op: RegisterOp, begun: u64, ended: u64) -> Call<RegisterOp> {
        Call {
            op,
            begun,
            ended: Some(ended),
        }
    }

    #[test]
    fn reads_are_left_out_only_while_an_acknowledged_write_is_held_by_stand_ins() {
        let key = Key::new(0, 1);
        let times = [(0, 9), (5, 15), (12, 18), (19, 30), (20, 25), (90, 95)];
        let reads = times.map(|(begun, ended)| call(RegisterOp::Get(None), begun, ended));
        key.calls.lock().unwrap().extend(reads);
        assert_eq!(key.promised(80).len(), 6);
        key.weak.lock().unwrap().push(Weak {
            from: 10,
            until: Some(20),
        });
        let kept: Vec<u64> = key.promised(80).iter().map(|call| call.begun).collect();
        assert_eq!(kept, [0, 20, 90]);
        key.weak.lock().unwrap()[0].until = None;
        let kept: Vec<u64> = key.promised(80).iter().map(|call| call.begun).collect();
        assert_eq!(kept, [0, 90], "until it was well at the latest");
    }

    #[test]
    fn a_post_meanwhile_may_have_happened_or_not() {
        for found in [None, Some(false), Some(true)] {
            let key = Key::new(0, 1);
            let post = |found| RegisterOp::Post { write: 7, found };
            let times = [(2, 9), (12, 13), (20, 21)];
            let posts = times.map(|(begun, ended)| call(post(found), begun, ended));
            key.calls.lock().unwrap().extend(posts);
            key.weak.lock().unwrap().push(Weak {
                from: 10,
                until: Some(20),
            });
            let promised = key.promised(80).into_iter().map(|call| (call.op, call.ended));
            let promised: Vec<_> = promised.collect();
            let firm = |ended| (post(found), Some(ended));
            assert_eq!(promised, [firm(9), (post(None), None), firm(21)]);
        }
    }
}

//! Names that are held for a moment, so that of several requests which look at an
//! object and then write it only one is at it at a time, whatever proxies they
//! come through.
//!
//! A holder is one request of one proxy. It has a name when a write quorum of the
//! name's members say so: two quorums have a member in common, and that says so to
//! one of them. Nobody waits at a node: who is refused asks again. A hold ends when
//! it is given up or its lease is over, as after the death of a proxy. A write that
//! asks for no hold goes on as ever.
//!
//! Holds are in memory. A node that starts anew has forgotten what it told a holder
//! that has not finished, so that for those few milliseconds a second holder may be let
//! in beside it, if the start falls between the two and another member agrees.
//!
//! [`Holds`] is a node's table of them, for the object server and the twin alike.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use virga_ring::NameHash;

use crate::error::NodeError;
use crate::object::At;

/// Most names held at a time on one node: about 10 MB.
const MOST: usize = 100_000;
/// Longest lease that is given.
const LONGEST: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who asks: a random number that no other request has.
    pub holder: u128,
    /// For how long, milliseconds from when the node hears of it, at most a minute.
    /// Asked for again it is prolonged; zero gives it up.
    pub lease_ms: u32,
}

/// Device, storage policy and hash of a name.
type Held = (Arc<str>, u32, NameHash);

/// The names held on one node: by whom and until when.
#[derive(Debug, Default)]
pub struct Holds(Mutex<HashMap<Held, (u128, Instant)>>);

impl Holds {
    /// Whether the holder has the name now, or another has it.
    ///
    /// # Errors
    /// `Busy` if too many names are held.
    pub fn ask(&self, at: &At, hold: &Hold) -> Result<bool, NodeError> {
        let now = Instant::now();
        let name = (Arc::clone(&at.device), at.policy, at.hash);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(&name);
        if known.is_some_and(|(holder, until)| *holder != hold.holder && *until > now) {
            return Ok(false);
        }
        if hold.lease_ms == 0 {
            held.remove(&name);
            return Ok(true);
        }
        if held.len() >= MOST && known.is_none() {
            held.retain(|_, (_, until)| *until > now);
            if held.len() >= MOST {
                return Err(NodeError::Busy);
            }
        }
        let lease = Duration::from_millis(hold.lease_ms.into()).min(LONGEST);
        held.insert(name, (hold.holder, now + lease));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use virga_ring::{Partition, RingEpoch};

    use super::*;

    fn at(device: &str, name: u32) -> At {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&name.to_le_bytes());
        At {
            device: device.into(),
            policy: 0,
            partition: Partition(0),
            hash: NameHash(hash),
            ring: RingEpoch::NONE,
        }
    }

    fn hold(holder: u128, lease_ms: u32) -> Hold {
        Hold { holder, lease_ms }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_held_by_one_until_it_is_given_up_or_the_lease_is_over() {
        let (holds, name) = (Holds::default(), at("d1", 1));
        let ask = |holder, lease_ms| holds.ask(&name, &hold(holder, lease_ms)).unwrap();
        assert!(ask(1, 1000) && !ask(2, 1000) && !ask(2, 0));
        tokio::time::advance(Duration::from_millis(600)).await;
        assert!(ask(1, 1000), "prolonged");
        tokio::time::advance(Duration::from_millis(600)).await;
        assert!(!ask(2, 1000));
        assert!(ask(1, 0) && ask(2, 1000) && !ask(1, 1000));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ask(1, u32::MAX), "the lease is over");
        tokio::time::advance(LONGEST).await;
        assert!(ask(2, 1), "no lease is longer than the longest");
        let others = [
            at("d2", 1),
            at("d1", 2),
            At {
                policy: 1,
                ..at("d1", 1)
            },
        ];
        for other in others {
            assert!(holds.ask(&other, &hold(3, 1000)).unwrap(), "{other:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_names_are_refused_until_leases_are_over() {
        let holds = Holds::default();
        for name in 0..MOST as u32 {
            holds.ask(&at("d1", name), &hold(1, 1000)).unwrap();
        }
        let one_more = at("d2", 0);
        assert_eq!(holds.ask(&one_more, &hold(1, 1000)), Err(NodeError::Busy));
        assert_eq!(holds.ask(&at("d1", 7), &hold(1, 1000)), Ok(true), "one of them");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(holds.ask(&one_more, &hold(1, 1000)), Ok(true));
    }
}

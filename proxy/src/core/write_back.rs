//! What a read has shown, later reads show too: before it is answered, the newest
//! state that it found is on a write quorum of members, or is brought to one.
//!
//! A write that was not acknowledged may lie on one replica alone. One read asks
//! it and shows the write, the next one asks the two others and does not, unless
//! the first has brought it to one of those. Where the members that were asked
//! agree, as nearly always, this costs nothing. Where they do not, those not asked
//! yet are, and if that makes no quorum the newest state is written to those that
//! are behind ([`super::heal`]).
//!
//! It never makes a read fail: after [`Settings::stall`](super::Settings) what was
//! found is served as it is, and so is what fewer members than a read quorum say
//! while others cannot be reached (decision 10 names the cases, and
//! [`Core::uncertain_reads`](super::Core::uncertain_reads) counts them). Not for
//! rings with an even number of replicas, whose read quorums are smaller than
//! their write quorums: there it does what it can see.
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use virga_object_wire::object::Found;

use super::found::{StateId, state_of};
use super::get::{Asked, Reading, Statement};
use super::heal::{self, Newest, Urgency};
use super::peer::Peer;
use super::quorum::Members;

impl Reading<'_> {
    /// Members that know this state.
    fn knowing(&self, state: StateId) -> Members {
        let same = self.said.iter().filter(|said| said.state == state);
        same.fold(Members::NONE, |all, said| all | Members::one(said.member))
    }

    /// Whether the members that answered are a read quorum and differ, and those
    /// that know the newest state are no write quorum.
    pub(super) fn is_open(&self) -> bool {
        let (newest, quorums) = (state_of(&self.best), self.place.quorums());
        self.said
            .iter()
            .any(|said| said.member < Members::MOST && said.state != newest)
            && quorums.read(self.direct)
            && !quorums.write(self.knowing(newest))
    }

    /// Asks the targets that were not asked, and waits for them no longer than for
    /// a read that is late: to write is the other way.
    pub(super) async fn hear_others(&mut self) {
        let (now, place) = (Instant::now(), self.place);
        let settings = &self.shared.settings;
        let limit = now + self.shared.hedge.delay().min(settings.stall);
        let mut left = Vec::new();
        for member in std::mem::take(&mut self.order) {
            match place.members().get(member) {
                Some(peer) if !place.is_leaving(member) && !peer.is_resting(now) => {
                    let peer = Arc::clone(peer);
                    self.ask_head(Asked {
                        peer,
                        member,
                        stands_in: false,
                    });
                }
                _ => left.push(member),
            }
        }
        self.order = left.into_iter();
        while self.is_open() && self.is_waiting() {
            match timeout_at(limit, self.step()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Brings what was found to a write quorum of members, if it is not there and
    /// that can be done soon; members beyond that are brought it in passing.
    pub(super) async fn write_back(&mut self) {
        let quorums = self.place.quorums();
        let certain = match quorums.read(self.direct) {
            false => false,
            true => !self.is_open() || self.bring_to_quorum().await,
        };
        if !certain {
            self.shared.healing.note_uncertain();
        }
        self.heal_rest();
    }

    /// The newest state, and who has it. `None` if there is nothing that could be
    /// brought: nothing was found, or its time has come.
    fn newest(&self) -> Option<Newest> {
        let now = self.shared.hlc.clock().now().as_secs();
        let expired = |at: u64| at <= now;
        match &self.best {
            Found::Absent => return None,
            Found::Object(stat) if stat.meta.delete_at.is_some_and(expired) => return None,
            Found::Object(_) | Found::Deleted(_) => {}
        }
        let newest = state_of(&self.best);
        let with_data = || self.said.iter().filter(|said| said.state.data == newest.data);
        let peer = |said: &Statement| Arc::clone(&said.peer);
        let mut posts: Vec<Arc<Peer>> = Vec::new();
        if let Found::Object(stat) = &self.best {
            // Headers and type may be of two updates, which two replicas know.
            let whole = |said: &&Statement| said.state == newest;
            let headers = |said: &&Statement| said.state.meta == newest.meta;
            let typed = |said: &&Statement| said.state.typed == newest.typed;
            if let Some(one) = with_data().find(whole) {
                posts.extend((newest.meta > stat.version).then(|| peer(one)));
            } else {
                posts.extend(with_data().find(headers).map(peer));
                posts.extend(with_data().find(typed).map(peer));
            }
        }
        Some(Newest {
            path: self.name.path().to_owned(),
            found: self.best.clone(),
            data: with_data().map(peer).collect(),
            posts,
        })
    }

    /// Whether a write quorum knows the newest state afterwards.
    async fn bring_to_quorum(&mut self) -> bool {
        let (place, quorums) = (self.place, self.place.quorums());
        let Some(newest) = self.newest() else { return true };
        let (newest, wanted) = (Arc::new(newest), state_of(&self.best));
        let deadline = Instant::now() + self.shared.settings.stall;
        let (mut have, mut out) = (self.knowing(wanted), FuturesUnordered::new());
        let mut asked = have;
        let mut behind: Vec<&Statement> = self.said.iter().filter(|said| said.state != wanted).collect();
        // Those that leave the ring only if there is no quorum without them.
        behind.sort_by_key(|said| said.member);
        for said in behind.into_iter().filter(|said| said.member < Members::MOST) {
            if place.is_leaving(said.member) && quorums.write(asked) {
                continue;
            }
            let lacks_data = said.state.data != wanted.data;
            let brought = heal::start(
                self.shared,
                place,
                &newest,
                &said.peer,
                lacks_data,
                Urgency::AwaitedByReader,
            );
            let Some(mut brought) = brought else { continue };
            asked |= Members::one(said.member);
            let member = said.member;
            out.push(async move {
                let done = brought.wait_for(Option::is_some).await;
                (member, done.is_ok_and(|done| *done == Some(true)))
            });
        }
        while !quorums.write(have) {
            match timeout_at(deadline, out.next()).await {
                Ok(Some((member, true))) => {
                    have |= Members::one(member);
                    for said in self.said.iter_mut().filter(|said| said.member == member) {
                        said.state = wanted;
                    }
                }
                Ok(Some((_, false))) => {}
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// Has targets that turned out to be behind brought up without waiting.
    fn heal_rest(&mut self) {
        let wanted = state_of(&self.best);
        let place = self.place;
        let is_behind = |said: &&Statement| said.member < place.targets() && said.state != wanted;
        if !self.said.iter().any(|said| is_behind(&said)) {
            return;
        }
        let Some(newest) = self.newest() else { return };
        let newest = Arc::new(newest);
        for said in self.said.iter().filter(is_behind) {
            let lacks_data = said.state.data != wanted.data;
            heal::in_passing(self.shared, place, &newest, &said.peer, lacks_data);
        }
    }
}

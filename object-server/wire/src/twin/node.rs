//! [`ObjectNode`] for [`MemoryNode`]: each call enters, then works on a device.
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use virga_node::clock::{Clock, Micros, Version};
use virga_ring::{NameHash, Partition};

use super::listings::{Account, Container};
use super::{Contents, Control, MemoryNode, check_ahead, key, locked, objects};
use crate::admin::{AdminAnswer, AdminRequest};
use crate::checked::{BLOCK, Checked, EXTENT};
use crate::error::NodeError;
use crate::hold::Hold;
use crate::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, ListingKind, ListingState, ListingSum,
    ListingSums, MetaItem, ObjectRow, Page, PartSums, PutAccount, PutContainer, RowRange, RowSums,
    ShardsRequest,
};
use crate::movement::{
    Answering, Movement, NameState, NamesPage, NamesRequest, NewerRing, Push, Records, RingName, Sum, Sums,
    ring_of,
};
use crate::node::{Cause, DeviceState, DeviceStatus, ObjectNode, ObjectRead, PutStream, Read, Reason, Span};
use crate::object::{At, Deleted, Found, ObjectStat, PostMeta, PutObject, Settled, SubtreesRequest};

/// What the twin says of room it does not really have.
const TOTAL: u64 = 1 << 40;

/// A large object on its way in.
struct MemoryPut {
    clock: Arc<dyn Clock>,
    contents: Arc<std::sync::Mutex<Contents>>,
    control: Arc<Control>,
    at: At,
    pieces: Vec<Checked>,
    last: bool,
}

impl MemoryPut {
    async fn enter(&self) -> Result<(), NodeError> {
        self.control.wait(self.control.switches().delay_calls).await;
        if let Some(latency) = self.control.switches().latency {
            tokio::time::sleep(latency()).await;
        }
        let switches = self.control.switches();
        let down = locked(&self.contents).down;
        match switches.answer {
            Some(error) => Err(error),
            None if down => Err(NodeError::NoDevice(self.at.device.to_string())),
            None if switches.full => Err(NodeError::Full),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl PutStream for MemoryPut {
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError> {
        self.enter().await?;
        if self.last || piece.len() > EXTENT {
            return Err(NodeError::Invalid("a piece after the last, or too large".into()));
        }
        piece.verify().map_err(|_| NodeError::Garbled)?;
        self.last = !piece.len().is_multiple_of(BLOCK);
        self.pieces.push(piece);
        Ok(())
    }

    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError> {
        self.control.count("commit");
        self.enter().await?;
        let body = objects::join(&self.pieces);
        objects::check_size(&put, &body)?;
        objects::check_bytes(&put, &body)?;
        check_ahead(&*self.clock, put.version)?;
        locked(&self.contents).put(key(&self.at), put, body)?;
        if self.control.switches().drop_acks {
            return Err(NodeError::Unreachable("answer lost".into()));
        }
        Ok(())
    }
}

impl MemoryNode {
    /// The pieces as a body that waits where the switches say so.
    fn body(&self, pieces: Vec<Result<Checked, NodeError>>) -> crate::node::Body {
        let control = Arc::clone(&self.control);
        let pieces = pieces.into_iter();
        Box::pin(stream::unfold(
            (control, pieces),
            |(control, mut pieces)| async move {
                let piece = pieces.next()?;
                control.wait(control.switches().delay_bodies).await;
                let piece = control.switches().answer.map_or(piece, Err);
                Some((piece, (control, pieces)))
            },
        ))
    }
}

impl MemoryNode {
    /// Reads an object as it is to be seen at `now` (Unix seconds).
    fn read(&self, at: &At, span: Option<Span>, now: u64) -> Result<Read, NodeError> {
        let read = self.on(&at.device, |on| {
            let Some(slot) = on.objects.get(&key(at)) else {
                return Ok(Err(None));
            };
            let stat = match slot.found(now) {
                Found::Object(stat) => stat,
                gone => return Ok(Err(Some(gone.version()).filter(|version| version.0 > 0))),
            };
            let (body_start, pieces) = slot.pieces(span);
            let good = pieces.iter().take_while(|piece| piece.verify().is_ok()).count();
            let damaged = good < pieces.len();
            let mut pieces: Vec<_> = pieces.into_iter().take(good).map(Ok).collect();
            if damaged {
                on.quarantine(key(at));
                pieces.push(Err(NodeError::Damaged));
            }
            if let Some(Err(error)) = pieces.first() {
                Err(error.clone())
            } else {
                Ok(Ok((stat, body_start, pieces)))
            }
        })?;
        Ok(match read {
            Ok((stat, body_start, pieces)) => Read::Object(ObjectRead {
                stat,
                body_start,
                body: self.body(pieces),
            }),
            Err(gone) => Read::Gone(gone),
        })
    }
}

#[async_trait]
impl ObjectNode for MemoryNode {
    async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError> {
        self.enter_at("put", RingName::Object(at.policy), at).await?;
        if body.len() > EXTENT {
            return Err(NodeError::Invalid("a body over one extent".into()));
        }
        objects::check_size(&put, &body)?;
        let full = self.control.switches().full;
        if !full {
            self.check_ahead(put.version)?;
        }
        self.on(&at.device, |on| {
            if full {
                Err(NodeError::Full)
            } else {
                on.put(key(at), put, body)
            }
        })
    }

    async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError> {
        self.enter_at("begin_put", RingName::Object(at.policy), at)
            .await?;
        let full = self.control.switches().full;
        self.on(&at.device, |_| if full { Err(NodeError::Full) } else { Ok(()) })?;
        let contents = self
            .devices
            .get(&at.device)
            .ok_or_else(|| NodeError::NoDevice(at.device.to_string()))?;
        Ok(Box::new(MemoryPut {
            clock: Arc::clone(&self.clock),
            contents: Arc::clone(contents),
            control: Arc::clone(&self.control),
            at: at.clone(),
            pieces: Vec::new(),
            last: false,
        }))
    }

    async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.enter_at("get", RingName::Object(at.policy), at).await?;
        self.read(at, span, self.now())
    }

    async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.enter_at("get_expired_too", RingName::Object(at.policy), at)
            .await?;
        // Nothing had expired at the beginning of time.
        self.read(at, span, 0)
    }

    async fn head(&self, at: &At) -> Result<Found, NodeError> {
        self.enter_at("head", RingName::Object(at.policy), at).await?;
        let now = self.now();
        self.on(&at.device, |on| {
            Ok(on
                .objects
                .get(&key(at))
                .map_or(Found::Absent, |slot| slot.found(now)))
        })
    }

    async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        self.enter_at("subtrees", RingName::Object(at.policy), at).await?;
        self.on(&at.device, |on| {
            let slot = on.objects.get(&key(at)).ok_or(NodeError::NotFound)?;
            slot.subtrees(wanted)
        })
    }

    async fn records(&self, at: &At) -> Result<Records, NodeError> {
        self.enter_at("records", RingName::Object(at.policy), at).await?;
        self.on(&at.device, |on| Ok(on.records(key(at))))
    }

    async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError> {
        self.enter_at("post", RingName::Object(at.policy), at).await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| on.post(key(at), version, meta, self.now()))
    }

    async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError> {
        self.enter_at("post_expired_too", RingName::Object(at.policy), at)
            .await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| on.post(key(at), version, meta, 0))
    }

    async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError> {
        self.enter_at("delete", RingName::Object(at.policy), at).await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| on.delete(key(at), version, path, self.now()))
    }

    async fn hold(&self, at: &At, hold: Hold) -> Result<bool, NodeError> {
        self.enter_at("hold", RingName::Object(at.policy), at).await?;
        self.on(&at.device, |_| self.holds.ask(at, &hold))
    }

    async fn settle(&self, device: &Arc<str>, rows: Vec<Settled>) -> Result<(), NodeError> {
        self.enter("settle").await?;
        self.on(device, |on| {
            for row in rows {
                let key = (row.policy, row.partition.0, row.hash.0);
                if on.owed.get(&key).is_some_and(|owed| owed.version <= row.version) {
                    on.owed.remove(&key);
                }
            }
            Ok(())
        })
    }

    async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, NodeError> {
        self.enter_at("put_container", RingName::Container, at).await?;
        self.check_ahead(put.version)?;
        self.on(&at.device, |on| {
            on.containers.entry(key(at)).or_default().put(put)
        })
    }

    async fn post_container(&self, at: &At, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        self.enter_at("post_container", RingName::Container, at).await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| {
            on.containers
                .get_mut(&key(at))
                .ok_or(NodeError::NotFound)?
                .post(version, meta)
        })
    }

    async fn delete_container(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.enter_at("delete_container", RingName::Container, at).await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| {
            on.containers.entry(key(at)).or_default().delete(version)
        })
    }

    async fn head_container(&self, at: &At) -> Result<ContainerInfo, NodeError> {
        self.enter_at("head_container", RingName::Container, at).await?;
        self.on(&at.device, |on| {
            Ok(on
                .containers
                .get(&key(at))
                .map(Container::info)
                .unwrap_or_default())
        })
    }

    async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, NodeError> {
        self.enter_at("list_container", RingName::Container, at).await?;
        self.on(&at.device, |on| {
            let known = on.containers.get(&key(at));
            Ok(known.map_or_else(|| Container::default().list(&list), |known| known.list(&list)))
        })
    }

    async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), NodeError> {
        self.enter_at("put_object_rows", RingName::Container, at).await?;
        self.on(&at.device, |on| {
            on.containers.entry(key(at)).or_default().merge(rows);
            Ok(())
        })
    }

    async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, NodeError> {
        self.enter_at("put_account", RingName::Account, at).await?;
        self.check_ahead(put.version)?;
        self.on(&at.device, |on| on.accounts.entry(key(at)).or_default().put(put))
    }

    async fn delete_account(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.enter_at("delete_account", RingName::Account, at).await?;
        self.check_ahead(version)?;
        self.on(&at.device, |on| {
            on.accounts.entry(key(at)).or_default().delete(version)
        })
    }

    async fn head_account(&self, at: &At) -> Result<AccountInfo, NodeError> {
        self.enter_at("head_account", RingName::Account, at).await?;
        self.on(&at.device, |on| {
            Ok(on.accounts.get(&key(at)).map(Account::info).unwrap_or_default())
        })
    }

    async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, NodeError> {
        self.enter_at("list_account", RingName::Account, at).await?;
        self.on(&at.device, |on| {
            let known = on.accounts.get(&key(at));
            Ok(known.map_or_else(|| Account::default().list(&list), |known| known.list(&list)))
        })
    }

    async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), NodeError> {
        self.enter_at("put_container_rows", RingName::Account, at).await?;
        self.on(&at.device, |on| {
            on.accounts.entry(key(at)).or_default().merge(rows);
            Ok(())
        })
    }

    async fn status(&self) -> Result<Vec<DeviceStatus>, NodeError> {
        self.enter("status").await?;
        let full = self.control.switches().full;
        let status = self.devices.iter().map(|(name, contents)| {
            let contents = locked(contents);
            let used: u64 = contents
                .objects
                .values()
                .filter_map(objects::Slot::stat)
                .map(|s| s.size)
                .sum();
            let reason = |cause| Reason {
                cause,
                since: Micros(0),
                detail: String::new(),
            };
            let (state, cause) = match (contents.down, full) {
                (true, _) => (DeviceState::Failed, Some(Cause::CannotOpen)),
                (false, true) => (DeviceState::ReadOnly, Some(Cause::Full)),
                (false, false) => (DeviceState::Active, None),
            };
            DeviceStatus {
                state,
                reasons: cause.map(reason).into_iter().collect(),
                free: if full { 0 } else { TOTAL.saturating_sub(used) },
                total: TOTAL,
                objects: contents
                    .objects
                    .values()
                    .filter(|slot| slot.stat().is_some())
                    .count() as u64,
                bytes: used,
                quarantined: contents.quarantined,
                ..DeviceStatus::failed(name, reason(Cause::Closing))
            }
        });
        Ok(status.collect())
    }

    async fn admin(&self, device: &Arc<str>, _request: AdminRequest) -> Result<AdminAnswer, NodeError> {
        self.enter("admin").await?;
        self.on(device, |_| {
            Err(NodeError::Invalid("a device in memory takes no orders".into()))
        })
    }

    async fn movement(&self) -> Result<Vec<Movement>, NodeError> {
        self.enter("movement").await?;
        Ok(locked(&self.movement).clone())
    }

    async fn ring_file(&self, ring: RingName, above: u64) -> Result<Option<Vec<u8>>, NodeError> {
        self.enter("ring_file").await?;
        if let Some(bytes) = locked(&self.ring_file).clone() {
            return Ok(Some(bytes));
        }
        let rings = locked(&self.rings);
        let handle = rings.as_ref().and_then(|rings| rings.handles.get(&ring));
        let newer = handle.filter(|handle| handle.id().version > above);
        newer
            .map(|handle| {
                handle
                    .to_file()
                    .map_err(|error| NodeError::Device(error.to_string()))
            })
            .transpose()
    }

    async fn hear_of_ring(&self, newer: NewerRing) -> Result<(), NodeError> {
        self.enter("hear_of_ring").await?;
        if let Some(rings) = &*locked(&self.rings) {
            rings.fence.hear(newer);
        }
        Ok(())
    }

    async fn sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partitions: Vec<Partition>,
    ) -> Result<Sums, NodeError> {
        self.enter("sums").await?;
        self.on(device, |on| {
            let sum = |partition: &Partition| {
                let states = on.states(policy, *partition);
                states.fold(Sum::default(), |sum, state| sum.plus(state.sum()))
            };
            let mut identity = [0; 16];
            identity.copy_from_slice(&blake3::hash(device.as_bytes()).as_bytes()[..16]);
            Ok(Sums {
                answering: Answering {
                    identity,
                    using: None,
                    horizon: Version(0),
                    now: self.clock.now(),
                },
                sums: partitions.iter().map(sum).collect(),
            })
        })
    }

    async fn bucket_sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partition: Partition,
    ) -> Result<Vec<(u8, Sum)>, NodeError> {
        self.enter("bucket_sums").await?;
        self.on(device, |on| {
            let mut sums = BTreeMap::<u8, Sum>::new();
            for state in on.states(policy, partition) {
                let sum = sums.entry(state.bucket()).or_default();
                *sum = sum.plus(state.sum());
            }
            Ok(sums.into_iter().collect())
        })
    }

    async fn names(&self, device: &Arc<str>, wanted: NamesRequest) -> Result<NamesPage, NodeError> {
        self.enter("names").await?;
        self.on(device, |on| {
            let states = on.states(wanted.policy, wanted.partition);
            let mut page = NamesPage::default();
            for state in states.filter(|state| wanted.after.is_none_or(|after| state.hash > after)) {
                if page.names.len() as u64 >= u64::from(wanted.limit) {
                    page.upto = page.names.last().map(|last| last.hash);
                    break;
                }
                if wanted.buckets.contains(state.bucket()) {
                    page.names.push(state);
                }
            }
            Ok(page)
        })
    }

    async fn push(&self, at: &At, push: Push) -> Result<(), NodeError> {
        self.enter_at("push", RingName::Object(at.policy), at).await?;
        self.on(&at.device, |on| {
            on.push(key(at), push);
            Ok(())
        })
    }

    async fn listing_sums(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<ListingSums, NodeError> {
        self.enter("listing_sums").await?;
        let now = self.clock.now();
        self.on(device, |on| {
            Ok(on.listing_sums(device, kind, power, &partitions, now))
        })
    }

    async fn listing_shards(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, NodeError> {
        self.enter("listing_shards").await?;
        let ShardsRequest {
            power,
            partition,
            after,
            limit,
        } = wanted;
        self.on(device, |on| {
            Ok(on.listing_shards(kind, (power, partition), after, limit))
        })
    }

    async fn listing_state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, NodeError> {
        self.enter_at("listing_state", ring_of(kind), at).await?;
        self.on(&at.device, |on| Ok(on.listing_state(kind, at)))
    }

    async fn listing_parts(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<PartSums, NodeError> {
        self.enter_at("listing_parts", ring_of(kind), at).await?;
        self.on(&at.device, |on| Ok(on.listing_parts(kind, at, &range, level)))
    }

    async fn listing_rows(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        limit: u32,
    ) -> Result<RowSums, NodeError> {
        self.enter_at("listing_rows", ring_of(kind), at).await?;
        self.on(&at.device, |on| Ok(on.listing_rows(kind, at, &range, limit)))
    }

    async fn merge_listing(&self, kind: ListingKind, at: &At, told: ListingState) -> Result<(), NodeError> {
        self.enter_at("merge_listing", ring_of(kind), at).await?;
        self.on(&at.device, |on| on.merge_listing(kind, at, told))
    }
}

impl Contents {
    /// What is known of the names in a partition, in order of their hash.
    fn states(&self, policy: u32, partition: Partition) -> impl Iterator<Item = NameState> + '_ {
        let (first, last) = ([0; 16], [0xff; 16]);
        self.objects
            .range((policy, partition.0, first)..=(policy, partition.0, last))
            .map(|((_, _, hash), slot)| slot.state(NameHash(*hash)))
            .filter(|state| state.data.is_some() || state.post.is_some())
    }
}

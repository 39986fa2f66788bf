//! Listings: a page of what a read quorum of replicas knows.
//!
//! One replica sends its page, the others only say what they hold; when they
//! hold the same, the page is the answer. Otherwise all send their pages and
//! the newer row of each name wins. A replica that missed the PUT of the
//! container or account has its say too: it may have rows of it.
mod merge;
mod rows;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout};
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, ObjectRow, Page};

use super::error::{ListError, Unavailable};
use super::fanout::{self, Call};
use super::gather::{Ask, Heard, Scope, gather};
use super::infos::{Info, merge_infos};
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::shared::Shared;
use merge::merge;
use rows::Row;

/// Directories looked into at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A page of a container or account as a client sees it: live rows and
/// prefixes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<I, R> {
    /// What is known of the container or account.
    pub info: I,
    /// Entries in the order asked for, at most as many as the limit.
    pub entries: Vec<Entry<R>>,
    /// Whether more may follow the last entry.
    pub more: bool,
}

/// What a replica tells in the first round.
enum Told<R: Row> {
    Page(Page<R::Info, R>),
    Info(R::Info),
}

impl<R: Row> Told<R> {
    fn info(&self) -> &R::Info {
        match self {
            Self::Page(page) => &page.info,
            Self::Info(info) => info,
        }
    }
}

/// Reads one page of what exists.
pub(super) async fn list<R: Row>(
    shared: &Arc<Shared>,
    place: &mut Place,
    list: ListRequest,
) -> Result<Listing<R::Info, R>, ListError> {
    let (walk, info, first) = open::<R>(shared, place, &list, Scope::Quorum).await?;
    if !info.exists() {
        return Err(ListError::NotFound);
    }
    let (entries, more) = walk.run(list, first, &info).await?;
    let info = info.shown();
    Ok(Listing { info, entries, more })
}

/// What all replicas that can be reached know of a container together, whether
/// or not it exists.
pub(super) struct Survey {
    /// Merged, removed metadata included.
    pub(super) info: ContainerInfo,
    /// Whether there is a live row.
    pub(super) any: bool,
}

/// Looks whether a container is empty.
pub(super) async fn survey(shared: &Arc<Shared>, place: &mut Place) -> Result<Survey, Unavailable> {
    let one = ListRequest {
        limit: 1,
        ..ListRequest::default()
    };
    let (walk, info, first) = open::<ObjectRow>(shared, place, &one, Scope::All).await?;
    let (entries, _) = walk.run(one, first, &info).await?;
    let any = !entries.is_empty();
    Ok(Survey { info, any })
}

/// Deletions told in one call.
const TOLD: usize = 1000;

/// Tells all replicas of a container of the deleted rows that any of them
/// knows of: one that missed them would hold on to what is gone.
pub(super) async fn spread_deletions(shared: &Arc<Shared>, place: &mut Place) -> Result<(), Unavailable> {
    let mut list = ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    };
    let (walk, ..) = open::<ObjectRow>(shared, place, &list, Scope::All).await?;
    loop {
        let (merged, complete_to) = merge(walk.fetch::<ObjectRow>(&list).await?, false);
        let deleted = merged.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) if row.deleted => Some(row),
            _ => None,
        });
        let deleted: Vec<ObjectRow> = deleted.collect();
        for rows in deleted.chunks(TOLD) {
            let rows = rows.to_vec();
            let call: Call<()> = Box::new(move |node, at, _| {
                let rows = rows.clone();
                Box::pin(async move { node.put_object_rows(&at, rows).await })
            });
            let (tally, ..) = fanout::write_once(shared, walk.place, call).await;
            if !tally.by_members {
                return Err(tally.unavailable());
            }
        }
        match complete_to {
            Some(to) => list.marker = to,
            None => return Ok(()),
        }
    }
}

/// Asks replicas what they hold. The merged info, and the first part of the
/// listing if one replica can speak for all.
async fn open<'a, R: Row>(
    shared: &'a Arc<Shared>,
    place: &'a mut Place,
    list: &ListRequest,
    scope: Scope,
) -> Result<(Walk<'a>, R::Info, Option<Part<R>>), Unavailable> {
    let first = list.clone();
    let ask: Ask<Told<R>> = Box::new(move |number, node, at| {
        let first = first.clone();
        Box::pin(async move {
            if number == 0 {
                R::list(&*node, &at, first).await.map(Told::Page)
            } else {
                R::head(&*node, &at).await.map(Told::Info)
            }
        })
    });
    let agree = |heard: &[Heard<Told<R>>]| {
        heard
            .windows(2)
            .all(|pair| pair[0].said.info().agrees(pair[1].said.info()))
    };
    let heard = gather(shared, &mut *place, scope, ask, agree).await?;
    let same = agree(&heard);
    let infos = heard.iter().map(|heard| heard.said.info().clone()).collect();
    let info = merge_infos(infos).ok_or_else(|| Unavailable::NoQuorum {
        reached: 0,
        needed: 1,
        why: "the name has no primaries".to_owned(),
    })?;
    let mut sources = Vec::new();
    let mut pages = Vec::new();
    for Heard { member, peer, said } in heard {
        sources.push((member, peer));
        if let Told::Page(page) = said {
            pages.push((page.entries, page.complete_to));
        }
    }
    let walk = Walk {
        shared,
        place,
        sources,
        same,
        newest: info.newest(),
    };
    // The first round's page is an answer only if no other is needed.
    let first = if same { pages.pop() } else { None };
    Ok((walk, info, first))
}

/// Entries of a page, and what it is complete to.
type Part<R> = (Vec<Entry<R>>, Option<String>);

/// Goes through the pages of some replicas until a listing is full.
struct Walk<'a> {
    shared: &'a Arc<Shared>,
    place: &'a Place,
    /// Replicas with their numbers.
    sources: Vec<(usize, Arc<Peer>)>,
    /// Whether all sources hold the same, so that one is enough.
    same: bool,
    /// The newest that is known.
    newest: Version,
}

impl Walk<'_> {
    async fn run<R: Row>(
        &self,
        mut list: ListRequest,
        first: Option<Part<R>>,
        info: &R::Info,
    ) -> Result<(Vec<Entry<R>>, bool), Unavailable> {
        let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
        let mut entries: Vec<Entry<R>> = Vec::new();
        let mut seen_dir: Option<String> = None;
        let mut part = first;
        if limit == 0 {
            return Ok((entries, true));
        }
        loop {
            let parts = match part.take() {
                Some(part) => vec![part],
                None => self.fetch(&list).await?,
            };
            let (merged, complete_to) = merge(parts, list.reverse);
            let dead = self.dead_dirs::<R>(&list, &merged, info).await?;
            for entry in merged {
                match &entry {
                    Entry::Row(row) if !row.is_live(info) => continue,
                    Entry::Subdir(dir) if dead.contains(dir) || seen_dir.as_ref() == Some(dir) => continue,
                    Entry::Subdir(dir) => seen_dir = Some(dir.clone()),
                    Entry::Row(_) => {}
                }
                if entries.len() == limit {
                    return Ok((entries, true));
                }
                entries.push(entry);
            }
            match complete_to {
                None => return Ok((entries, false)),
                Some(_) if entries.len() == limit => return Ok((entries, true)),
                Some(to) => list.marker = to,
            }
        }
    }

    /// The next part of every source; of one source if all hold the same.
    async fn fetch<R: Row>(&self, list: &ListRequest) -> Result<Vec<Part<R>>, Unavailable> {
        let mut last = None;
        let mut parts = Vec::new();
        let mut answered = Members::NONE;
        if self.same {
            for (_, peer) in &self.sources {
                match self.page::<R>(peer, list).await {
                    // One that left the ring meanwhile has forgotten all.
                    Ok((_, newest)) if newest < self.newest => {}
                    Ok((part, _)) => return Ok(vec![part]),
                    Err(error) => last = Some(error),
                }
            }
        } else {
            let pages = self.sources.iter().map(|(member, peer)| async move {
                let page = self.page::<R>(peer, list).await;
                (*member, page)
            });
            for (member, page) in join_all(pages).await {
                match page {
                    Ok((part, _)) => {
                        answered |= Members::one(member);
                        parts.push(part);
                    }
                    Err(error) => last = Some(error),
                }
            }
            if self.place.quorums().read(answered) {
                return Ok(parts);
            }
        }
        let (reached, needed) = self.place.quorums().read_shortfall(answered);
        Err(Unavailable::NoQuorum {
            reached,
            needed,
            why: last.map(|error| error.to_string()).unwrap_or_default(),
        })
    }

    /// A page, and the newest that its replica knows.
    async fn page<R: Row>(
        &self,
        peer: &Arc<Peer>,
        list: &ListRequest,
    ) -> Result<(Part<R>, Version), NodeError> {
        let (node, at) = (node_of(&*self.shared.nodes, peer), self.place.at(peer));
        let _under_way = peer.begin();
        let page = timeout(
            self.shared.settings.node_timeout,
            R::list(&*node, &at, list.clone()),
        )
        .await;
        let page = page.unwrap_or_else(|_| Err(NodeError::Unreachable("no answer in time".into())));
        peer.note(&page, Instant::now());
        page.map(|page| ((page.entries, page.complete_to), page.info.newest()))
    }

    /// Directories under which nothing lives when replicas are taken together:
    /// each replica only says that something lives by what it knows.
    async fn dead_dirs<R: Row>(
        &self,
        list: &ListRequest,
        merged: &[Entry<R>],
        info: &R::Info,
    ) -> Result<HashSet<String>, Unavailable> {
        if self.same {
            return Ok(HashSet::new());
        }
        let dirs = merged.iter().filter_map(|entry| match entry {
            Entry::Subdir(dir) => Some(dir.clone()),
            Entry::Row(_) => None,
        });
        let dirs: Vec<_> = dirs.map(|dir| self.is_dead::<R>(list, dir, info)).collect();
        let dead: Vec<Option<String>> = stream::iter(dirs).buffered(SIDE_BY_SIDE).try_collect().await?;
        Ok(dead.into_iter().flatten().collect())
    }

    fn is_dead<'b, R: Row>(
        &'b self,
        list: &ListRequest,
        dir: String,
        info: &'b R::Info,
    ) -> BoxFuture<'b, Result<Option<String>, Unavailable>> {
        let inside = ListRequest {
            prefix: dir.clone(),
            delimiter: String::new(),
            limit: 1,
            ..list.clone()
        };
        async move {
            let (entries, _) = self.run::<R>(inside, None, info).await?;
            Ok(entries.is_empty().then_some(dir))
        }
        .boxed()
    }
}

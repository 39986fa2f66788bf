//! GET and HEAD of objects, as dialects call them: the place, a read of it by
//! [`super::get`], once more by newer rings if nodes have given these up, and
//! the body that goes with the head.
use std::ops::Range;

use tokio::time::Instant;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::Span;
use virga_object_wire::object::ObjectStat;

use super::body::{ObjectBody, Reader};
use super::error::{BodyReadError, ReadObjectError, Unavailable};
use super::get::Reading;
use super::names::ObjectName;
use super::place::Place;
use super::renew::remember;
use super::{Core, GetOptions, GotObject, Wanted};

/// How often a read begins anew because what it found was replaced or moved
/// before its bytes were read.
const TRIES: usize = 4;

fn span_of(wanted: Wanted) -> Option<Span> {
    match wanted {
        Wanted::All | Wanted::Last(_) => None,
        Wanted::From(start) => Some(Span { start, end: u64::MAX }),
        Wanted::Span(start, end) => Some(Span {
            start,
            end: end.max(start),
        }),
    }
}

impl Core {
    /// Reads an object: the newest version that a read quorum knows of.
    ///
    /// # Errors
    /// See [`ReadObjectError`]. Failures after the first bytes come out of the
    /// body.
    pub async fn get_object(
        &self,
        name: &ObjectName,
        mut options: GetOptions,
    ) -> Result<GotObject, ReadObjectError> {
        if let Wanted::Last(_) = options.wanted {
            // Nodes read spans from the start: the size must be known first.
            let stat = self.head_object(name, options.newest).await?;
            let range = options.wanted.within(stat.size);
            options.wanted = Wanted::Span(range.start, range.end);
        }
        let (container, place) = self.place_for_reading(name).await?;
        let mut last = None;
        let mut got = self.read(name, &place, options, &mut last).await;
        if matches!(got, Err(ReadObjectError::Unavailable(_)))
            && let Some(now) = self.shared.renewed(&place, last.as_ref()).await
        {
            got = self.read(name, &now, options, &mut None).await;
        } else {
            self.shared.renew_later(&place, last.as_ref());
        }
        got.map_err(|error| container.judge(error))
    }

    /// `last` becomes the failure that said most, if any was heard.
    async fn read(
        &self,
        name: &ObjectName,
        place: &Place,
        options: GetOptions,
        last: &mut Option<NodeError>,
    ) -> Result<GotObject, ReadObjectError> {
        let started = Instant::now();
        let mut tries = 0;
        let (stat, peer, read) = loop {
            tries += 1;
            let mut reading = Reading::new(
                &self.shared,
                name,
                place,
                span_of(options.wanted),
                self.expired_too,
            );
            match reading.next_candidate() {
                Some(first) => reading.ask_data(first),
                None => return Err(reading.unavailable().into()),
            }
            let stat = reading.head(options.newest).await;
            let found = match stat {
                Ok(stat) => reading.data(stat).await,
                Err(error) => {
                    *last = reading.last.take();
                    return Err(error);
                }
            };
            if let Some(error) = reading.last.take() {
                remember(last, error.clone());
                reading.last = Some(error);
            }
            match found {
                Ok(Some(found)) => break found,
                Err(error) if tries == TRIES => return Err(error.into()),
                Ok(None) if tries == TRIES => return Err(reading.unavailable().into()),
                Ok(None) | Err(_) => {}
            }
        };
        let range = options.wanted.within(stat.size);
        let reader = Reader::new(&self.shared, place, &stat, range.clone()).with_source(peer, read);
        let body = ObjectBody::open(reader)
            .await
            .map_err(|error| Unavailable::NoQuorum {
                reached: 0,
                needed: 1,
                why: error.to_string(),
            })?;
        self.shared.hedge.observe(started.elapsed());
        let body = match self.opener.pad(&stat)? {
            Some(pad) => body.through(pad.at(range.start)),
            None => body,
        };
        Ok(GotObject { stat, range, body })
    }

    /// Bytes `range` of exactly the version that `stat` names, opened when the
    /// body is first polled: for the further ranges of a multi-range answer.
    pub fn read_range(&self, name: &ObjectName, stat: &ObjectStat, range: Range<u64>) -> ObjectBody {
        let pad = self.opener.pad(stat);
        let start = range.start.min(stat.size);
        let (core, name, stat) = (self.clone(), name.clone(), stat.clone());
        let stored = ObjectBody::lazy(async move {
            let lost = |error: &dyn std::fmt::Display| BodyReadError::Lost(error.to_string());
            let placed = core.place_for_reading(&name).await;
            let (_, place) = placed.map_err(|error| lost(&error))?;
            let end = range.end.min(stat.size);
            Ok(Reader::new(
                &core.shared,
                &place,
                &stat,
                range.start.min(end)..end,
            ))
        });
        match pad {
            Ok(None) => stored,
            Ok(Some(pad)) => stored.through(pad.at(start)),
            Err(error) => ObjectBody::broken(BodyReadError::Lost(error.to_string())),
        }
    }

    /// The head of an object; `newest` asks every replica (`X-Newest`).
    ///
    /// # Errors
    /// See [`ReadObjectError`].
    pub async fn head_object(&self, name: &ObjectName, newest: bool) -> Result<ObjectStat, ReadObjectError> {
        let (container, place) = self.place_for_reading(name).await?;
        let head = self.head_at(name, &place, newest).await;
        head.map_err(|error| container.judge(error))
    }

    /// [`Core::head_object`] at a place that is known.
    pub(super) async fn head_at(
        &self,
        name: &ObjectName,
        place: &Place,
        newest: bool,
    ) -> Result<ObjectStat, ReadObjectError> {
        let mut reading = Reading::new(&self.shared, name, place, None, self.expired_too);
        let head = reading.head(newest).await;
        if matches!(head, Err(ReadObjectError::Unavailable(_)))
            && let Some(now) = self.shared.renewed(place, reading.last.as_ref()).await
        {
            let mut reading = Reading::new(&self.shared, name, &now, None, self.expired_too);
            return reading.head(newest).await;
        }
        self.shared.renew_later(place, reading.last.as_ref());
        head
    }
}

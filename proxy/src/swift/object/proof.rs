//! `GET ?proof=blake3`: what lets a client hold bytes it has against the root
//! that an object's answers name (`X-Object-Blake3`).
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use virga_object_wire::object::ObjectStat;

use super::super::body::{Answer, full};
use super::super::fault::Fault;
use super::super::query::Query;
use super::super::range::{Ranges, Selected};
use super::super::{Ctx, conditional, headers};
use super::read::{View, view_of};
use crate::core::ObjectName;
use crate::core::sealing::Sealed;

/// The header that names the BLAKE3 root of an object's bytes, in hex.
pub(super) const ROOT: HeaderName = HeaderName::from_static("x-object-blake3");

/// What a proof is sent as.
const TYPE: HeaderValue = HeaderValue::from_static("application/vnd.virga.proof");

/// The parameter that asks for a proof, and the one that says of which bytes.
pub const PARAMETERS: [&str; 2] = ["proof", "range"];

/// Names the root of bytes.
pub(super) fn name_root(into: &mut HeaderMap, root: &[u8; 32]) {
    into.insert(ROOT, headers::to_value(&hex::encode(root)));
}

/// An object whose bytes are sent as they are stored, with its root.
pub(super) fn with_root(stat: &ObjectStat) -> View {
    let mut view = view_of(stat);
    // The root of sealed bytes is of no use to whom they are opened for.
    if Sealed::of(stat).is_none() {
        name_root(&mut view.headers, &stat.blake3);
    }
    view
}

/// Whether a proof is asked for.
pub(super) fn is_wanted(ctx: &Ctx) -> bool {
    ctx.method == http::Method::GET && ctx.query.has(PARAMETERS[0])
}

/// The answer for manifests, whose bytes are those of others.
pub(super) fn of_manifest() -> Fault {
    Fault::bad("A large object has no hash of its own: ask for proofs of its segments")
}

/// Answers with a proof of the bytes that the query names, all without `range`.
pub(super) async fn answer(ctx: &Ctx, name: &ObjectName, stat: &ObjectStat) -> Result<Answer, Fault> {
    if !ctx.query.is(PARAMETERS[0], "blake3") {
        return Err(Fault::bad("Proofs are made with \"proof=blake3\" alone"));
    }
    let view = with_root(stat);
    if let Some(status) = conditional::judge(&ctx.headers, &view.etag, view.modified) {
        return Err(Fault::page(status));
    }
    let (start, end) = wanted(&ctx.query, stat.size)?;
    let proof = ctx.core().prove(name, stat, start..end).await?;
    let mut answer = Answer::new(full(proof.encode()));
    let into = answer.headers_mut();
    into.insert(CONTENT_TYPE, TYPE);
    for header in [ROOT, HeaderName::from_static("x-timestamp")] {
        if let Some(value) = view.headers.get(&header) {
            into.insert(header, value.clone());
        }
    }
    Ok(answer)
}

/// First byte and one past the last of what the query asks for.
fn wanted(query: &Query, size: u64) -> Result<(u64, u64), Fault> {
    let Some(range) = query.text(PARAMETERS[1])? else {
        return Ok((0, size));
    };
    let ranges = Ranges::parse(&format!("bytes={range}")).filter(|ranges| !ranges.several());
    let ranges = ranges.ok_or_else(|| {
        Fault::bad("\"range\" is one range of bytes, as in range=0-1023, range=1024- or range=-1024")
    })?;
    match ranges.select(size) {
        Selected::Parts(parts) if parts.len() == 1 => Ok(parts[0]),
        _ => Err(Fault::page(StatusCode::RANGE_NOT_SATISFIABLE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_that_exist_can_be_asked_for() {
        for (query, expected) in [
            ("proof=blake3", Ok((0, 100))),
            ("range=0-9", Ok((0, 10))),
            ("range=90-", Ok((90, 100))),
            ("range=-10", Ok((90, 100))),
            ("range=90-1000", Ok((90, 100))),
            ("range=100-", Err(416)),
            ("range=9-3", Err(400)),
            ("range=0-1,4-5", Err(400)),
            ("range=", Err(400)),
            ("range=%ff", Err(400)),
            ("range=x", Err(400)),
        ] {
            let got = wanted(&Query::parse(Some(query)), 100).map_err(|fault| fault.status().as_u16());
            assert_eq!(got, expected, "{query}");
        }
    }
}

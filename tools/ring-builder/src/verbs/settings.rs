//! Verbs that change settings of a builder. None moves data.
use serde_json::json;
use virga_ring::builder::{Builder, CreateError};

use crate::cli::Verb;
use crate::report::{Report, VerbError};

/// Applies a verb that changes settings; `None` if it is none of those.
pub(super) fn apply(builder: &mut Builder, verb: &Verb) -> Result<Option<Report>, VerbError> {
    Ok(Some(match verb {
        Verb::SetReplicas { replicas } => {
            builder.set_replicas(*replicas)?;
            let text = format!(
                "The replica count is now {replicas:.6}.\nThe change will take effect after the next rebalance."
            );
            Report::done(text, json!({"replicas": replicas}))
        }
        Verb::SetMinPartHours { hours } => {
            let wrong = CreateError::MinPartHours(*hours);
            builder.set_min_part_hours(u32::try_from(*hours).map_err(|_| wrong)?)?;
            let text = format!(
                "The minimum number of hours before a partition can be reassigned is now set to {hours}"
            );
            Report::done(text, json!({"min_part_hours": hours}))
        }
        Verb::SetOverload { overload } => set_overload(builder, overload)?,
        Verb::SetScatterLimit { limit } => set_scatter_limit(builder, limit)?,
        Verb::PretendMinPartHoursPassed => {
            builder.pretend_min_part_hours_passed();
            Report::done("", json!({}))
        }
        _ => return Ok(None),
    }))
}

fn set_overload(builder: &mut Builder, overload: &str) -> Result<Report, VerbError> {
    let (digits, percent) = match overload.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (overload, false),
    };
    let factor = number(digits)? * if percent { 0.01 } else { 1.0 };
    builder.set_overload(factor)?;
    let mut text = format!(
        "The overload factor is now {:.2}% ({factor:.6})\nThe change will take effect after the next rebalance.",
        factor * 100.0
    );
    let code = if factor > 1.0 && !percent {
        text.insert_str(0, "!?! Warning overload is greater than 100% !?!\n");
        crate::WARNING
    } else {
        crate::DONE
    };
    Ok(Report::done(text, json!({"overload": factor})).code(code))
}

fn set_scatter_limit(builder: &mut Builder, limit: &str) -> Result<Report, VerbError> {
    let limit = match limit {
        "none" => None,
        digits => Some(digits.parse().map_err(|_| {
            VerbError::usage(
                format!("{digits:?} is not a number of devices"),
                "give a number such as 32, or none",
            )
        })?),
    };
    builder.set_scatter_limit(limit)?;
    let text = match limit {
        None => "The scatter of a device is not limited any more.\n".to_owned(),
        Some(limit) => format!(
            "A device may now share partitions with {limit} others.\nThe first rebalance of a new ring keeps to it; a ring in use comes closer with what it moves anyway.\n"
        ),
    };
    Ok(Report::done(text, json!({"scatter_limit": limit})))
}

pub(super) fn number(text: &str) -> Result<f64, VerbError> {
    text.parse().map_err(|_| {
        VerbError::usage(
            format!("{text:?} is not a valid number."),
            "write it as 100 or 0.5",
        )
    })
}

pub(super) fn whole(text: &str) -> Result<u32, VerbError> {
    text.parse().map_err(|_| {
        VerbError::usage(
            format!("{text:?} is not a whole number of 0 or more."),
            "write it as 3",
        )
    })
}

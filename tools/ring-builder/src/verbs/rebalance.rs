//! The verb that moves data, with swift-ring-builder's rules for when to save.
use serde_json::{Value, json};
use virga_ring::builder::{Builder, Movement, RebalanceOptions, Rebalanced};

use crate::cli::Rebalance;
use crate::report::{Report, VerbError, clock_text};
use crate::store::Files;
use crate::{Session, WARNING};

/// Balance of a ring with something left on a device without weight.
const WORST_BALANCE: f64 = 999.99;
const RULE: &str = "-------------------------------------------------------------------------------";

/// The seed of a rebalance: given, or the builder's version, so that `plan`
/// says what `rebalance` will do.
pub(super) fn seed_of(word: Option<&str>, builder: &Builder) -> u64 {
    let Some(word) = word else {
        return builder.version();
    };
    // Any word will do, as with Swift's tool.
    word.parse().unwrap_or_else(|_| {
        word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    })
}

/// What a rebalance starts from, as far as the decision to save it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    changed: bool,
    balance: f64,
    dispersion: f64,
}

impl Start {
    pub(super) fn of(builder: &Builder) -> Self {
        Self {
            changed: builder.is_changed() || builder.table().is_none(),
            balance: builder.balance(),
            dispersion: builder.dispersion(),
        }
    }

    /// Did the rebalance do anything at all?
    pub(super) fn did_nothing(done: &Rebalanced) -> bool {
        done.moved == 0 && done.removed.is_empty()
    }

    /// Is the result saved without --force? Swift's rules.
    pub(super) fn is_worth_saving(self, done: &Rebalanced) -> bool {
        let draining = self.balance == WORST_BALANCE && done.balance == WORST_BALANCE;
        let better =
            (self.balance - done.balance).abs() >= 1.0 || (self.dispersion - done.dispersion).abs() >= 1.0;
        !Self::did_nothing(done) && (self.changed || draining || better)
    }
}

pub(super) fn rebalance(
    session: &mut Session<'_>,
    files: &Files,
    options: &Rebalance,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let seed = seed_of(
        options.seed.seed.as_deref().or(options.seed_word.as_deref()),
        &builder,
    );
    let start = Start::of(&builder);
    let wait = builder.seconds_until_movable(session.now);
    let how = RebalanceOptions {
        least_moves: options.least_moves,
        ..RebalanceOptions::new(seed, session.now)
    };
    let done = session.during("placing partitions", |_| builder.rebalance_with(&how))?;
    let json = to_json(&done);
    if Start::did_nothing(&done) && !options.force {
        let mut text = "No partitions could be reassigned.\n".to_owned();
        text += &if wait > 0 {
            format!(
                "The time between rebalances must be at least min_part_hours: {} hours ({} remaining)",
                builder.min_part_hours(),
                clock_text(wait)
            )
        } else {
            "There is no need to do so at this time".to_owned()
        };
        return Ok(Report::done(text, saved(json, false)).code(WARNING));
    }
    if !options.force && !start.is_worth_saving(&done) {
        let text = "Cowardly refusing to save rebalance as it did not change at least 1%.";
        return Ok(Report::done(text, saved(json, false)).code(WARNING));
    }
    builder.validate()?;
    let Some(ring) = builder.to_ring().transpose()? else {
        return Err(VerbError::Usage("the rebalance made no ring".into()));
    };
    let format = options.format_version.map(Into::into).unwrap_or_default();
    // Refuse what cannot be encoded before anything is written.
    let ring_bytes = files.encode_ring(&ring, format, None)?;
    // The builder first: a ring older than its builder is put right by
    // write_ring, a builder older than its ring would move data twice.
    files.save(&mut builder, session.now)?;
    files.write_ring_bytes(&ring_bytes, session.now)?;
    let (text, code) = describe(&builder, &done, options.debug);
    Ok(Report::done(text, saved(json, true)).code(code))
}

fn describe(builder: &Builder, done: &Rebalanced, debug: bool) -> (String, i32) {
    let mut text = String::new();
    if debug {
        for Movement { from, to, slots } in &done.movements {
            let from = from.map_or_else(|| "new".to_owned(), |id| format!("d{id}"));
            text += &format!("DEBUG: {slots} from {from} to d{to}\n");
        }
        text += &format!("DEBUG: moved {}, lower bound {}\n", done.moved, done.bound);
    }
    if let Some(scatter) = done.scatter.filter(|scatter| !scatter.is_met()) {
        text += &format!(
            "{} devices share partitions with more than {} others (up to {}): balance and dispersion come first.\n",
            scatter.over_limit, scatter.limit, scatter.widest
        );
    }
    text += &format!(
        "Reassigned {} ({:.2}%) partitions. Balance is now {:.2}.  Dispersion is now {:.2}\n",
        done.moved,
        100.0 * done.moved as f64 / builder.partition_count() as f64,
        done.balance,
        done.dispersion
    );
    if done.pending > 0 {
        text += &format!(
            "{} slots still to move: rebalance again when min_part_hours ({} hours) have passed.\n",
            done.pending,
            builder.min_part_hours()
        );
    }
    if done.dispersion > 0.0 {
        text += &format!(
            "{RULE}\nNOTE: Dispersion of {:.6} indicates some parts are not\n      optimally dispersed.\n\n      \
             You may want to adjust some device weights, increase\n      the overload or review the dispersion report.\n{RULE}\n",
            done.dispersion
        );
        return (text, WARNING);
    }
    if done.balance > 5.0 && done.balance / 100.0 > builder.overload() {
        text += &format!(
            "{RULE}\nNOTE: Balance of {:.2} indicates you should push this \n      ring, wait at least {} hours, and rebalance/repush.\n{RULE}\n",
            done.balance,
            builder.min_part_hours()
        );
        return (text, WARNING);
    }
    (text, crate::DONE)
}

fn saved(mut json: Value, saved: bool) -> Value {
    json["saved"] = saved.into();
    json
}

/// All figures of a rebalance.
pub(super) fn to_json(done: &Rebalanced) -> Value {
    let movement = |it: &Movement| json!({"from": it.from.map(|id| id.0), "to": it.to.0, "slots": it.slots});
    json!({
        "moved": done.moved, "parts_moved": done.parts_moved, "bound": done.bound, "pending": done.pending,
        "removed": done.removed, "balance": done.balance, "dispersion": done.dispersion,
        "movements": done.movements.iter().map(movement).collect::<Vec<_>>(),
    })
}

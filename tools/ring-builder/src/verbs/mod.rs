//! One function per verb, grouped by what they touch.
mod change;
mod diff;
mod dispersion;
mod durability;
mod lookup;
mod plan;
mod power;
mod rebalance;
mod show;
mod write;

use crate::Session;
use crate::cli::Verb;
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Carries out `verb`.
pub(crate) fn perform(session: &mut Session<'_>, files: &Files, verb: Verb) -> Result<Report, VerbError> {
    match verb {
        Verb::Show => show::summary(session, files),
        Verb::Create(create) => change::create(session, files, &create),
        Verb::Add(add) => change::add(session, files, add),
        Verb::Remove(choice) => change::remove(session, files, &choice),
        Verb::SetWeight(change) => change::set_weight(session, files, &change),
        Verb::SetRegion(change) => change::set_region(session, files, &change),
        Verb::SetZone(change) => change::set_zone(session, files, &change),
        Verb::SetInfo(change) => change::set_info(session, files, &change),
        Verb::Search(choice) => show::search(files, &choice),
        Verb::ListParts(choice) => show::list_parts(files, &choice),
        Verb::Rebalance(options) => rebalance::rebalance(session, files, &options),
        Verb::Plan(options) => plan::plan(session, files, &options),
        Verb::Bound(seed) => plan::bound(session, files, &seed),
        Verb::Durability(options) => durability::durability(files, &options),
        Verb::Diff { other } => diff::diff(files, &other),
        Verb::Dispersion(options) => dispersion::dispersion(session, files, &options),
        Verb::Validate => show::validate(files),
        Verb::WriteRing(options) => write::write_ring(session, files, &options),
        Verb::WriteBuilder { min_part_hours } => write::write_builder(session, files, min_part_hours),
        Verb::Version => write::version(files),
        Verb::SetReplicas { replicas } => change::set_replicas(session, files, replicas),
        Verb::SetMinPartHours { hours } => change::set_min_part_hours(session, files, hours),
        Verb::SetOverload { overload } => change::set_overload(session, files, &overload),
        Verb::PretendMinPartHoursPassed => change::pretend(session, files),
        Verb::PrepareIncreasePartitionPower => power::prepare(session, files),
        Verb::IncreasePartitionPower => power::increase(session, files),
        Verb::CancelIncreasePartitionPower => power::cancel(session, files),
        Verb::FinishIncreasePartitionPower => power::finish(session, files),
        Verb::Lookup(options) => lookup::lookup(session, files, &options),
    }
}

//! One function per verb, grouped by what they touch.
mod analyze;
mod change;
mod compose;
mod diff;
mod dispersion;
mod draw;
mod durability;
mod export;
mod import;
mod lookup;
mod nodes;
mod plan;
mod power;
mod rebalance;
mod settings;
mod show;
mod write;

pub(crate) use compose::Compose;
pub(crate) use export::Export;
pub(crate) use import::Import;

use crate::Session;
use crate::cli::Verb;
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Carries out `verb`.
pub(crate) fn perform(session: &mut Session<'_>, files: &Files, verb: Verb) -> Result<Report, VerbError> {
    match verb {
        // A composite ring's file has builders behind it, not devices in it.
        Verb::Show if compose::is_composite(files) => compose::show(files),
        Verb::Rebalance(options) if compose::is_composite(files) => {
            compose::rebalance(session, files, &options)
        }
        Verb::Import(options) => import::import(session, files, &options),
        Verb::Export(options) => export::export(session, files, &options),
        Verb::Compose(options) => compose::compose(session, files, &options),
        Verb::Show => show::summary(session, files),
        Verb::Create(create) => change::create(session, files, &create),
        Verb::Add(_)
        | Verb::Remove(_)
        | Verb::SetWeight(_)
        | Verb::SetRegion(_)
        | Verb::SetZone(_)
        | Verb::SetInfo(_)
        | Verb::SetReplicas { .. }
        | Verb::SetMinPartHours { .. }
        | Verb::SetOverload { .. }
        | Verb::SetScatterLimit { .. }
        | Verb::PretendMinPartHoursPassed => change::change(session, files, &verb),
        Verb::Search(choice) => show::search(files, &choice),
        Verb::ListParts(choice) => show::list_parts(files, &choice),
        Verb::Rebalance(options) => rebalance::rebalance(session, files, &options),
        Verb::Plan(options) => plan::plan(session, files, &options),
        Verb::Bound(seed) => plan::bound(session, files, &seed),
        Verb::Durability(options) => durability::durability(session, files, &options),
        Verb::Diff { other } => diff::diff(files, &other),
        Verb::Dispersion(options) => dispersion::dispersion(session, files, &options),
        Verb::Validate => show::validate(files),
        Verb::WriteRing(options) => write::write_ring(session, files, &options),
        Verb::WriteBuilder { min_part_hours } => write::write_builder(session, files, min_part_hours),
        Verb::Version => write::version(files),
        Verb::PrepareIncreasePartitionPower => power::prepare(session, files),
        Verb::IncreasePartitionPower => power::increase(session, files),
        Verb::CancelIncreasePartitionPower => power::cancel(session, files),
        Verb::FinishIncreasePartitionPower => power::finish(session, files),
        Verb::Lookup(options) => lookup::lookup(session, files, &options),
        Verb::Nodes(options) => nodes::nodes(files, &options),
        Verb::Analyze(options) => analyze::analyze(session, files, &options),
        Verb::Draw(options) => draw::draw(session, files, &options),
    }
}

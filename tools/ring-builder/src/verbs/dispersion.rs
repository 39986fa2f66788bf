//! The dispersion report.
use regex::Regex;
use serde_json::json;
use virga_ring::builder::TierRisk;

use crate::cli::Dispersion;
use crate::report::{Report, VerbError};
use crate::store::Files;
use crate::{DONE, Session, WARNING};

pub(super) fn dispersion(
    session: &mut Session<'_>,
    files: &Files,
    options: &Dispersion,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let filter = match &options.filter {
        None => None,
        // Anchored at the front, as Swift's tool matches.
        Some(text) => Some(Regex::new(&format!("^(?:{text})")).map_err(|error| {
            VerbError::usage(error.to_string(), "give a regular expression such as 'r1z\\d+$'")
        })?),
    };
    if options.recalculate {
        builder.recalculate_dispersion();
        files.save(&mut builder, session.now)?;
    }
    let Some(report) = builder.dispersion_report() else {
        let text = format!(
            "Specified builder file \"{}\" is not rebalanced yet. Please rebalance first.",
            files.builder.display()
        );
        return Err(VerbError::usage(text, "virga ring FILE rebalance"));
    };
    let wanted = |tier: &&TierRisk| filter.as_ref().is_none_or(|filter| filter.is_match(&tier.tier));
    let tiers: Vec<&TierRisk> = report.tiers.iter().filter(wanted).collect();
    let worst = tiers
        .iter()
        .filter(|tier| tier.at_risk > 0.0)
        .max_by(|a, b| a.at_risk.total_cmp(&b.at_risk));
    let required = builder.required_overload()?;
    let mut text = format!(
        "Dispersion is {:.6}, Balance is {:.6}, Overload is {:.2}%\nRequired overload is {:.6}%\n",
        builder.dispersion(),
        builder.balance(),
        builder.overload() * 100.0,
        required * 100.0
    );
    if let Some(worst) = worst {
        text += &format!("Worst tier is {:.6} ({})\n", worst.at_risk, worst.tier);
    }
    if options.verbose {
        text += &table(&tiers, builder.partition_count());
    }
    let json = json!({
        "dispersion": builder.dispersion(), "dispersion_exact": report.exact, "balance": builder.balance(),
        "overload": builder.overload(), "required_overload": required,
        "worst_tier": worst.map(|tier| &tier.tier),
        "tiers": tiers.iter().map(|tier| json!({
            "tier": tier.tier, "parts": tier.held, "dispersion": tier.at_risk, "max": tier.max, "counts": tier.counts,
        })).collect::<Vec<_>>(),
    });
    Ok(Report::done(text, json).code(if worst.is_some() { WARNING } else { DONE }))
}

fn table(tiers: &[&TierRisk], parts: u64) -> String {
    let mut sorted: Vec<&&TierRisk> = tiers.iter().collect();
    sorted.sort_by(|a, b| a.tier.cmp(&b.tier));
    let name = sorted
        .iter()
        .map(|tier| tier.tier.len())
        .max()
        .unwrap_or(0)
        .max(30);
    let width = parts.to_string().len().max(5);
    let columns = sorted.iter().map(|tier| tier.counts.len()).max().unwrap_or(0);
    let mut head = format!("{:<name$} {:>width$} {:>6} {:>6}", "Tier", "Parts", "%", "Max");
    (0..columns).for_each(|count| head += &format!(" {count:>width$}"));
    let rule = "-".repeat(head.len());
    let mut text = format!("{rule}\n{head}\n{rule}\n");
    for tier in sorted {
        text += &format!(
            "{:<name$} {:>width$} {:>6.2} {:>6}",
            tier.tier, tier.held, tier.at_risk, tier.max
        );
        tier.counts
            .iter()
            .for_each(|parts| text += &format!(" {parts:>width$}"));
        text.push('\n');
    }
    text
}

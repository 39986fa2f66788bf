//! The ring as a picture: every device in its server, zone and region, how
//! full it is against its target, and what a rebalance would move.
//!
//! SVG without scripts or fonts of its own; readable on light and dark
//! grounds. `data-` attributes carry the numbers for programs and tests.
mod layout;
mod ribbons;
mod svg;

use std::path::Path;

use serde_json::json;
use virga_ring::file;

use super::plan::{Flows, Outlook};
use crate::Session;
use crate::cli::Draw;
use crate::quantity::show_seconds;
use crate::report::{Report, VerbError};
use crate::store::Files;
use layout::{Cell, Map};
use svg::{Shade, Svg};

/// Page width; the height follows from the content.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 32.0;

pub(super) fn draw(session: &mut Session<'_>, files: &Files, options: &Draw) -> Result<Report, VerbError> {
    let from = if files.is_bare_ring() {
        From::Ring
    } else {
        From::Builder
    };
    let outlook = match from {
        From::Ring => of_bare_ring(files, options)?,
        From::Builder if options.still => Outlook::still(session, files, &options.trial)?,
        From::Builder => Outlook::of(session, files, &options.trial, None)?,
    };
    let flows = Flows::of(&outlook);
    let cells = cells(&outlook, &flows, options.still || from == From::Ring);
    let file = match from {
        From::Ring => &files.ring,
        From::Builder => &files.builder,
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let picture = compose((&name, from), &outlook, &flows, &cells);
    write_picture(&options.out, &picture)?;
    let text = format!(
        "{}: {} devices, {} slots move\n",
        options.out.display(),
        cells.len(),
        outlook.moved()
    );
    Ok(Report::done(
        text,
        json!({"picture": options.out, "devices": cells.len(), "moved": outlook.moved()}),
    ))
}

/// What is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Builder,
    /// A ring alone: nobody knows its overload, nor what is to move.
    Ring,
}

fn of_bare_ring(files: &Files, options: &Draw) -> Result<Outlook, VerbError> {
    if !options.trial.with.is_empty() {
        return Err(VerbError::usage(
            format!(
                "{} has no builder beside it: changes cannot be tried out",
                files.ring.display()
            ),
            "draw it without --with, or make a builder of it first: virga ring FILE write_builder",
        ));
    }
    Outlook::of_ring(&file::load(&files.ring)?)
}

fn write_picture(out: &Path, picture: &str) -> Result<(), VerbError> {
    file::replace(out, picture.as_bytes()).map_err(|error| {
        VerbError::usage(
            format!("cannot write {}: {error}", out.display()),
            "name a file in a folder that exists and can be written",
        )
    })
}

/// One device with its numbers.
fn cells(outlook: &Outlook, flows: &Flows, still: bool) -> Vec<Cell> {
    let now = outlook.before.targets().unwrap_or_default();
    let cell = |device: &virga_ring::Device| {
        let load = flows.devices[&device.id];
        let target = now.get(device.id.0 as usize).copied().unwrap_or(0.0);
        Cell {
            id: device.id,
            region: device.region,
            zone: device.zone,
            server: device.ip.clone(),
            name: device.device.clone(),
            meta: device.meta.clone(),
            weight: device.weight,
            leaves: outlook.before.is_removed(device.id),
            held: load.before,
            target,
            after: (!still).then_some(load.after),
        }
    };
    let mut cells: Vec<Cell> = outlook.before.devices().map(cell).collect();
    cells.sort_by(|a, b| (a.region, a.zone, &a.server, a.id).cmp(&(b.region, b.zone, &b.server, b.id)));
    cells
}

fn compose((name, from): (&str, From), outlook: &Outlook, flows: &Flows, cells: &[Cell]) -> String {
    let mut svg = Svg::default();
    let mut y = header(&mut svg, (name, from), outlook, cells);
    y = legend(&mut svg, y, cells.iter().any(|cell| cell.after.is_some()));
    let map = Map::new(cells, WIDTH - 2.0 * MARGIN);
    map.draw(&mut svg, cells, (MARGIN, y));
    y += map.height() + 30.0;
    if outlook.moved() > 0 {
        y = moves_title(&mut svg, outlook, y);
        y = ribbons::draw(&mut svg, outlook, flows, (MARGIN, y, WIDTH - 2.0 * MARGIN));
    }
    svg.finish(WIDTH, y + MARGIN - 10.0, &format!("Ring {name}"))
}

fn header(svg: &mut Svg, (name, from): (&str, From), outlook: &Outlook, cells: &[Cell]) -> f64 {
    let ring = &outlook.before;
    svg.text((MARGIN, 54.0), "title ink", name);
    let facts = format!(
        "2^{} partitions \u{b7} {} replicas \u{b7} {} devices \u{b7} version {}",
        ring.part_power(),
        ring.replicas(),
        cells.len(),
        ring.version()
    );
    svg.text((MARGIN, 78.0), "fact soft", &facts);
    // Figures at the right: what operators ask for first.
    let mut figures = vec![
        ("balance", format!("{:.2} %", ring.balance())),
        ("dispersion", format!("{:.2} %", ring.dispersion())),
    ];
    if from == From::Builder {
        figures.push(("overload", format!("{:.0} %", ring.overload() * 100.0)));
        figures.push(("slots to move", outlook.moved().to_string()));
    }
    for (at, (what, value)) in figures.iter().rev().enumerate() {
        let x = WIDTH - MARGIN - at as f64 * 128.0;
        svg.text((x, 52.0), "figure ink end", value);
        svg.text((x, 72.0), "small soft end", what);
    }
    96.0
}

fn legend(svg: &mut Svg, y: f64, planned: bool) -> f64 {
    let mut x = MARGIN;
    for shade in Shade::ALL {
        svg.swatch((x, y + 2.0), shade);
        svg.text((x + 18.0, y + 12.0), "small soft", shade.says());
        x += 30.0 + shade.says().chars().count() as f64 * 6.3;
    }
    if planned {
        svg.line((x, y + 7.0), (x + 16.0, y + 7.0), "after");
        svg.text((x + 22.0, y + 12.0), "small soft", "after the rebalance");
    }
    y + 34.0
}

fn moves_title(svg: &mut Svg, outlook: &Outlook, y: f64) -> f64 {
    svg.text((MARGIN, y + 12.0), "heading ink", "What a rebalance moves");
    let steps = &outlook.steps;
    let wait: u64 = steps.iter().map(|step| step.wait).sum();
    let mut facts = format!(
        "{} slots in {} step{}; at least {} must move",
        outlook.moved(),
        steps.len(),
        if steps.len() == 1 { "" } else { "s" },
        outlook.bound
    );
    if wait > 0 {
        facts += &format!("; {} of waiting for min_part_hours", show_seconds(wait as f64));
    }
    svg.text((MARGIN, y + 32.0), "fact soft", &facts);
    y + 50.0
}

#[cfg(test)]
mod tests;

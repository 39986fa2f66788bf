//! The map: regions around zones around servers around devices.
//!
//! Blocks flow from left to right and wrap. Few devices are drawn as tanks
//! with a level, many as coloured cells; every device is there.
use virga_ring::DeviceId;

use super::svg::{Shade, Svg, shorten};

/// More devices than this are cells, not tanks.
const MOST_TANKS: usize = 96;
/// More servers than this are not boxes of their own.
const MOST_SERVERS: usize = 240;
/// Slots above the target that a tank shows, as a share of the target.
const HEADROOM: f64 = 1.25;

/// One device as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) id: DeviceId,
    pub(super) region: u32,
    pub(super) zone: u32,
    pub(super) server: String,
    pub(super) name: String,
    pub(super) meta: String,
    pub(super) weight: f64,
    pub(super) leaves: bool,
    /// Slots held now.
    pub(super) held: u64,
    /// Slots it should hold.
    pub(super) target: f64,
    /// Slots held after the plan, if one is drawn.
    pub(super) after: Option<u64>,
}

impl Cell {
    fn shade(&self) -> Shade {
        Shade::of(self.held, self.target, self.leaves)
    }

    fn title(&self) -> String {
        let mut text = format!(
            "d{} r{}z{}-{}/{}: {} slots of {:.1}",
            self.id, self.region, self.zone, self.server, self.name, self.held, self.target
        );
        if let Some(after) = self.after {
            text += &format!(", {after} after the rebalance");
        }
        text += &format!(", weight {}", self.weight);
        if !self.meta.is_empty() {
            text += &format!(", {}", self.meta);
        }
        text
    }

    fn data(&self) -> Vec<(&'static str, String)> {
        let mut data = vec![
            ("id", self.id.to_string()),
            ("held", self.held.to_string()),
            ("target", format!("{:.3}", self.target)),
        ];
        data.extend(self.after.map(|after| ("after", after.to_string())));
        data
    }
}

/// How devices are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Tanks,
    Cells,
    /// Cells, servers only set apart by a gap.
    Dense,
}

/// A box with what is in it.
#[derive(Debug)]
struct Block {
    class: &'static str,
    title: String,
    note: String,
    /// Devices, by place in the list; only in the innermost block.
    cells: Vec<(f64, f64, usize)>,
    blocks: Vec<(f64, f64, Block)>,
    size: (f64, f64),
}

/// The map of all devices.
#[derive(Debug)]
pub(super) struct Map {
    root: Block,
    detail: Detail,
    /// Largest target: the tallest tank.
    most: f64,
}

impl Map {
    pub(super) fn new(cells: &[Cell], width: f64) -> Self {
        let servers = split(cells, 0..cells.len(), |cell| {
            (cell.region, cell.zone, cell.server.clone())
        });
        let detail = match (cells.len(), servers.len()) {
            (devices, _) if devices <= MOST_TANKS => Detail::Tanks,
            (_, servers) if servers <= MOST_SERVERS => Detail::Cells,
            _ => Detail::Dense,
        };
        let mut regions = Vec::new();
        for region in split(cells, 0..cells.len(), |cell| cell.region) {
            let mut zones = Vec::new();
            for zone in split(cells, region.clone(), |cell| (cell.region, cell.zone)) {
                zones.push(zone_block(cells, zone, detail, width - 28.0));
            }
            let first = &cells[region.start];
            let title = format!("Region {}", first.region);
            regions.push(wrap(
                "region",
                title,
                totals(cells, &region),
                zones,
                (width, 14.0),
            ));
        }
        let root = wrap("", String::new(), String::new(), regions, (width, 0.0));
        let most = cells.iter().map(|cell| cell.target).fold(1.0, f64::max);
        Self { root, detail, most }
    }

    pub(super) fn height(&self) -> f64 {
        self.root.size.1
    }

    pub(super) fn draw(&self, svg: &mut Svg, cells: &[Cell], at: (f64, f64)) {
        self.block(svg, cells, &self.root, at);
    }

    fn block(&self, svg: &mut Svg, cells: &[Cell], block: &Block, (x, y): (f64, f64)) {
        if !block.class.is_empty() {
            let (radius, top, class) = match block.class {
                "region" => (14.0, 22.0, "label ink"),
                "zone" => (10.0, 17.0, "small ink"),
                _ => (6.0, 13.0, "tiny soft"),
            };
            svg.rect((x, y), block.size, block.class, radius);
            svg.text((x + 10.0, y + top), class, &block.title);
            if !block.note.is_empty() {
                svg.text((x + block.size.0 - 10.0, y + top), "tiny soft end", &block.note);
            }
        }
        for (dx, dy, inner) in &block.blocks {
            self.block(svg, cells, inner, (x + dx, y + dy));
        }
        for (dx, dy, at) in &block.cells {
            let cell = &cells[*at];
            svg.open("device", &cell.data(), &cell.title());
            match self.detail {
                Detail::Tanks => self.tank(svg, cell, (x + dx, y + dy)),
                _ => chip(svg, cell, (x + dx, y + dy)),
            }
            svg.close();
        }
    }

    /// A tank as tall as the target, with a level and a line at the target.
    fn tank(&self, svg: &mut Svg, cell: &Cell, (x, y): (f64, f64)) {
        let goal = if cell.target > 0.0 { cell.target } else { self.most };
        let tall = 34.0 + 46.0 * (goal / self.most).min(1.0);
        let (width, bottom) = (40.0, y + 84.0);
        let level = |slots: f64| bottom - tall * (slots / goal).min(HEADROOM) / HEADROOM;
        svg.rect((x + 4.0, bottom - tall), (width, tall), "tank", 4.0);
        let top = level(cell.held as f64);
        if cell.held > 0 {
            svg.rect((x + 4.0, top), (width, bottom - top), cell.shade().class(), 4.0);
        }
        if cell.target > 0.0 {
            svg.line((x + 4.0, level(goal)), (x + 4.0 + width, level(goal)), "goal");
        }
        let moved = cell.after.filter(|after| *after != cell.held);
        if let Some(after) = moved {
            let line = level(after as f64).min(bottom - 1.0);
            svg.line((x, line), (x + 8.0 + width, line), "after");
        }
        let middle = x + 4.0 + width / 2.0;
        let name = format!("d{} {}", cell.id, cell.name);
        svg.text((middle, bottom + 12.0), "tiny ink mid", &shorten(&name, 9));
        let held = match moved {
            Some(after) if after > cell.held => {
                format!("{} +{}", compact(cell.held), compact(after - cell.held))
            }
            Some(after) => format!("{} \u{2212}{}", compact(cell.held), compact(cell.held - after)),
            None => compact(cell.held),
        };
        svg.text((middle, bottom + 23.0), "tiny soft mid", &held);
    }
}

/// A cell: its colour is its level; a bar below says where it goes.
fn chip(svg: &mut Svg, cell: &Cell, (x, y): (f64, f64)) {
    svg.rect((x, y), (12.0, 12.0), cell.shade().class(), 2.5);
    if cell.after.is_some_and(|after| after != cell.held) {
        svg.line((x + 1.0, y + 13.5), (x + 11.0, y + 13.5), "after");
    }
}

/// A count in at most five characters: 3072, 41k, 2.1M.
fn compact(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

/// Runs of devices with the same key.
fn split<K: PartialEq>(
    cells: &[Cell],
    range: std::ops::Range<usize>,
    key: impl Fn(&Cell) -> K,
) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = range.start;
    for at in range.clone() {
        if at + 1 == range.end || key(&cells[at]) != key(&cells[at + 1]) {
            runs.push(start..at + 1);
            start = at + 1;
        }
    }
    runs
}

fn totals(cells: &[Cell], range: &std::ops::Range<usize>) -> String {
    let inside = &cells[range.clone()];
    let held: u64 = inside.iter().map(|cell| cell.held).sum();
    let target: f64 = inside.iter().map(|cell| cell.target).sum();
    format!("{held} of {target:.0} slots")
}

fn zone_block(cells: &[Cell], zone: std::ops::Range<usize>, detail: Detail, width: f64) -> Block {
    let title = format!("Zone {}", cells[zone.start].zone);
    let note = totals(cells, &zone);
    if detail == Detail::Dense {
        let mut inner = dense(cells, zone);
        inner.class = "zone";
        inner.title = title;
        inner.note = note;
        return inner;
    }
    let mut servers = Vec::new();
    for server in split(cells, zone, |cell| cell.server.clone()) {
        servers.push(server_block(cells, server, detail));
    }
    // As square as its contents allow: several zones share a line.
    let area: f64 = servers.iter().map(|server| server.size.0 * server.size.1).sum();
    let widest = servers.iter().map(|server| server.size.0).fold(0.0, f64::max);
    let room = (area.sqrt() * 1.7).max(widest).max(180.0).min(width - 28.0) + 28.0;
    wrap("zone", title, note, servers, (room, 10.0))
}

fn server_block(cells: &[Cell], server: std::ops::Range<usize>, detail: Detail) -> Block {
    let count = server.len();
    let (cell, top, columns) = match detail {
        Detail::Tanks => ((50.0, 118.0), 16.0, count.min(8)),
        _ => ((16.0, 18.0), 20.0, count.clamp(5, 12)),
    };
    let title = shorten(&cells[server.start].server, 26);
    let placed = |(at, number): (usize, usize)| {
        let (column, row) = (at % columns, at / columns);
        (8.0 + column as f64 * cell.0, top + row as f64 * cell.1, number)
    };
    let rows = count.div_ceil(columns);
    let wide = (16.0 + columns.min(count) as f64 * cell.0).max(24.0 + title.chars().count() as f64 * 5.6);
    Block {
        class: "server",
        title,
        note: String::new(),
        cells: server.enumerate().map(placed).collect(),
        blocks: Vec::new(),
        size: (wide, top + rows as f64 * cell.1 + 2.0),
    }
}

/// All cells of a zone side by side, with a gap between servers.
fn dense(cells: &[Cell], zone: std::ops::Range<usize>) -> Block {
    let line = (zone.len() as f64).sqrt() * 1.6 * 14.0;
    let line = line.clamp(170.0, 1000.0);
    let (mut x, mut y) = (10.0, 28.0);
    let mut placed = Vec::new();
    for server in split(cells, zone, |cell| cell.server.clone()) {
        for at in server {
            if x > line {
                (x, y) = (10.0, y + 18.0);
            }
            placed.push((x, y, at));
            x += 14.0;
        }
        x += 5.0;
    }
    Block {
        class: "zone",
        title: String::new(),
        note: String::new(),
        cells: placed,
        blocks: Vec::new(),
        size: (line + 34.0, y + 24.0),
    }
}

/// Lays blocks out in lines no longer than the room, inside a box with a title.
fn wrap(
    class: &'static str,
    title: String,
    note: String,
    inner: Vec<Block>,
    (room, padding): (f64, f64),
) -> Block {
    let gap = if class == "zone" { 8.0 } else { 12.0 };
    let top = match class {
        "region" => 34.0,
        "zone" => 26.0,
        _ => 0.0,
    };
    let (mut x, mut y, mut line, mut widest) = (padding, top, 0.0f64, 0.0f64);
    let mut blocks = Vec::new();
    for block in inner {
        let (w, h) = block.size;
        if x > padding && x + w > room - padding {
            (x, y, line) = (padding, y + line + gap, 0.0);
        }
        blocks.push((x, y, block));
        x += w + gap;
        line = line.max(h);
        widest = widest.max(x - gap);
    }
    // Regions fill the page; zones are as wide as what they hold.
    let wide = match class {
        "zone" => (widest + padding).max(180.0),
        _ => room,
    };
    Block {
        class,
        title,
        note,
        cells: Vec::new(),
        blocks,
        size: (wide, y + line + padding),
    }
}

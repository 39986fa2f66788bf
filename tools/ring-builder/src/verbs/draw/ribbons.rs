//! What moves: givers at the left, takers at the right, bands as thick as
//! the slots between them. Devices if they are few, else servers, zones, regions.
use std::collections::BTreeMap;

use virga_ring::{Device, DeviceId};

use super::super::plan::{Flows, Outlook};
use super::svg::{Svg, shorten};

/// More ends than this on a side are put together.
const MOST_ENDS: usize = 28;
/// Bands that a reader can follow.
const MOST_BANDS: usize = 260;

/// Colours of the givers, in turn.
const COLOURS: [&str; 8] = [
    "#2b8a9e", "#c46a3f", "#6b6fb5", "#7f9a3a", "#b5577f", "#3f8f62", "#b08a2e", "#5c7f9f",
];

/// Slots by where they come from and go to.
type Bands = BTreeMap<(String, String), u64>;

/// Draws the bands into `(x, y, width)`; gives the y below them.
pub(super) fn draw(svg: &mut Svg, outlook: &Outlook, flows: &Flows, (x, y, width): (f64, f64, f64)) -> f64 {
    let (what, bands) = gather(outlook, flows);
    let (from, to) = (ends(&bands, |link| &link.0), ends(&bands, |link| &link.1));
    let total: u64 = bands.values().sum();
    let rows = from.len().max(to.len()) as f64;
    let gap = 10.0;
    let tall = (rows * 20.0).max(180.0) + gap * (rows - 1.0);
    let (left, right) = (x + 250.0, x + width - 250.0);
    svg.text((left - 12.0, y + 8.0), "small soft end", &format!("from {what}"));
    svg.text((right + 12.0, y + 8.0), "small soft", &format!("to {what}"));
    let y = y + 20.0;
    let givers = Column::new(&from, total, (y, tall, gap));
    let takers = Column::new(&to, total, (y, tall, gap));
    let (mut out, mut into) = (givers.tops(), takers.tops());
    for (at, (name, _)) in from.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        for ((_, other), slots) in bands.iter().filter(|((giver, _), _)| giver == name) {
            let Some(taker) = to.iter().position(|(known, _)| known == other) else {
                continue;
            };
            let data = [
                ("from", name.clone()),
                ("to", other.clone()),
                ("slots", slots.to_string()),
            ];
            svg.open("flow", &data, &format!("{name} \u{2192} {other}: {slots} slots"));
            // Each end has its own scale: the gaps take different room.
            let thick = (*slots as f64 * givers.scale.min(takers.scale)).max(0.8);
            svg.band((left, out[at]), (right, into[taker]), thick, colour);
            svg.close();
            out[at] += *slots as f64 * givers.scale;
            into[taker] += *slots as f64 * takers.scale;
        }
    }
    givers.draw(svg, &from, (left - 6.0, left - 14.0), "end");
    takers.draw(svg, &to, (right, right + 14.0), "");
    y + tall + 8.0
}

/// One side: where each end begins and how tall it is.
struct Column {
    places: Vec<(f64, f64)>,
    /// Pixels of a slot.
    scale: f64,
}

impl Column {
    fn new(ends: &[(String, u64)], total: u64, (top, tall, gap): (f64, f64, f64)) -> Self {
        let free = tall - gap * (ends.len() as f64 - 1.0);
        let scale = free / total.max(1) as f64;
        let mut y = top;
        let mut places = Vec::new();
        for (_, slots) in ends {
            let height = *slots as f64 * scale;
            places.push((y, height));
            y += height + gap;
        }
        Self { places, scale }
    }

    fn tops(&self) -> Vec<f64> {
        self.places.iter().map(|place| place.0).collect()
    }

    fn draw(&self, svg: &mut Svg, ends: &[(String, u64)], (bar, label): (f64, f64), anchor: &str) {
        for ((name, slots), (y, height)) in ends.iter().zip(&self.places) {
            svg.rect((bar, *y), (6.0, height.max(1.0)), "node", 1.5);
            let text = if anchor == "end" {
                format!("{}  {slots}", shorten(name, 32))
            } else {
                format!("{slots}  {}", shorten(name, 32))
            };
            svg.text(
                (label, y + height / 2.0 + 4.0),
                &format!("small ink {anchor}"),
                &text,
            );
        }
    }
}

/// The finest grouping that is still readable.
fn gather(outlook: &Outlook, flows: &Flows) -> (&'static str, Bands) {
    let groupings: [(&str, fn(&Device) -> String); 4] = [
        ("device", |it| {
            format!("d{} r{}z{}-{}/{}", it.id, it.region, it.zone, it.ip, it.device)
        }),
        ("server", |it| format!("r{}z{}-{}", it.region, it.zone, it.ip)),
        ("zone", |it| format!("r{}z{}", it.region, it.zone)),
        ("region", |it| format!("r{}", it.region)),
    ];
    let mut last = ("region", Bands::new());
    for (what, name) in groupings {
        let mut bands = Bands::new();
        for ((from, to), slots) in &flows.links {
            let place = |id: Option<DeviceId>| {
                let device = id.and_then(|id| outlook.before.device(id));
                device.map_or_else(|| "new replicas".to_owned(), name)
            };
            *bands.entry((place(*from), place(Some(*to)))).or_default() += slots;
        }
        let fits = ends(&bands, |link| &link.0).len() <= MOST_ENDS
            && ends(&bands, |link| &link.1).len() <= MOST_ENDS
            && bands.len() <= MOST_BANDS;
        last = (what, bands);
        if fits {
            break;
        }
    }
    last
}

/// One side with its slots, in order of name.
fn ends(bands: &Bands, side: fn(&(String, String)) -> &String) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&String, u64> = BTreeMap::new();
    for (link, slots) in bands {
        *sums.entry(side(link)).or_default() += slots;
    }
    sums.into_iter()
        .map(|(name, slots)| (name.clone(), slots))
        .collect()
}

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

/// Between two ends of a side.
const GAP: f64 = 10.0;

/// Colours of the givers, in turn.
const COLOURS: [&str; 8] = [
    "#2b8a9e", "#c46a3f", "#6b6fb5", "#7f9a3a", "#b5577f", "#3f8f62", "#b08a2e", "#5c7f9f",
];

/// An end of a band; sorted by place, then name.
type End = ((u32, u32, String, u32), String);
/// What the ends are, and the end of a device.
type Grouping = (&'static str, fn(&Device) -> End);
/// Slots by where they come from and go to.
type Bands = BTreeMap<(End, End), u64>;

/// Draws the bands into `(x, y, width)`; gives the y below them.
pub(super) fn draw(svg: &mut Svg, outlook: &Outlook, flows: &Flows, (x, y, width): (f64, f64, f64)) -> f64 {
    let (what, bands) = gather(outlook, flows);
    let (from, to) = (ends(&bands, |link| &link.0), ends(&bands, |link| &link.1));
    let total: u64 = bands.values().sum();
    let rows = from.len().max(to.len()) as f64;
    let tall = (rows * 20.0).max(180.0) + GAP * (rows - 1.0);
    // One scale for both sides: a band is as thick at both ends.
    let scale = (tall - GAP * (rows - 1.0)) / total.max(1) as f64;
    let (left, right) = (x + 250.0, x + width - 250.0);
    svg.text((left - 12.0, y + 8.0), "small soft end", &format!("from {what}"));
    svg.text((right + 12.0, y + 8.0), "small soft", &format!("to {what}"));
    let y = y + 20.0;
    let givers = Column::new(&from, scale, (y, tall));
    let takers = Column::new(&to, scale, (y, tall));
    let (mut out, mut into) = (givers.tops(), takers.tops());
    for (at, (giver, _)) in from.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        for ((_, taker), slots) in bands.iter().filter(|((end, _), _)| end == giver) {
            let Some(place) = to.iter().position(|(end, _)| end == taker) else {
                continue;
            };
            let (from, to) = (&giver.1, &taker.1);
            let data = [
                ("from", from.clone()),
                ("to", to.clone()),
                ("slots", slots.to_string()),
            ];
            svg.open("flow", &data, &format!("{from} \u{2192} {to}: {slots} slots"));
            let thick = *slots as f64 * scale;
            svg.band((left, out[at]), (right, into[place]), thick.max(0.8), colour);
            svg.close();
            out[at] += thick;
            into[place] += thick;
        }
    }
    givers.draw(svg, &from, (left - 6.0, left - 14.0), "end");
    takers.draw(svg, &to, (right, right + 14.0), "");
    y + tall + 8.0
}

/// One side: where each end begins and how tall it is.
struct Column(Vec<(f64, f64)>);

impl Column {
    /// Ends under each other, in the middle of the height.
    fn new(ends: &[(End, u64)], scale: f64, (top, tall): (f64, f64)) -> Self {
        let used: f64 = ends.iter().map(|(_, slots)| *slots as f64 * scale + GAP).sum();
        let mut y = top + (tall - used + GAP) / 2.0;
        let mut places = Vec::new();
        for (_, slots) in ends {
            let height = *slots as f64 * scale;
            places.push((y, height));
            y += height + GAP;
        }
        Self(places)
    }

    fn tops(&self) -> Vec<f64> {
        self.0.iter().map(|place| place.0).collect()
    }

    fn draw(&self, svg: &mut Svg, ends: &[(End, u64)], (bar, label): (f64, f64), anchor: &str) {
        for (((_, name), slots), (y, height)) in ends.iter().zip(&self.0) {
            svg.rect((bar, *y), (6.0, height.max(1.0)), "node", 1.5);
            let name = shorten(name, 34);
            let text = if anchor == "end" {
                format!("{name} \u{b7} {slots}")
            } else {
                format!("{slots} \u{b7} {name}")
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
    let groupings: [Grouping; 4] = [
        ("device", |it| {
            let name = format!("d{} r{}z{}-{}/{}", it.id, it.region, it.zone, it.ip, it.device);
            ((it.region, it.zone, it.ip.clone(), it.id.0), name)
        }),
        ("server", |it| {
            let name = format!("r{}z{}-{}", it.region, it.zone, it.ip);
            ((it.region, it.zone, it.ip.clone(), 0), name)
        }),
        ("zone", |it| {
            (
                (it.region, it.zone, String::new(), 0),
                format!("r{}z{}", it.region, it.zone),
            )
        }),
        ("region", |it| {
            ((it.region, 0, String::new(), 0), format!("r{}", it.region))
        }),
    ];
    let mut last = ("region", Bands::new());
    for (what, end) in groupings {
        let mut bands = Bands::new();
        for ((from, to), slots) in &flows.links {
            let place = |id: Option<DeviceId>| {
                let device = id.and_then(|id| outlook.before.device(id));
                device.map_or_else(|| ((0, 0, String::new(), 0), "new replicas".to_owned()), end)
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

/// One side with its slots, in order of place.
fn ends(bands: &Bands, side: fn(&(End, End)) -> &End) -> Vec<(End, u64)> {
    let mut sums: BTreeMap<&End, u64> = BTreeMap::new();
    for (link, slots) in bands {
        *sums.entry(side(link)).or_default() += slots;
    }
    sums.into_iter()
        .map(|(end, slots)| (end.clone(), slots))
        .collect()
}

//! Writing SVG: escaped text, rounded boxes, and the two sets of colours.
use std::fmt::Write;

/// How full a device is against its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    FarBelow,
    Below,
    Even,
    Above,
    FarAbove,
    /// Weight 0 or removed: everything on it goes.
    Leaving,
}

impl Shade {
    pub(super) const ALL: [Self; 6] = [
        Self::FarBelow,
        Self::Below,
        Self::Even,
        Self::Above,
        Self::FarAbove,
        Self::Leaving,
    ];

    /// Even is within one slot or 1 % of the target; far is more than 10 % off.
    pub(super) fn of(held: u64, target: f64, leaves: bool) -> Self {
        let off = held as f64 - target;
        match off {
            _ if leaves || target <= 0.0 => Self::Leaving,
            off if off.abs() <= (target * 0.01).max(1.0) => Self::Even,
            off if off < -0.1 * target => Self::FarBelow,
            off if off < 0.0 => Self::Below,
            off if off > 0.1 * target => Self::FarAbove,
            _ => Self::Above,
        }
    }

    pub(super) fn says(self) -> &'static str {
        match self {
            Self::FarBelow => "over 10 % too little",
            Self::Below => "too little",
            Self::Even => "on target",
            Self::Above => "too much",
            Self::FarAbove => "over 10 % too much",
            Self::Leaving => "is leaving or drained",
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::FarBelow => "far-below",
            Self::Below => "below",
            Self::Even => "even",
            Self::Above => "above",
            Self::FarAbove => "far-above",
            Self::Leaving => "leaving",
        }
    }
}

/// Explicit colours, twice: not every viewer knows CSS variables.
const STYLE: &str = "\
text{font-family:Inter,'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif}
.title{font-size:26px;font-weight:700}.heading{font-size:18px;font-weight:700}.figure{font-size:20px;font-weight:600}
.fact{font-size:13px}.label{font-size:12px;font-weight:600}.small{font-size:11px}.tiny{font-size:9.5px}
.end{text-anchor:end}.mid{text-anchor:middle}
.page{fill:#f7f6f2}.region{fill:#ffffff;stroke:#dcd8ce}.zone{fill:#f4f2ec;stroke:#e4e0d6}.server{fill:#ffffff;stroke:#dcd8ce}
.ink{fill:#1f2328}.soft{fill:#6a6f76}.tank{fill:#e9e6de;stroke:#c9c4b8}.goal{stroke:#1f2328;stroke-opacity:.45;stroke-width:1}
.after{stroke:#1f2328;stroke-width:1.6;stroke-dasharray:3 2}
.far-below{fill:#2b6cb0}.below{fill:#7fb2dd}.even{fill:#4f9d7f}.above{fill:#f0b35a}.far-above{fill:#d1512d}.leaving{fill:#9a8fae}
.node{fill:#3b4048}.ribbon{fill-opacity:.5}.ribbon:hover{fill-opacity:.85}
@media (prefers-color-scheme:dark){
.page{fill:#14171b}.region{fill:#1b1f25;stroke:#2e343c}.zone{fill:#20252c;stroke:#303740}.server{fill:#272d35;stroke:#363e48}
.ink{fill:#e8e6e1}.soft{fill:#9aa1aa}.tank{fill:#343b45;stroke:#4a535f}.goal{stroke:#e8e6e1}.after{stroke:#f2efe8}
.far-below{fill:#4a90d9}.below{fill:#5f86a8}.even{fill:#58b08d}.above{fill:#d9a04e}.far-above{fill:#e56a45}.leaving{fill:#85799c}
.node{fill:#c9c5bc}}
";

/// A picture in the making.
#[derive(Debug, Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes whatever is written to it.
        let _ = self.body.write_fmt(text);
    }

    /// A box with round corners; `more` is further attributes.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), class: &str, radius: f64) {
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{radius}\"/>\n"
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
            escape(text)
        ));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ));
    }

    pub(super) fn swatch(&mut self, at: (f64, f64), shade: Shade) {
        self.rect(at, (12.0, 12.0), shade.class(), 3.0);
    }

    /// Opens a group with data attributes and a title shown on hovering.
    pub(super) fn open(&mut self, class: &str, data: &[(&str, String)], title: &str) {
        self.push(format_args!("<g class=\"{class}\""));
        for (name, value) in data {
            self.push(format_args!(" data-{name}=\"{}\"", escape(value)));
        }
        self.push(format_args!("><title>{}</title>\n", escape(title)));
    }

    pub(super) fn close(&mut self) {
        self.body += "</g>\n";
    }

    /// A band from one side to the other, as thick as `thick`.
    pub(super) fn band(&mut self, from: (f64, f64), to: (f64, f64), thick: f64, colour: &str) {
        let (x1, y1, x2, y2) = (from.0, from.1, to.0, to.1);
        let half = (x1 + x2) / 2.0;
        let (b1, b2) = (y1 + thick, y2 + thick);
        self.push(format_args!(
            "<path class=\"ribbon\" fill=\"{colour}\" d=\"M{x1:.1} {y1:.2}C{half:.1} {y1:.2} {half:.1} {y2:.2} {x2:.1} {y2:.2}V{b2:.2}C{half:.1} {b2:.2} {half:.1} {b1:.2} {x1:.1} {b1:.2}Z\"/>\n"
        ));
    }

    /// The whole document.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            escape(title),
            self.body
        )
    }
}

/// Text as XML may hold it: markup escaped, control characters replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&apos;",
            '\t' | '\n' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters, cut with an ellipsis.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most.saturating_sub(1)).collect();
    head + "\u{2026}"
}

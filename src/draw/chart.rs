//! A chart as SVG: curves over a number, with a legend. No other program is needed.
//!
//! Curves differ in colour, dashes and markers at once, so that up to 27 of them can be told apart, also on
//! a grey print; colours are hexadecimal, which every reader of SVG knows.

mod scale;

use super::svg::escaped;
pub use scale::{Axis, round_numbers, written};
use std::fmt::{self, Write};

/// The plot's own rectangle: left, top, width, height.
const AREA: [f64; 4] = [78.0, 50.0, 640.0, 420.0];
/// The height of a line of the legend.
const LINE: f64 = 17.0;
/// The width of a letter of the legend, at most on average.
const LETTER: f64 = 7.0;
/// Of middling lightness, so that they show on white and on black.
const COLOURS: [&str; 9] = [
    "#1f77b4", "#e4572e", "#2ca02c", "#9467bd", "#c49c00", "#e377c2", "#17a2b8", "#a8694f",
    "#7f7f7f",
];
/// Curves that share a colour differ in the dashes of their lines.
const DASHES: [&str; 4] = ["none", "7 4", "2 3", "9 3 2 3"];
/// And in their markers: outlines around the origin.
const MARKERS: [&str; 7] = [
    "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
    "M-3 -3h6v6h-6z",
    "M0 -3.8L3.8 3H-3.8z",
    "M0 -4.2L4.2 0L0 4.2L-4.2 0z",
    "M0 3.8L3.8 -3H-3.8z",
    "M-1.2 -4h2.4v2.8H4v2.4H1.2V4H-1.2V1.2H-4V-1.2H-1.2z",
    "M-4 -2.4L-2.4 -4L0 -1.6L2.4 -4L4 -2.4L1.6 0L4 2.4L2.4 4L0 1.6L-2.4 4L-4 2.4L-1.6 0z",
];
/// Markers on a curve, at most.
const MARKS: usize = 12;
/// Points of a curve beyond which it is drawn from the least and greatest of each column.
const DENSE: usize = 4000;

/// Light by default, dark where the reader's system is.
pub(super) const STYLE: &str = "\
.paper{fill:#ffffff}.ink{fill:#222222}.faint{fill:#666666}.grid{stroke:#dddddd}.axis{stroke:#666666}.base{stroke:#888888}\
.error{stroke:#1f5fa8;fill:none;stroke-width:1.6}.dot{fill:#1f5fa8}
@media (prefers-color-scheme:dark){.paper{fill:#16181c}.ink{fill:#e6e6e6}.faint{fill:#a0a0a0}.grid{stroke:#33363c}\
.axis{stroke:#999999}.base{stroke:#888888}.error{stroke:#6cb0f5}.dot{fill:#6cb0f5}}";

/// A curve.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// Its points; where one is not finite, the curve is broken.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below.
    pub x: Axis,
    /// To its left.
    pub y: Axis,
    /// The curves, in the order of the legend.
    pub curves: Vec<Curve>,
    /// A level to compare with, and what it is.
    pub base: Option<(f64, String)>,
}

impl Chart {
    /// The text of the picture.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, width, height] = AREA;
        (
            left + width * self.x.part(x),
            top + height * (1.0 - self.y.part(y)),
        )
    }

    /// Its width and height.
    fn size(&self) -> [f64; 2] {
        let [left, top, width, height] = AREA;
        let letters = self.curves.iter().map(|c| c.name.chars().count()).max();
        let legend = 60.0 + LETTER * letters.unwrap_or(0) as f64;
        let lines = LINE * (self.curves.len() + 1) as f64;
        let h = (top + height + 50.0).max(top + lines + 10.0);
        [left + width + 20.0 + legend, h]
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let left = AREA[0];
        let [w, h] = self.size();
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
             font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" font-size=\"12\">"
        )?;
        let title = escaped(&self.title);
        writeln!(out, "<title>{title}</title>\n<style>{STYLE}</style>")?;
        writeln!(
            out,
            "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>"
        )?;
        writeln!(
            out,
            "<text class=\"ink\" x=\"{left}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{title}</text>"
        )?;
        self.axes(out)?;
        writeln!(
            out,
            "<g fill=\"none\" stroke-width=\"1.6\" stroke-linejoin=\"round\">"
        )?;
        for (k, curve) in self.curves.iter().enumerate() {
            self.curve(out, k, curve)?;
        }
        writeln!(out, "</g>")?;
        self.legend(out)?;
        writeln!(out, "</svg>")
    }

    fn axes(&self, out: &mut String) -> fmt::Result {
        let [left, top, width, height] = AREA;
        let (right, bottom) = (left + width, top + height);
        for (tick, label) in self.y.labels() {
            let (_, y) = self.place((0.0, tick));
            writeln!(
                out,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                left - 7.0,
                y + 4.0,
            )?;
        }
        for (tick, label) in self.x.labels() {
            let (x, _) = self.place((tick, 0.0));
            writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/><text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{label}</text>",
                bottom + 18.0,
            )?;
        }
        writeln!(
            out,
            "<path class=\"axis\" fill=\"none\" d=\"M{left} {top}V{bottom}H{right}\"/>"
        )?;
        writeln!(
            out,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left + width / 2.0,
            bottom + 38.0,
            escaped(&self.x.name)
        )?;
        let middle = top + height / 2.0;
        writeln!(
            out,
            "<text class=\"ink\" transform=\"translate(18 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&self.y.name)
        )?;
        if let Some((base, what)) = &self.base {
            let (_, y) = self.place((0.0, *base));
            writeln!(
                out,
                "<path class=\"base\" stroke-dasharray=\"3 3\" d=\"M{left} {y:.1}H{right}\"><title>{}: {base:.4}</title></path>",
                escaped(what)
            )?;
        }
        Ok(())
    }

    fn curve(&self, out: &mut String, k: usize, curve: &Curve) -> fmt::Result {
        let look = Look::of(k);
        write!(out, "<path {look} d=\"")?;
        let points = thinned(&curve.points, DENSE);
        let mut drawn: Vec<(f64, f64)> = Vec::new();
        let mut begins = true;
        for &point in &points {
            if !point.0.is_finite() || !point.1.is_finite() {
                begins = true;
                continue;
            }
            let (x, y) = self.place(point);
            // An axis of powers has no place for 0.
            if !y.is_finite() {
                begins = true;
                continue;
            }
            write!(out, "{}{x:.1} {y:.1}", if begins { 'M' } else { 'L' })?;
            begins = false;
            drawn.push((x, y));
        }
        writeln!(out, "\"><title>{}</title></path>", escaped(&curve.name))?;
        // Curves that lie on each other have their markers at different points.
        let step = drawn.len().div_ceil(MARKS).max(1);
        for &(x, y) in drawn.iter().skip(k % step).step_by(step) {
            look.mark(out, x, y)?;
        }
        Ok(())
    }

    fn legend(&self, out: &mut String) -> fmt::Result {
        let x = AREA[0] + AREA[2] + 20.0;
        for (k, curve) in self.curves.iter().enumerate() {
            let y = AREA[1] + LINE * (k as f64 + 0.5);
            let look = Look::of(k);
            writeln!(
                out,
                "<path {look} stroke-width=\"1.6\" d=\"M{x} {y:.1}h34\"/>"
            )?;
            look.mark(out, x + 17.0, y)?;
            writeln!(
                out,
                "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 41.0,
                y + 4.0,
                escaped(&curve.name)
            )?;
        }
        Ok(())
    }
}

/// Charts one below the other, as one picture.
pub fn stacked(charts: &[Chart]) -> String {
    let (mut inner, mut wide, mut high) = (String::new(), 0.0f64, 0.0);
    for chart in charts {
        let [w, h] = chart.size();
        // Writing to a string cannot fail.
        let _ = writeln!(
            inner,
            "<g transform=\"translate(0 {high:.0})\">\n{}</g>",
            chart.svg()
        );
        (wide, high) = (wide.max(w), high + h);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" viewBox=\"0 0 {wide:.0} {high:.0}\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{inner}</svg>\n"
    )
}

/// How curve `k` looks; the curves of a chart before colours, dashes and markers have all had their turn
/// are all different.
struct Look {
    colour: &'static str,
    dashes: &'static str,
    marker: &'static str,
}

impl Look {
    fn of(k: usize) -> Self {
        Self {
            colour: COLOURS[k % COLOURS.len()],
            dashes: DASHES[k / COLOURS.len() % DASHES.len()],
            marker: MARKERS[k % MARKERS.len()],
        }
    }

    fn mark(&self, out: &mut String, x: f64, y: f64) -> fmt::Result {
        let (marker, colour) = (self.marker, self.colour);
        writeln!(
            out,
            "<path fill=\"{colour}\" transform=\"translate({x:.1} {y:.1})\" d=\"{marker}\"/>"
        )
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fill=\"none\" stroke=\"{}\" stroke-dasharray=\"{}\"",
            self.colour, self.dashes
        )
    }
}

/// The points of a curve, of more than `most` only the extremes of each stretch, whose outline is the same. A stretch
/// without a finite point stays a gap.
pub fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil((most / 2).max(1));
    let extremes = |chunk: &[(f64, f64)]| {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let known = || chunk.iter().filter(|p| p.1.is_finite());
        let (Some(low), Some(high)) = (known().min_by(by), known().max_by(by)) else {
            return chunk[..1].to_vec();
        };
        let mut both = vec![*low, *high];
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both
    };
    points.chunks(stretch).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn chart(curves: usize, points: usize) -> Chart {
        let curve = |k: usize| Curve {
            name: format!("curve<{k}>"),
            points: (0..points).map(|x| (x as f64, (k + x) as f64)).collect(),
        };
        Chart {
            title: "a & b".into(),
            x: Axis::spanning("x", 0.0, points as f64),
            y: Axis::spanning("y", 0.0, (curves + points) as f64),
            curves: (0..curves).map(curve).collect(),
            base: Some((1.0, "base".into())),
        }
    }

    #[test]
    fn curves_can_be_told_apart_and_colours_are_hexadecimal() {
        let text = chart(26, 5).svg();
        let lines = text
            .lines()
            .filter(|l| l.contains("stroke-dasharray") && l.contains("<title>curve"));
        let looks: HashSet<_> = lines.map(|l| l.split(" d=").next().unwrap_or("")).collect();
        assert_eq!(looks.len(), 26);
        // Without colours the dashes and markers still tell most of them apart.
        let grey: HashSet<_> = (0..26)
            .map(|k| (Look::of(k).dashes, Look::of(k).marker))
            .collect();
        assert!(grey.len() >= 21, "{}", grey.len());
        assert!(!text.contains("hsl(") && !text.contains("rgb("));
        assert!(text.contains("curve&lt;3&gt;") && text.contains("a &amp; b"));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn a_point_that_is_no_number_breaks_its_curve() {
        let mut chart = chart(1, 5);
        chart.curves[0].points[2].1 = f64::NAN;
        let text = chart.svg();
        let line = text.lines().find(|l| l.contains("<title>curve")).unwrap();
        assert_eq!(
            (line.matches('M').count(), line.matches('L').count()),
            (2, 2)
        );
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn very_long_curves_are_drawn_by_their_extremes() {
        let points: Vec<_> = (0..1_000_000)
            .map(|x| (f64::from(x), f64::from(x % 7)))
            .collect();
        let thin = thinned(&points, DENSE);
        assert!(thin.len() <= DENSE);
        assert!(thin.iter().any(|p| p.1 == 6.0) && thin.iter().any(|p| p.1 == 0.0));
    }
}

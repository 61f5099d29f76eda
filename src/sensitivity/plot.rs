//! The curves as a picture (SVG): the measured output against density, a line a layer.

use super::layers::Prunable;
use super::points::Point;
use super::score::Measure;
use crate::draw::svg::escaped;
use std::fmt::{self, Write};

/// The plot's own rectangle: left, top, width, height.
const AREA: [f64; 4] = [70.0, 50.0, 640.0, 420.0];
/// The height of a line of the legend.
const LINE: f64 = 17.0;
/// The width of a letter of the legend, at most on average.
const LETTER: f64 = 7.0;
/// Layers that share a hue differ in the dashes of their lines.
const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

/// Light by default, dark where the reader's system is.
const STYLE: &str = "\
.paper{fill:#fff}.ink{fill:#222}.faint{fill:#666}.grid{stroke:#ddd}.axis{stroke:#666}.base{stroke:#888}
@media (prefers-color-scheme:dark){.paper{fill:#16181c}.ink{fill:#e6e6e6}.faint{fill:#a0a0a0}.grid{stroke:#33363c}\
.axis{stroke:#999}.base{stroke:#888}}";

/// The text of the picture. `base` is the output of the net as it is.
pub fn svg(
    net: &str,
    layers: &[Prunable],
    rows: &[Point],
    measure: &Measure,
    base: Option<f32>,
) -> String {
    let lines: Vec<Line> = layers
        .iter()
        .enumerate()
        .map(|(layer, prunable)| {
            let own = rows.iter().filter(|p| p.layer == layer);
            let at = |p: &Point| (p.density, f64::from(measure.value(&p.score)));
            Line {
                name: &prunable.name,
                points: own.map(at).filter(|p| p.1.is_finite()).collect(),
            }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let values = lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
    let base = base.map(f64::from).filter(|b| b.is_finite());
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in values.chain(base) {
        (low, high) = (low.min(v), high.max(v));
    }
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    let plot = Plot {
        title: net,
        measure: &measure.name,
        lines,
        base,
        ticks: ticks(low, high),
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = plot.write(&mut text);
    text
}

struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

struct Plot<'a> {
    title: &'a str,
    measure: &'a str,
    lines: Vec<Line<'a>>,
    base: Option<f64>,
    /// Round values that span all.
    ticks: Vec<f64>,
}

/// Round numbers, evenly apart, from below `low` to above `high`: 1, 2 or 5 times a power of ten apart.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = (high - low)
        .max(low.abs().max(high.abs()) * 1e-6)
        .max(1e-12);
    let power = 10f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    let step = steps.into_iter().find(|s| span / s <= 6.0).unwrap_or(span);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    let count = (last - first).clamp(1.0, 20.0) as usize;
    (0..=count).map(|k| (first + k as f64) * step).collect()
}

/// A tick as few digits as tell it from its neighbour.
fn label(value: f64, step: f64) -> String {
    let places = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.places$}")
}

impl Plot<'_> {
    fn x(&self, density: f64) -> f64 {
        AREA[0] + density * AREA[2]
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        AREA[1] + AREA[3] * (1.0 - (value - low) / (high - low))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let [left, top, width, height] = AREA;
        let letters = self.lines.iter().map(|l| l.name.chars().count()).max();
        let legend = 60.0 + LETTER * letters.unwrap_or(0) as f64;
        let w = left + width + 20.0 + legend;
        let h = (top + height + 50.0).max(top + LINE * (self.lines.len() + 1) as f64 + 10.0);
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
             font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" font-size=\"12\">"
        )?;
        let title = format!("{}: sensitivity to pruning one layer", self.title);
        writeln!(
            out,
            "<title>{}</title>\n<style>{STYLE}</style>",
            escaped(&title)
        )?;
        writeln!(
            out,
            "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>"
        )?;
        writeln!(
            out,
            "<text class=\"ink\" x=\"{left}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{}</text>",
            escaped(&title)
        )?;
        self.axes(out)?;
        writeln!(
            out,
            "<g fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\">"
        )?;
        for (k, line) in self.lines.iter().enumerate() {
            self.line(out, k, line)?;
        }
        writeln!(out, "</g>")?;
        self.legend(out)?;
        writeln!(out, "</svg>")
    }

    fn axes(&self, out: &mut String) -> fmt::Result {
        let [left, top, width, height] = AREA;
        let (right, bottom) = (left + width, top + height);
        let step = self.ticks[1] - self.ticks[0];
        for &tick in &self.ticks {
            let y = self.y(tick);
            writeln!(
                out,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                left - 7.0,
                y + 4.0,
                label(tick, step)
            )?;
        }
        for tenth in 0..=10 {
            let x = self.x(f64::from(tenth) / 10.0);
            writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/><text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{:.1}</text>",
                bottom + 18.0,
                f64::from(tenth) / 10.0
            )?;
        }
        writeln!(
            out,
            "<path class=\"axis\" fill=\"none\" d=\"M{left} {top}V{bottom}H{right}\"/>"
        )?;
        writeln!(
            out,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">density of the layer</text>",
            left + width / 2.0,
            bottom + 38.0
        )?;
        let middle = top + height / 2.0;
        writeln!(
            out,
            "<text class=\"ink\" transform=\"translate(18 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(self.measure)
        )?;
        if let Some(base) = self.base {
            let y = self.y(base);
            writeln!(
                out,
                "<path class=\"base\" stroke-dasharray=\"3 3\" d=\"M{left} {y:.1}H{right}\"><title>not pruned: {base:.4}\
                 </title></path>"
            )?;
        }
        Ok(())
    }

    /// The colour and dashes of line `k`: hues spread over all lines, of middling lightness, which shows on
    /// white and on black.
    fn look(&self, k: usize) -> String {
        let hue = 360 * k / self.lines.len().max(1);
        let dashes = DASHES[k % DASHES.len()];
        format!(
            "stroke=\"hsl({hue},65%,48%)\" stroke-dasharray=\"{}\"",
            if dashes.is_empty() { "none" } else { dashes }
        )
    }

    fn line(&self, out: &mut String, k: usize, line: &Line) -> fmt::Result {
        write!(out, "<path {} d=\"", self.look(k))?;
        for (i, &(density, value)) in line.points.iter().enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            write!(out, "{letter}{:.1} {:.1}", self.x(density), self.y(value))?;
        }
        writeln!(out, "\"><title>{}</title></path>", escaped(line.name))
    }

    fn legend(&self, out: &mut String) -> fmt::Result {
        let x = AREA[0] + AREA[2] + 20.0;
        for (k, line) in self.lines.iter().enumerate() {
            let y = AREA[1] + LINE * (k as f64 + 0.5);
            writeln!(
                out,
                "<path {} stroke-width=\"2\" d=\"M{x} {y:.1}h26\"/><text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                self.look(k),
                x + 33.0,
                y + 4.0,
                escaped(line.name)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitivity::score::Score;

    #[test]
    fn ticks_are_round_and_span_all() {
        let near = |got: Vec<f64>, want: &[f64]| {
            assert_eq!(got.len(), want.len(), "{got:?}");
            assert!(
                got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-9),
                "{got:?}"
            );
        };
        near(ticks(0.02, 0.58), &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        near(ticks(1.6, 6.9), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert!(ticks(0.5, 0.5).len() >= 2 && ticks(0.0, 0.0).len() >= 2);
        assert_eq!(
            (label(0.1, 0.1), label(20.0, 20.0)),
            ("0.1".into(), "20".into())
        );
    }

    #[test]
    fn a_picture_has_a_line_and_a_name_for_every_layer() {
        let layers = [
            Prunable::made_up("a<b", 10, 10),
            Prunable::made_up("fc", 10, 10),
            Prunable::made_up("unmeasured", 10, 10),
        ];
        let point = |layer, density, v: f32| Point {
            layer,
            density,
            kept: 1,
            score: Score {
                outputs: vec![("accuracy".into(), v)],
                loss: 0.0,
            },
        };
        let rows = [
            point(0, 1.0, 0.5),
            point(0, 0.5, 0.4),
            point(1, 1.0, 0.5),
            point(1, 0.1, f32::NAN),
        ];
        let measure = Measure {
            name: "accuracy".into(),
            index: Some(0),
            loss: true,
        };
        let text = svg("net", &layers, &rows, &measure, Some(0.5));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<title>a&lt;b</title></path>").count(), 1);
        assert_eq!(text.matches(">fc</text>").count(), 1);
        assert!(
            !text.contains("unmeasured") && !text.contains("NaN"),
            "{text}"
        );
    }
}

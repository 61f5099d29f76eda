//! Curves over a number: drawn here as SVG, which is what paper and a reader without scripts see, and again by
//! `script.js`, which lets them be zoomed and read off.

use super::escape::{escaped, json};
use super::scale::Scale;
use crate::draw::chart;
use serde_json::{Value, json as value};
use std::fmt::Write;

/// The picture's size, and the room around the plot: left, top, right, bottom. `script.js` has the same room.
const SIZE: [f64; 2] = [720.0, 260.0];
const ROOM: [f64; 4] = [56.0, 22.0, 14.0, 38.0];
/// Points of a curve, at most: of more the extremes of each stretch are kept.
const POINTS: usize = 320;
/// Colours and dashes of `style.css`.
const COLOURS: usize = 8;
const DASHES: usize = 4;

/// A curve.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    look: Option<(usize, usize)>,
}

impl Series {
    /// A curve through these points; where one is not finite, it is broken.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            look: None,
        }
    }

    /// In this colour and dashes (0: none), counted from 0. Without this each curve of a chart has a colour of its own.
    pub fn look(mut self, colour: usize, dashes: usize) -> Self {
        self.look = Some((colour, dashes));
        self
    }
}

/// A stretch of the x axis: from where on, and what it is.
#[derive(Clone, Debug)]
pub struct Band {
    /// Where it begins; it ends where the next one begins.
    pub from: f64,
    /// What it is.
    pub name: String,
}

/// A chart of curves.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    title: String,
    x: String,
    y: String,
    log: bool,
    range: Option<(f64, f64)>,
    series: Vec<Series>,
    bands: Vec<Band>,
}

impl Curves {
    /// A chart of this title; `x` and `y` say what its axes measure.
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.to_owned(),
            x: x.to_owned(),
            y: y.to_owned(),
            ..Self::default()
        }
    }

    /// With one more curve.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// With these stretches marked.
    pub fn bands(mut self, bands: Vec<Band>) -> Self {
        self.bands = bands;
        self
    }

    /// With y as powers of ten, at first: where all is above 0, the reader may choose.
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    /// With y from `low` to `high`, and further if the curves go there.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        !self.finite().any(|_| true)
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let points = self.series.iter().flat_map(|s| s.points.iter().copied());
        points.filter(|p| p.0.is_finite() && p.1.is_finite())
    }

    fn look(&self, k: usize) -> (usize, usize) {
        let (colour, dashes) = self.series[k].look.unwrap_or((k, k / COLOURS));
        (colour % COLOURS, dashes % DASHES)
    }

    fn axes(&self) -> (Scale, Scale) {
        let log = self.log && self.finite().all(|p| p.1 > 0.0);
        let x = Scale::over(self.finite().map(|p| p.0), false, None);
        let y = Scale::over(self.finite().map(|p| p.1), log, self.range);
        (x, y)
    }

    pub(super) fn html(&self, number: usize) -> String {
        let title = escaped(&self.title);
        let mut legend = String::new();
        for k in 0..self.series.len() {
            let (colour, dashes) = self.look(k);
            let _ = writeln!(
                legend,
                "<li class=\"c{colour}\"><svg width=\"28\" height=\"10\" aria-hidden=\"true\"><path class=\"line d{dashes}\" \
                 d=\"M0 5H28\"/></svg>{}</li>",
                escaped(&self.series[k].name)
            );
        }
        format!(
            "<figure class=\"plot\" id=\"p{number}\">\n<figcaption>{title}</figcaption>\n<div class=\"frame\">{}</div>\n\
             <ul class=\"legend\">\n{legend}</ul>\n<script type=\"application/json\">{}</script>\n</figure>",
            self.svg(),
            json(&self.data())
        )
    }

    /// What the script draws.
    fn data(&self) -> Value {
        let series = |(k, s): (usize, &Series)| {
            let (colour, dashes) = self.look(k);
            let points = chart::thinned(&s.points, POINTS);
            value!({
                "name": s.name, "c": colour, "d": dashes,
                "x": points.iter().map(|p| short(p.0)).collect::<Vec<_>>(),
                "y": points.iter().map(|p| short(p.1)).collect::<Vec<_>>(),
            })
        };
        value!({
            "x": self.x, "y": self.y, "log": self.log, "range": self.range,
            "bands": self.bands.iter().map(|b| value!([short(b.from), b.name])).collect::<Vec<_>>(),
            "series": self.series.iter().enumerate().map(series).collect::<Vec<_>>(),
        })
    }

    /// The chart in words.
    fn words(&self) -> String {
        let mut text = format!("{}: {} over {}.", self.title, self.y, self.x);
        for s in &self.series {
            let mut known = s.points.iter().filter(|p| p.1.is_finite());
            if let (Some(first), Some(last)) = (known.next(), known.next_back()) {
                let _ = write!(
                    text,
                    " {}: {} at {}, {} at {}.",
                    s.name,
                    short(first.1),
                    short(first.0),
                    short(last.1),
                    short(last.0)
                );
            }
        }
        text
    }

    fn svg(&self) -> String {
        let [width, height] = SIZE;
        let [left, top, right, bottom] = ROOM;
        let (x, y) = self.axes();
        let across = |v: f64| left + (width - left - right) * x.part(v);
        let down = |v: f64| height - bottom - (height - top - bottom) * y.part(v);
        let (low, edge) = (height - bottom, width - right);
        let words = escaped(&self.words());
        let mut out =
            format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{words}\">");
        // Writing to a string cannot fail.
        let mut put = |text: std::fmt::Arguments| out.write_fmt(text).unwrap_or_default();
        for (k, band) in self.bands.iter().enumerate() {
            let from = across(band.from);
            let end = self.bands.get(k + 1).map_or(edge, |b| across(b.from));
            let name = escaped(&band.name);
            let kind = k % 2;
            put(format_args!(
                "<rect class=\"band b{kind}\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n",
                (end - from).max(0.0),
                low - top,
                from + 4.0,
                top - 7.0,
            ));
        }
        for (v, label) in y.ticks() {
            let at = down(v);
            put(format_args!(
                "<path class=\"grid\" d=\"M{left} {at:.1}H{edge}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>\n",
                left - 6.0,
                at + 4.0,
            ));
        }
        for (v, label) in x.ticks() {
            let at = across(v);
            put(format_args!(
                "<path class=\"axis\" d=\"M{at:.1} {low}v4\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{label}</text>\n",
                low + 17.0,
            ));
        }
        put(format_args!(
            "<path class=\"axis\" d=\"M{left} {low}H{edge}\"/><text class=\"tick\" x=\"{edge}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>\n",
            height - 4.0,
            escaped(&self.x)
        ));
        for (k, s) in self.series.iter().enumerate() {
            let (colour, dashes) = self.look(k);
            let mut d = String::new();
            let mut begins = true;
            for point in chart::thinned(&s.points, POINTS) {
                let known = point.0.is_finite() && point.1.is_finite() && y.has(point.1);
                if known {
                    let pen = if begins { 'M' } else { 'L' };
                    let _ = write!(d, "{pen}{:.1} {:.1}", across(point.0), down(point.1));
                }
                begins = !known;
            }
            put(format_args!(
                "<path class=\"line c{colour} d{dashes}\" d=\"{d}\"/>\n"
            ));
        }
        out + "</svg>"
    }
}

/// A number in as few digits as a chart shows; what is no number is none.
fn short(v: f64) -> Value {
    if !v.is_finite() {
        return Value::Null;
    }
    if v.fract() == 0.0 && v.abs() < 1e15 {
        return Value::from(v as i64);
    }
    let rounded: f64 = format!("{v:.4e}").parse().unwrap_or(v);
    Value::from(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Curves {
        Curves::new("Loss", "iteration", "loss")
            .series(Series::new(
                "a<b",
                vec![(0.0, 2.0), (50.0, f64::NAN), (100.0, 0.02)],
            ))
            .series(Series::new("c", vec![(0.0, 1.0), (100.0, 0.5)]).look(0, 1))
    }

    #[test]
    fn a_chart_has_its_numbers_as_data_and_in_words() {
        let html = chart().log().html(3);
        assert!(
            html.contains("id=\"p3\"") && !html.contains("NaN"),
            "{html}"
        );
        assert!(html.contains("a&lt;b: 2 at 0, 0.02 at 100."), "{html}");
        let data = html.split("application/json\">").nth(1).unwrap();
        let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
        assert_eq!(data["series"][0]["y"], value!([2, null, 0.02]));
        assert_eq!(
            (&data["series"][1]["c"], &data["series"][1]["d"]),
            (&value!(0), &value!(1))
        );
        assert_eq!(data["log"], true);
        // The broken curve begins twice.
        assert!(
            html.contains("class=\"line c0 d0\" d=\"M56.0 22.0M706.0 222.0\""),
            "{html}"
        );
    }

    #[test]
    fn long_curves_keep_their_extremes_and_the_page_stays_small() {
        let points: Vec<_> = (0..100_000)
            .map(|k| (f64::from(k), f64::from(k % 977)))
            .collect();
        let html = Curves::new("t", "x", "y")
            .series(Series::new("s", points))
            .html(1);
        assert!(html.len() < 20_000, "{}", html.len());
        assert!(html.contains("976"));
    }

    #[test]
    fn a_chart_of_nothing_is_drawn() {
        assert!(Curves::default().is_empty() && !Curves::default().svg().contains("NaN"));
    }
}

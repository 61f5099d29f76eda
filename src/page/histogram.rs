//! Histograms side by side, of one scale: how numbers lay at several times.

use super::escape::escaped;
use std::fmt::Write;

/// The size of a histogram, and the room below it for its axis.
const SIZE: [f64; 2] = [180.0, 86.0];
const BELOW: f64 = 16.0;
/// Bins that may be cut at the upper edge.
const TOWERS: usize = 4;

/// How numbers lay at one time.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// When.
    pub name: String,
    /// A word on it.
    pub note: String,
    /// The share of the numbers in each of as many bins of one width, from one end of the axis to the other.
    pub bins: Vec<f64>,
    /// The share of those that are exactly 0, which are in no bin; drawn as a spike.
    pub zeros: f64,
}

/// Panels that share their axes.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Of what.
    pub title: String,
    /// A word on it.
    pub note: String,
    /// Bins go from `-reach` to `reach`.
    pub reach: f64,
    /// The panels, in the order of time.
    pub panels: Vec<Panel>,
}

impl Histogram {
    pub(super) fn html(&self) -> String {
        let top = self.top();
        let panels: Vec<String> = self.panels.iter().map(|p| self.panel(p, top)).collect();
        format!(
            "<figure class=\"histograms\"><figcaption>{} <small>{}</small></figcaption><div class=\"panels\">{}</div></figure>",
            escaped(&self.title),
            escaped(&self.note),
            panels.join("\n")
        )
    }

    /// The share at the upper edge. A few bins that tower above the others (weights that come back stay near 0) are cut
    /// there, so that the others can be seen.
    fn top(&self) -> f64 {
        let of = |panel: &Panel| {
            let mut bins = panel.bins.clone();
            bins.sort_by(|a, b| b.total_cmp(a));
            let highest = bins.first().copied().unwrap_or(0.0);
            highest.min(2.0 * bins.get(TOWERS).copied().unwrap_or(highest))
        };
        self.panels.iter().map(of).fold(0.0, f64::max)
    }

    fn panel(&self, panel: &Panel, top: f64) -> String {
        let [width, height] = SIZE;
        let low = height - BELOW;
        let each = width / panel.bins.len().max(1) as f64;
        let mut d = format!("M0 {low}");
        for (k, share) in panel.bins.iter().enumerate() {
            let part = if top > 0.0 {
                (share / top).min(1.0)
            } else {
                0.0
            };
            let y = low - (low - 4.0) * part;
            let _ = write!(d, "V{y:.1}H{:.1}", each * (k + 1) as f64);
        }
        let _ = write!(d, "V{low}Z");
        let middle = width / 2.0;
        let spike = match panel.zeros > 0.0 {
            true => format!("<path class=\"spike\" d=\"M{middle} {low}V2\"/>"),
            false => String::new(),
        };
        let reach = format!("{:.1e}", self.reach);
        let reach: f64 = reach.parse().unwrap_or(self.reach);
        let foot = height - 2.0;
        let words = format!("{} of {}: {}", panel.name, self.title, panel.note);
        format!(
            "<div><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\"><path class=\"hill\" d=\"{d}\"/>{spike}\
             <path class=\"axis\" d=\"M0 {low}H{width}M{middle} {low}v3\"/><text class=\"tick\" x=\"0\" y=\"{foot}\">-{reach}</text>\
             <text class=\"tick\" x=\"{width}\" y=\"{foot}\" text-anchor=\"end\">{reach}</text></svg>\
             <p><b>{}</b> <small>{}</small></p></div>",
            escaped(&words),
            escaped(&panel.name),
            escaped(&panel.note)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_share_their_scale_and_zeros_are_a_spike() {
        let panel = |name: &str, bins: &[f64], zeros| Panel {
            name: name.into(),
            note: "n".into(),
            bins: bins.to_vec(),
            zeros,
        };
        let panels = vec![
            panel("dense", &[0.5, 0.5], 0.0),
            panel("revived", &[0.0, 1.0], 0.3),
        ];
        let html = Histogram {
            title: "c<1>".into(),
            note: String::new(),
            reach: 0.25,
            panels,
        }
        .html();
        assert_eq!(html.matches("class=\"spike\"").count(), 1);
        assert!(html.contains("dense of c&lt;1&gt;: n") && html.contains(">-0.25<"));
        assert!(html.contains("M0 70V37.0H90.0V37.0H180.0V70Z"), "{html}");
        assert!(html.contains("M0 70V70.0H90.0V4.0H180.0V70Z"), "{html}");
        let empty = Histogram::default();
        assert!(!empty.html().contains("NaN"));
    }
}

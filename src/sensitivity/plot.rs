//! The curves as a picture (SVG): the measured output against density, a line a layer.

use super::layers::Prunable;
use super::points::Point;
use super::score::Measure;
use crate::draw::chart::{Axis, Chart, Curve};

/// The text of the picture. `base` is the output of the net as it is.
pub fn svg(
    net: &str,
    layers: &[Prunable],
    rows: &[Point],
    measure: &Measure,
    base: Option<f32>,
) -> String {
    let curves: Vec<Curve> = layers
        .iter()
        .enumerate()
        .map(|(layer, prunable)| {
            let own = rows.iter().filter(|p| p.layer == layer);
            let at = |p: &Point| (p.density, f64::from(measure.value(&p.score)));
            Curve {
                name: prunable.name.clone(),
                points: own.map(at).filter(|p| p.1.is_finite()).collect(),
            }
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    let values = curves.iter().flat_map(|c| c.points.iter().map(|p| p.1));
    let base = base.map(f64::from).filter(|b| b.is_finite());
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in values.chain(base) {
        (low, high) = (low.min(v), high.max(v));
    }
    let tenths = (0..=10).map(|k| f64::from(k) / 10.0).collect();
    let chart = Chart {
        title: format!("{net}: sensitivity to pruning one layer"),
        x: Axis::at("density of the layer", tenths),
        y: Axis::spanning(&measure.name, low, high),
        curves,
        base: base.map(|b| (b, "not pruned".into())),
    };
    chart.svg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitivity::score::Score;

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

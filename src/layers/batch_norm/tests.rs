use super::*;
use crate::layers::check::{Check, layer, layer_in};
use crate::tensor::Tensor;

#[test]
fn gradients() {
    for (text, dims) in [
        ("", &[3, 2, 5, 2][..]),
        ("", &[7, 3]),
        ("eps: 0.5", &[1, 4, 6]),
        ("use_global_stats: true", &[3, 2, 5]),
    ] {
        // The noise in the variance's place can be negative: a large eps keeps the roots real.
        let eps = if text.contains("global") {
            "eps: 90"
        } else {
            ""
        };
        let norm = layer(&format!(
            "type: 'BatchNorm' batch_norm_param {{ {text} {eps} }}"
        ));
        for (in_place, pixels) in [(false, false), (true, false), (false, true), (true, true)] {
            let check = Check {
                in_place,
                pixels,
                ..Check::default()
            };
            // The statistics have no gradients, so only the bottom's can be compared.
            let x = crate::kernels::noise(1, Shape::from(dims).count());
            let dy = crate::kernels::noise(2, x.len());
            let tensor = |data: &[f32]| Tensor::new(Shape::from(dims), data.to_vec()).unwrap();
            let (_, diffs) = check
                .both(&*norm, vec![tensor(&x)], &[tensor(&dy)])
                .unwrap();
            let diff = diffs[0].as_ref().unwrap();
            for i in 0..x.len() {
                let objective = |step: f32| {
                    let mut x = x.clone();
                    x[i] += step;
                    let y = check.forward(&*norm, vec![tensor(&x)]).unwrap();
                    let pairs = y[0].data.iter().zip(&dy);
                    pairs
                        .map(|(y, d)| f64::from(*y) * f64::from(*d))
                        .sum::<f64>()
                };
                let want = (objective(1e-2) - objective(-1e-2)) / 2e-2;
                let got = f64::from(diff.data[i]);
                assert!(
                    (got - want).abs() < 5e-3 * want.abs().max(1.0),
                    "{text} {i}: {got} {want}"
                );
            }
        }
    }
}

#[test]
fn the_mode_chooses_the_statistics() {
    let x = [Shape::new([3, 2])];
    let coupling = |text: &str, mode| layer_in(text, mode).unwrap().facts(&x).coupling;
    let plain = "type: 'BatchNorm'";
    assert_eq!(coupling(plain, Mode::Train), Coupling::Whole);
    assert_eq!(coupling(plain, Mode::Test), Coupling::Free);
    let stored = "type: 'BatchNorm' batch_norm_param { use_global_stats: true }";
    assert_eq!(coupling(stored, Mode::Train), Coupling::Free);
    let batch = "type: 'BatchNorm' batch_norm_param { use_global_stats: false }";
    assert_eq!(coupling(batch, Mode::Test), Coupling::Whole);
}

#[test]
fn nobody_learns_or_prunes_statistics() {
    let specs = layer("type: 'BatchNorm'").params(&[Shape::new([3, 2, 4])]);
    let sizes: Vec<usize> = specs.iter().map(|s| s.shape.count()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    assert!(specs.iter().all(|s| !s.learnable && !s.prunable));
}

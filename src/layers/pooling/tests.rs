//! Tests of the layer.

use super::*;
use crate::layers::check::{Check, layer, layer_in};
use crate::tensor::Tensor;

fn text(param: &str) -> String {
    format!("type: 'Pooling' top: 'y' pooling_param {{ {param} }}")
}

#[test]
fn gradients() {
    for param in [
        "kernel_size: 3 stride: 2",
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0 round_mode: FLOOR",
        "global_pooling: true",
    ] {
        for pool in ["MAX", "AVE"] {
            // No two elements closer than the step, or the maximum would change within it.
            let n = 2 * 2 * 5 * 6;
            let x: Vec<f32> = (0..n).map(|i| (i * 37 % n) as f32 / 20.0).collect();
            let text = text(&format!("pool: {pool} {param}"));
            for mode in [Mode::Train, Mode::Test] {
                let layer = layer_in(&text, mode).unwrap();
                let mut x = Tensor::new(Shape::new([2, 2, 5, 6]), x.clone()).unwrap();
                let y = Check::default().forward(&*layer, vec![x.clone()]).unwrap();
                let dy = Tensor {
                    data: crate::kernels::noise(3, y[0].data.len()),
                    ..y[0].clone()
                };
                let (_, dx) = Check::default()
                    .both(&*layer, vec![x.clone()], std::slice::from_ref(&dy))
                    .unwrap();
                for i in 0..n {
                    let mut objective = |v: f32| {
                        let old = std::mem::replace(&mut x.data[i], v);
                        let y = Check::default().forward(&*layer, vec![x.clone()]).unwrap();
                        x.data[i] = old;
                        y[0].data
                            .iter()
                            .zip(&dy.data)
                            .map(|(y, d)| f64::from(y * d))
                            .sum::<f64>()
                    };
                    let v = (i * 37 % n) as f32 / 20.0;
                    let want = (objective(v + 0.01) - objective(v - 0.01)) / 0.02;
                    let got = dx[0].as_ref().unwrap().data[i];
                    assert!(
                        (f64::from(got) - want).abs() < 2e-3,
                        "{text} {i}: {got} {want}"
                    );
                }
            }
        }
    }
    Check::default().run(
        &*layer(&text("pool: AVE kernel_size: 3 stride: 2 pad: 1")),
        &[&[2, 2, 5, 4]],
    );
}

#[test]
fn output_sizes_are_caffes() {
    let size = |param: &str, h: usize| {
        let layer = layer(&text(param));
        layer
            .shapes(&[Shape::new([1, 1, h, h])])
            .map(|s| s[0].dim(2))
            .map_err(|e| e.to_string())
    };
    assert_eq!(size("kernel_size: 3 stride: 2", 111), Ok(55));
    assert_eq!(size("kernel_size: 3 stride: 2", 112), Ok(56));
    assert_eq!(
        size("kernel_size: 3 stride: 2 round_mode: FLOOR", 112),
        Ok(55)
    );
    // Clipped: the window that would start behind the input is left out.
    assert_eq!(size("kernel_size: 2 stride: 2 pad: 1", 3), Ok(2));
    assert_eq!(size("kernel_size: 2 stride: 3 pad: 1", 4), Ok(2));
    assert_eq!(size("global_pooling: true", 13), Ok(1));
    assert!(size("kernel_size: 9", 7).unwrap_err().contains("1 1 7 7"));
    assert!(
        size("kernel_size: 2 pad: 2", 7)
            .unwrap_err()
            .contains("pad 2")
    );
}

#[test]
fn contradictions_are_errors() {
    for (param, word) in [
        ("", "kernel_size"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "either"),
        ("kernel_h: 2", "both"),
        ("kernel_size: 2 pad_h: 1", "both pad_h"),
        (
            "kernel_size: 2 stride: 1 stride_h: 1 stride_w: 1",
            "stride_h",
        ),
        ("global_pooling: true kernel_size: 2", "global_pooling"),
        ("global_pooling: true stride: 2", "stride 1"),
        ("pool: STOCHASTIC kernel_size: 2", "STOCHASTIC"),
    ] {
        let e = layer_in(&text(param), Mode::Test)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains(word), "{param}: {e}");
    }
    let two = "type: 'Pooling' top: 'y' top: 'm' pooling_param { pool: AVE kernel_size: 2 }";
    assert!(layer_in(two, Mode::Test).is_err());
}

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
            for (mode, pixels) in [
                (Mode::Train, false),
                (Mode::Test, false),
                (Mode::Train, true),
                (Mode::Test, true),
            ] {
                let check = Check {
                    pixels,
                    ..Check::default()
                };
                let layer = layer_in(&text, mode).unwrap();
                let mut x = Tensor::new(Shape::new([2, 2, 5, 6]), x.clone()).unwrap();
                let y = check.forward(&*layer, vec![x.clone()]).unwrap();
                let dy = Tensor {
                    data: crate::kernels::noise(3, y[0].data.len()),
                    ..y[0].clone()
                };
                let (_, dx) = check
                    .both(&*layer, vec![x.clone()], std::slice::from_ref(&dy))
                    .unwrap();
                for i in 0..n {
                    let mut objective = |v: f32| {
                        let old = std::mem::replace(&mut x.data[i], v);
                        let y = check.forward(&*layer, vec![x.clone()]).unwrap();
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
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", "cannot pad"),
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

#[test]
fn stochastic_pooling_draws_in_training_and_weighs_in_testing() {
    let text = text("pool: STOCHASTIC kernel_size: 3 stride: 2");
    let noise = crate::kernels::noise(1, 4 * 2 * 5 * 6);
    let data: Vec<f32> = noise.iter().map(|v| v.abs() + 0.1).collect();
    let x = Tensor::new(Shape::new([4, 2, 5, 6]), data).unwrap();
    let train = layer_in(&text, Mode::Train).unwrap();
    let check = Check::default();
    let tops = check.forward(&*train, vec![x.clone()]).unwrap();
    // What is drawn for a sample does not depend on its group.
    let rows = |a: usize, b: usize| Tensor {
        shape: x.shape.with_rows(b - a),
        data: x.data[a * 60..b * 60].to_vec(),
    };
    let second = Check {
        first: 2,
        ..check.clone()
    };
    let half = second.forward(&*train, vec![rows(2, 4)]).unwrap();
    assert_eq!(half[0].data, tops[0].data[tops[0].data.len() / 2..]);
    // Each gradient goes to the number that was drawn.
    let dy = Tensor {
        data: vec![1.0; tops[0].data.len()],
        ..tops[0].clone()
    };
    let (tops, dx) = check.both(&*train, vec![x.clone()], &[dy]).unwrap();
    let dx = dx[0].as_ref().unwrap();
    assert_eq!(dx.data.iter().sum::<f32>(), tops[0].data.len() as f32);
    let drawn: f32 = dx.data.iter().zip(&x.data).map(|(d, x)| d * x).sum();
    assert!((drawn - tops[0].data.iter().sum::<f32>()).abs() < 1e-4);
    // In testing the result is smooth.
    let test = layer_in(&text, Mode::Test).unwrap();
    let dy = Tensor {
        data: crate::kernels::noise(4, tops[0].data.len()),
        ..tops[0].clone()
    };
    let (_, dx) = check
        .both(&*test, vec![x.clone()], std::slice::from_ref(&dy))
        .unwrap();
    for i in 0..x.data.len() {
        let objective = |step: f32| {
            let mut x = x.clone();
            x.data[i] += step;
            let y = check.forward(&*test, vec![x]).unwrap();
            let terms = y[0].data.iter().zip(&dy.data);
            terms.map(|(y, d)| f64::from(y * d)).sum::<f64>()
        };
        let want = (objective(0.01) - objective(-0.01)) / 0.02;
        let got = f64::from(dx[0].as_ref().unwrap().data[i]);
        assert!((got - want).abs() < 2e-3, "{i}: {got} {want}");
    }
}

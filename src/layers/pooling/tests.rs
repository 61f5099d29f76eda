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
    // A window larger than the picture.
    assert_eq!(size("kernel_size: 2 stride: 2", 1), Ok(1));
    assert_eq!(size("kernel_size: 5 stride: 3", 3), Ok(1));
    assert!(size("kernel_size: 2 stride: 2 round_mode: FLOOR", 1).is_err());
    assert!(size("kernel_size: 9", 7).unwrap_err().contains("1 1 7 7"));
    assert!(
        size("kernel_size: 2 pad: 2", 7)
            .unwrap_err()
            .contains("pad 2")
    );
}

/// Caffe's loops, one output after the other: sizes, results and gradients of a channel of `input`.
struct Plain {
    sizes: [usize; 2],
    y: Vec<f32>,
    dx: Vec<f32>,
}

/// `None` where Caffe's sizes are not above 0, or where a window lies wholly outside the picture: there
/// Caffe divides by 0 or leaves −`f32::MAX`.
fn plain(
    x: &[f32],
    input: [usize; 2],
    [k, s, p]: [usize; 3],
    max: bool,
    ceil: bool,
) -> Option<Plain> {
    let (kernel, stride, pad) = (k as i64, s as i64, p as i64);
    let size = |n: usize| {
        let exact = (n as f32 + 2.0 * p as f32 - k as f32) / s as f32;
        let mut out = (if ceil { exact.ceil() } else { exact.floor() }) as i64 + 1;
        if p > 0 && (out - 1) * stride >= n as i64 + pad {
            out -= 1;
        }
        (out > 0).then_some(out as usize)
    };
    let sizes = [size(input[0])?, size(input[1])?];
    let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
    for oy in 0..sizes[0] {
        for ox in 0..sizes[1] {
            let span = |o: usize, n: usize| {
                let start = o as i64 * stride - pad;
                let end = (start + kernel).min(n as i64 + pad);
                let padded = end - start;
                (start.max(0) as usize, end.min(n as i64) as usize, padded)
            };
            let (y0, y1, height) = span(oy, input[0]);
            let (x0, x1, width) = span(ox, input[1]);
            if y0 >= y1 || x0 >= x1 {
                return None;
            }
            let inside = (y0..y1).flat_map(|i| (x0..x1).map(move |j| i * input[1] + j));
            // The gradient of output number n is n + 1.
            let dy = (y.len() + 1) as f32;
            if max {
                let best = inside.fold(None, |best: Option<usize>, i| match best {
                    Some(b) if x[b] >= x[i] => Some(b),
                    _ => Some(i),
                })?;
                y.push(x[best]);
                dx[best] += dy;
            } else {
                let n = (height * width) as f32;
                y.push(inside.clone().map(|i| x[i]).sum::<f32>() / n);
                inside.for_each(|i| dx[i] += dy / n);
            }
        }
    }
    Some(Plain { sizes, y, dx })
}

#[test]
fn windows_of_any_size_clip_as_caffes() {
    let mut checked = 0;
    for input in [[1, 1], [1, 3], [2, 5], [4, 4], [5, 3], [6, 7]] {
        for (k, s, p) in
            (1..=7).flat_map(|k| (1..=4).flat_map(move |s| (0..k.min(3)).map(move |p| (k, s, p))))
        {
            for (max, ceil) in [(true, true), (true, false), (false, true), (false, false)] {
                let [h, w] = input;
                let x = crate::kernels::noise(5, h * w);
                let text = text(&format!(
                    "pool: {} round_mode: {} kernel_size: {k} stride: {s} pad: {p}",
                    if max { "MAX" } else { "AVE" },
                    if ceil { "CEIL" } else { "FLOOR" }
                ));
                let shape = Shape::new([1, 1, h, w]);
                let about = format!("{text} on {shape}");
                let Some(want) = plain(&x, input, [k, s, p], max, ceil) else {
                    continue;
                };
                for (mode, pixels) in [(Mode::Train, false), (Mode::Test, true)] {
                    let layer = layer_in(&text, mode).unwrap();
                    let tops = layer.shapes(std::slice::from_ref(&shape)).unwrap();
                    assert_eq!(tops[0].dims()[2..], want.sizes, "{about}");
                    let check = Check {
                        pixels,
                        ..Check::default()
                    };
                    let dy = (1..=want.y.len()).map(|n| n as f32).collect();
                    let dy = Tensor::new(tops[0].clone(), dy).unwrap();
                    let x = Tensor::new(shape.clone(), x.clone()).unwrap();
                    let (y, dx) = check.both(&*layer, vec![x], &[dy]).unwrap();
                    let near = |a: &[f32], b: &[f32]| {
                        a.iter()
                            .zip(b)
                            .all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0))
                    };
                    assert!(near(&y[0].data, &want.y), "{about}");
                    assert!(near(&dx[0].as_ref().unwrap().data, &want.dx), "{about}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 2000, "{checked} checked");
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

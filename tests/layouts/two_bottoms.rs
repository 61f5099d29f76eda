//! A Convolution of two bottoms that lie differently, against sums in f64.

use crate::layouts::twins::noise;
use dsd::layers::Mode;
use dsd::net::graph::{Graph, State};
use dsd::net::{Net, Options, Pass};
use dsd::proto::caffe::NetParameter;
use dsd::proto::text::parse;
use dsd::tensor::{Shape, Tensor};

/// `b` comes out of a convolution, channels last; `a` is an input, in C order.
const NET: &str = r#"
layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "pre" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
layer { name: "two" type: "Convolution" bottom: "FIRST" bottom: "SECOND" top: "y0" top: "y1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
"#;

const SIZE: usize = 8;

/// y = conv(x, w), and given dy the gradients of x and w, all in f64: 3 × 3 windows, pad 1.
fn conv(x: &[f64], w: &[f64], outputs: usize, dy: &[f64]) -> [Vec<f64>; 3] {
    let inputs = x.len() / SIZE / SIZE;
    let mut y = vec![0.0; outputs * SIZE * SIZE];
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    for o in 0..outputs * SIZE * SIZE {
        let (channel, row, column) = (o / SIZE / SIZE, o / SIZE % SIZE, o % SIZE);
        for k in 0..inputs * 9 {
            let (c, ky, kx) = (k / 9, k / 3 % 3, k % 3);
            let (Some(i), Some(j)) = ((row + ky).checked_sub(1), (column + kx).checked_sub(1))
            else {
                continue;
            };
            if i < SIZE && j < SIZE {
                let (from, weight) = ((c * SIZE + i) * SIZE + j, channel * inputs * 9 + k);
                y[o] += x[from] * w[weight];
                dx[from] += dy[o] * w[weight];
                dw[weight] += dy[o] * x[from];
            }
        }
    }
    [y, dx, dw]
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn assert_near(name: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}");
    let scale = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (g, w) in got.iter().zip(want) {
        assert!((f64::from(*g) - w).abs() <= 1e-5 * scale, "{name}: {g} {w}");
    }
}

#[test]
fn bottoms_of_two_layouts_give_what_each_gives_alone() {
    for [first, second] in [["a", "b"], ["b", "a"]] {
        let text = NET.replace("FIRST", first).replace("SECOND", second);
        let parsed = parse::<NetParameter>(&text, "net").unwrap();
        let graph = Graph::new(&parsed, &State::new(Mode::Train)).unwrap();
        let options = Options {
            backward: true,
            force_backward: true,
            gradient_targets: vec!["y0".into(), "y1".into()],
            ..Default::default()
        };
        crate::common::compute_as_asked();
        let net = Net::new(graph, &[Shape::new([1, 3, SIZE, SIZE])], &options).unwrap();
        let mut weights = net.fill(1).unwrap();
        for (i, w) in (20..).zip(&mut weights) {
            *w = noise(i, &w.shape.clone());
        }
        // The biases of both layers are 0.
        weights[1].data.fill(0.0);
        weights[3].data.fill(0.0);
        let a = noise(4, net.shape(net.inputs()[0]));
        let value = |name: &str| net.graph().value(name).unwrap();
        let diffs = ["y0", "y1"].map(|n| (value(n), noise(value(n) as u64, net.shape(value(n)))));
        let mut pass = Pass::new(1, 0);
        pass.top_diffs = &diffs;
        pass.wanted_diffs = vec![net.inputs()[0]];
        let mut grads = net.zero_gradients();
        let feed: [Tensor; 1] = [a.clone()];
        let outputs = net
            .forward_backward(&pass, &weights, &feed, &mut grads)
            .unwrap();

        let (pre, two) = (wide(&weights[0].data), wide(&weights[2].data));
        let a = wide(&a.data);
        let none = vec![0.0; 8 * SIZE * SIZE];
        let [b, ..] = conv(&a, &pre, 3, &none);
        let (of_a, of_b) = if first == "a" { (0, 1) } else { (1, 0) };
        let dy = [0, 1].map(|k: usize| wide(&diffs[k].1.data));
        let [ya, da, dwa] = conv(&a, &two, 8, &dy[of_a]);
        let [yb, db, dwb] = conv(&b, &two, 8, &dy[of_b]);
        let [_, da_pre, dpre] = conv(&a, &pre, 3, &db);
        let y = |k: usize| &outputs.values[&diffs[k].0].data;
        assert_near("y of a", y(of_a), &ya);
        assert_near("y of b", y(of_b), &yb);
        assert_near("dw", &grads[2], &sum(&dwa, &dwb));
        assert_near("dpre", &grads[0], &dpre);
        let da_all = sum(&da, &da_pre);
        assert_near("da", &outputs.diffs[&net.inputs()[0]].data, &da_all);
    }
}

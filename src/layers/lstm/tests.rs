use super::*;
use crate::kernels::noise;
use crate::layers::check::{Check, layer, layer_in};
use crate::tensor::Tensor;

fn lstm(bottoms: usize, param: &str) -> Box<dyn Layer> {
    let bottoms: String = (0..bottoms).map(|i| format!("bottom: 'b{i}' ")).collect();
    layer(&format!(
        "type: 'LSTM' {bottoms} recurrent_param {{ num_output: 3 {param} }}"
    ))
}

fn check() -> Check {
    Check {
        fixed: vec![(1, vec![1., 0., 1., 1., 0., 1., 1., 1.])],
        ..Check::default()
    }
}

#[test]
fn gradients() {
    check().run(&*lstm(2, ""), &[&[4, 2, 5], &[4, 2]]);
    check().run(&*lstm(3, ""), &[&[4, 2, 2, 1], &[4, 2], &[2, 3, 2]]);
    let exposed = Check {
        dead_tops: vec![1, 2],
        ..check()
    };
    let states: [&[usize]; 2] = [&[1, 2, 3]; 2];
    exposed.run(
        &*lstm(4, "expose_hidden: true"),
        &[&[4, 2, 5], &[4, 2], states[0], states[1]],
    );
    exposed.run(
        &*lstm(5, "expose_hidden: true"),
        &[&[4, 2, 5], &[4, 2], &[2, 4], states[0], states[1]],
    );
}

#[test]
fn exposed_states_join_batches() {
    let tensor =
        |dims: &[usize], data: &[f32]| Tensor::new(Shape::from(dims), data.to_vec()).unwrap();
    let (x, zeros, check) = (noise(9, 4 * 2 * 5), [0.0f32; 6], Check::default());
    let run = |x: &[f32], h: &[f32], c: &[f32]| {
        let steps = x.len() / 10;
        let bottoms = vec![
            tensor(&[steps, 2, 5], x),
            tensor(&[steps, 2], &vec![1.0; steps * 2]),
            tensor(&[1, 2, 3], h),
            tensor(&[1, 2, 3], c),
        ];
        check
            .forward(&*lstm(4, "expose_hidden: true"), bottoms)
            .unwrap()
    };
    let whole = run(&x, &zeros, &zeros);
    assert_eq!(whole[0].data[18..], whole[1].data);
    let first = run(&x[..20], &zeros, &zeros);
    let second = run(&x[20..], &first[1].data, &first[2].data);
    assert_eq!(whole[0].data[12..], second[0].data);
    assert_eq!(whole[2].data, second[2].data);
}

#[test]
fn one_step_by_hand() {
    // One stream, one value: i = f = o = sigmoid(w·x), g = tanh(w·x).
    let tensor =
        |dims: &[usize], data: &[f32]| Tensor::new(Shape::from(dims), data.to_vec()).unwrap();
    let layer = layer("type: 'LSTM' bottom: 'x' bottom: 'c' recurrent_param { num_output: 1 }");
    let check = Check::default();
    let (w, b, v) = (
        noise(check.seed + 100, 4),
        noise(check.seed + 101, 4),
        noise(check.seed + 102, 4),
    );
    let x = [0.7f32, -0.4];
    let y = check
        .forward(
            &*layer,
            vec![tensor(&[2, 1, 1], &x), tensor(&[2, 1], &[0.0, 1.0])],
        )
        .unwrap();
    let (mut h, mut c) = (0.0f32, 0.0f32);
    for (x, y) in x.iter().zip(&y[0].data) {
        let input = |k: usize| w[k] * x + b[k] + v[k] * h;
        let gates = [0, 1, 2].map(|k| 1.0 / (1.0 + (-input(k)).exp()));
        c = gates[1] * c + gates[0] * input(3).tanh();
        h = gates[2] * c.tanh();
        assert!((y - h).abs() < 1e-6, "{y} {h}");
    }
}

#[test]
fn blobs_are_in_caffes_order() {
    let shapes = [
        Shape::new([4, 2, 5]),
        Shape::new([4, 2]),
        Shape::new([2, 6]),
    ];
    let specs = lstm(3, "").params(&shapes);
    let dims: Vec<Vec<usize>> = specs.iter().map(|s| s.shape.dims().to_vec()).collect();
    assert_eq!(dims, [vec![12, 5], vec![12], vec![12, 6], vec![12, 3]]);
    assert_eq!(lstm(2, "").params(&shapes[..2]).len(), 3);
}

#[test]
fn shapes_must_fit() {
    let error = |shapes: &[&[usize]]| {
        let shapes: Vec<Shape> = shapes.iter().map(|s| Shape::from(*s)).collect();
        lstm(shapes.len(), "")
            .shapes(&shapes)
            .unwrap_err()
            .to_string()
    };
    assert!(error(&[&[4, 2], &[4, 2]]).contains("at least 3 axes"));
    assert!(error(&[&[4, 2, 5], &[2, 4]]).contains("bottom 1 has shape 2 4 (8)"));
    assert!(error(&[&[4, 2, 5], &[4, 2], &[4, 2]]).contains("bottom 2 has shape 4 2 (8)"));
    let e = layer_in(
        "type: 'LSTM' bottom: 'x' recurrent_param { num_output: 1 }",
        Mode::Test,
    );
    assert!(e.err().unwrap().to_string().contains("takes 2 bottoms"));
    let e = layer_in("type: 'LSTM' bottom: 'x' bottom: 'c'", Mode::Test);
    assert!(e.err().unwrap().to_string().contains("needs num_output"));
}

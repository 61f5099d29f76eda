//! Tests of the neuron layers.

use crate::layers::Mode;
use crate::layers::check::{Check, layer, layer_in};
use crate::tensor::{Shape, Tensor};

/// Each way in which a derivative is computed.
const DIFFERENTIABLE: [&str; 31] = [
    "type: 'AbsVal'",
    "type: 'BNLL'",
    "type: 'Clip' clip_param { min: 0 max: 5 }",
    "type: 'ELU' elu_param { alpha: 1 }",
    "type: 'ELU' elu_param { alpha: 0.4 }",
    "type: 'ELU' elu_param { alpha: 0 }",
    "type: 'ELU' elu_param { alpha: -0.7 }",
    "type: 'Exp'",
    "type: 'Exp' exp_param { base: 3 shift: 0.5 scale: -0.7 }",
    "type: 'Exp' exp_param { shift: -1 }",
    "type: 'Exp' exp_param { base: 1 }",
    "type: 'Log' log_param { shift: 3 }",
    "type: 'Log' log_param { base: 2 shift: 4 scale: -1.5 }",
    "type: 'Log' log_param { base: 0.5 shift: 2 }",
    "type: 'Power'",
    "type: 'Power' power_param { power: 2 }",
    "type: 'Power' power_param { power: 2 scale: -0.5 shift: 0.3 }",
    "type: 'Power' power_param { power: 0.37 scale: 0.5 shift: 2 }",
    "type: 'Power' power_param { power: -0.75 shift: 2 }",
    "type: 'Power' power_param { power: 3 scale: -1.5 }",
    "type: 'Power' power_param { power: 0 }",
    "type: 'Power' power_param { scale: 0 shift: 3 power: 2.5 }",
    "type: 'Power' power_param { scale: -2 shift: 1 }",
    "type: 'Power' power_param { scale: 0 shift: 2 power: 3 }",
    "type: 'ReLU'",
    "type: 'ReLU' relu_param { negative_slope: 0.3 }",
    "type: 'Sigmoid'",
    "type: 'Swish'",
    "type: 'Swish' swish_param { beta: 2.5 }",
    "type: 'Swish' swish_param { beta: -1 }",
    "type: 'TanH'",
];

#[test]
fn gradients() {
    let dims: &[usize] = &[3, 2, 5];
    for text in DIFFERENTIABLE {
        let (layer, shape) = (layer(text), [Shape::from(dims)]);
        // Some have a kink at 0.
        let check = Check {
            kink_range: 0.02,
            ..Check::default()
        };
        check.run(&*layer, &[dims]);
        if !layer.facts(&shape).reads_bottom {
            let check = Check {
                in_place: true,
                ..check
            };
            check.run(&*layer, &[dims]);
        }
    }
}

/// y and dx for x and dy.
fn both<const N: usize>(text: &str, x: [f32; N], dy: [f32; N]) -> [Vec<f32>; 2] {
    let tensor = |data: [f32; N]| Tensor::new(Shape::new([N]), data.to_vec()).unwrap();
    let (y, dx) = Check::default()
        .both(&*layer(text), vec![tensor(x)], &[tensor(dy)])
        .unwrap();
    [
        y[0].data.clone(),
        dx[0].as_ref().map_or(Vec::new(), |dx| dx.data.clone()),
    ]
}

fn forward<const N: usize>(text: &str, x: [f32; N]) -> Vec<f32> {
    let [y, _] = both(text, x, [1.0; N]);
    y
}

#[test]
fn zero_has_no_gradient_of_an_absolute_value() {
    let [y, dx] = both("type: 'AbsVal'", [-2.0, 0.0, 3.0], [1.0; 3]);
    assert_eq!((y, dx), (vec![2.0, 0.0, 3.0], vec![-1.0, 0.0, 1.0]));
}

#[test]
fn large_numbers_do_not_overflow() {
    let x = [-200.0, 0.0, 200.0];
    let ln2 = std::f32::consts::LN_2;
    assert_eq!(forward("type: 'BNLL'", x), [0.0, ln2, 200.0]);
    assert_eq!(forward("type: 'Sigmoid'", x), [0.0, 0.5, 1.0]);
}

#[test]
fn bounds_pass_gradients() {
    let clip = "type: 'Clip' clip_param { min: -1 max: 2 }";
    let [y, dx] = both(clip, [-1.5, -1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(y, [-1.0, -1.0, 2.0, 2.0]);
    assert_eq!(dx, [0.0, 2.0, 3.0, 0.0]);
}

#[test]
fn a_constant_power_ignores_its_input() {
    let power = |param: &str| {
        let text = format!("type: 'Power' power_param {{ {param} }}");
        forward(&text, [f32::NAN, 1.0])
    };
    assert_eq!(power("scale: 0 shift: 3 power: 2"), [9.0, 9.0]);
    assert_eq!(power("power: 0"), [1.0, 1.0]);
}

#[test]
fn a_negative_slope_scales_negative_numbers() {
    let relu = "type: 'ReLU' relu_param { negative_slope: 0.5 }";
    assert_eq!(forward(relu, [-2.0, 0.0, 3.0]), [-1.0, 0.0, 3.0]);
}

#[test]
fn the_threshold_itself_is_below() {
    let text = "type: 'Threshold' threshold_param { threshold: 0.25 }";
    assert_eq!(forward(text, [0.5, 0.25, -1.0]), [1.0, 0.0, 0.0]);
    let facts = layer(text).facts(&[Shape::new([3])]);
    assert!(!facts.has_backward && !facts.flows_to(0));
}

#[test]
fn parameters_are_checked() {
    let error = |text: &str| layer_in(text, Mode::Test).err().unwrap().to_string();
    assert_eq!(error("type: 'Clip'"), "clip_param needs min and max");
    for base in ["0", "-2", "inf"] {
        let e = error(&format!("type: 'Exp' exp_param {{ base: {base} }}"));
        assert!(e.contains("it must be above 0"), "{e}");
    }
    for base in ["0", "1", "-2"] {
        let e = error(&format!("type: 'Log' log_param {{ base: {base} }}"));
        assert!(e.contains("above 0 and not 1"), "{e}");
    }
}

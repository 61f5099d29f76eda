//! Tests of the layer.

use super::*;
use crate::layers::Coupling;
use crate::layers::check::{Check, layer, layer_in};
use crate::tensor::Tensor;

fn conv(text: &str) -> Box<dyn Layer> {
    layer(&format!(
        "type: 'Convolution' convolution_param {{ {text} }}"
    ))
}

#[test]
fn gradients() {
    let check = Check {
        step: 0.1,
        ..Check::default()
    };
    check.run(
        &*conv("num_output: 3 kernel_size: 3 stride: 2 pad: 1"),
        &[&[2, 2, 7, 4]],
    );
    check.run(
        &*conv("num_output: 4 kernel_h: 2 kernel_w: 3 pad_w: 2 stride_h: 2 group: 2"),
        &[&[2, 4, 5, 3]],
    );
    check.run(
        &*conv("num_output: 3 kernel_size: 1"),
        &[&[2, 3, 3, 2], &[2, 3, 3, 2]],
    );
    check.run(
        &*conv("num_output: 2 kernel_size: 3 dilation: 2 bias_term: false"),
        &[&[1, 2, 6, 7]],
    );
    check.run(
        &*conv("num_output: 2 kernel_size: 2 pad: 1"),
        &[&[2, 2, 3, 2, 4]],
    );
    check.run(
        &*conv("num_output: 2 kernel_size: 3 stride: 2"),
        &[&[2, 2, 8]],
    );
    check.run(
        &*conv("num_output: 2 kernel_size: 2 axis: 2"),
        &[&[2, 3, 2, 3, 4]],
    );
    check.run(
        &*conv("num_output: 2 kernel_size: 2 axis: 0"),
        &[&[2, 3, 4]],
    );
}

#[test]
fn several_bottoms_go_through_one_kernel() {
    for pixels in [false, true] {
        let check = Check {
            step: 0.1,
            pixels,
            ..Check::default()
        };
        let shape: &[usize] = &[2, 3, 6, 5];
        let conv = conv("num_output: 8 kernel_size: 3 pad: 1");
        check.run(&*conv, &[shape, shape, shape]);
        // The bottoms are of different numbers, or one result would be right for all.
        let bottom = |i: u64| Tensor {
            shape: Shape::from(shape),
            data: crate::kernels::noise(i, 180),
        };
        let tops = check.forward(&*conv, (1..4).map(bottom).collect()).unwrap();
        for (i, top) in (1..).zip(&tops) {
            let alone = check.forward(&*conv, vec![bottom(i)]).unwrap();
            assert_eq!(alone[0], *top, "bottom {i}");
            assert!(i == 1 || tops[0] != *top);
        }
    }
}

#[test]
fn without_spatial_axes_it_is_a_product() {
    let check = Check {
        step: 0.1,
        ..Check::default()
    };
    for text in [
        "num_output: 4",
        "num_output: 4 kernel_size: 3",
        "num_output: 4 group: 2",
    ] {
        check.run(&*conv(text), &[&[2, 6]]);
    }
    check.run(&*conv("num_output: 4 axis: -1"), &[&[2, 3, 6]]);
    let shapes = conv("num_output: 4").params(&[Shape::new([2, 6])]);
    assert_eq!(shapes[0].shape.dims(), [4, 6]);
    let e = conv("num_output: 4").shapes(&[Shape::new([2, 6, 3])]);
    assert!(e.unwrap_err().to_string().contains("needs kernel_size"));
}

#[test]
fn gradients_channels_last() {
    let check = Check {
        step: 0.1,
        pixels: true,
        ..Check::default()
    };
    for gap in [0, 3] {
        let check = Check {
            gap,
            ..check.clone()
        };
        check.run(
            &*conv("num_output: 9 kernel_size: 3 stride: 2 pad: 1"),
            &[&[2, 2, 7, 4]],
        );
        check.run(
            &*conv("num_output: 16 kernel_h: 2 kernel_w: 3 pad_w: 2 stride_h: 2 group: 2"),
            &[&[2, 4, 5, 3]],
        );
        check.run(
            &*conv("num_output: 3 kernel_size: 1 pad: 1"),
            &[&[2, 3, 3, 2], &[2, 3, 3, 2]],
        );
        check.run(
            &*conv("num_output: 16 kernel_size: 3 pad: 1 bias_term: false"),
            &[&[1, 16, 5, 6]],
        );
        check.run(
            &*conv("num_output: 18 kernel_size: 3 stride: 2 pad: 1 group: 18"),
            &[&[2, 18, 5, 6]],
        );
    }
}

#[test]
fn shapes_parameters_and_costs() {
    let x = [Shape::new([5, 3, 227, 227])];
    let conv = conv("num_output: 96 kernel_size: 7 stride: 2");
    assert_eq!(conv.shapes(&x).unwrap()[0].dims(), [5, 96, 111, 111]);
    let params = conv.params(&x);
    assert_eq!(
        (params[0].shape.dims(), params[1].shape.dims()),
        (&[96, 3, 7, 7][..], &[96][..])
    );
    assert!(params[0].prunable && !params[1].prunable);
    assert_eq!(conv.facts(&x).macs, 5 * 96 * 147 * 111 * 111);
    // Channels last there are no columns, but packed weights.
    let facts = conv.facts(&x);
    assert_eq!(
        (facts.scratch_bytes, facts.packed_bytes[0]),
        (0, 4 * 96 * 147)
    );
    assert_eq!(conv.facts(&x).coupling, Coupling::Free);
}

#[test]
fn errors_say_the_shapes() {
    let fails = |text: &str, x: &[usize]| {
        let error = conv(text).shapes(&[Shape::from(x)]).unwrap_err();
        error.to_string()
    };
    let e = fails("num_output: 3 kernel_size: 9", &[1, 3, 7, 7]);
    assert!(
        e.contains("size 7, kernel 9") && e.contains("1 3 7 7 (147)"),
        "{e}"
    );
    let e = fails("num_output: 3 kernel_size: 1 stride: 0", &[1, 3, 7, 7]);
    assert!(e.contains("stride 0"), "{e}");
    let e = fails("num_output: 3 kernel_size: 1 group: 2", &[1, 3, 7, 7]);
    assert!(e.contains("group 2") && e.contains("1 3 7 7"), "{e}");
    let e = fails("num_output: 3 kernel_h: 1 kernel_w: 1", &[1, 3, 7]);
    assert!(e.contains("1 spatial axes"), "{e}");
    let e = fails(
        "num_output: 3 kernel_size: 1 pad: 1 pad: 2 pad: 3",
        &[1, 3, 7, 7],
    );
    assert!(e.contains("3 values for pad"), "{e}");
    let e = fails("num_output: 3 kernel_size: 1 axis: 4", &[1, 3, 7, 7]);
    assert!(e.contains("axis 4 is out of range"), "{e}");
    let e = layer_in("type: 'Convolution'", Mode::Test)
        .err()
        .unwrap()
        .to_string();
    assert!(e.contains("num_output"), "{e}");
}

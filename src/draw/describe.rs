//! What a layer's box says, and its colour: Caffe's choices, and what that leaves out where it matters
//! (kernels that are not square, groups, dilation, global pooling).

use crate::proto::caffe::pooling_parameter::PoolMethod;
use crate::proto::caffe::{ConvolutionParameter, LayerParameter, Phase, PoolingParameter};

/// A blob's colour.
pub const BLOB: &str = "#E0E0E0";
/// The colour of a layer that works in place.
pub const IN_PLACE: &str = "#90EE90";

/// Whether a layer rewrites its only bottom.
pub fn in_place(layer: &LayerParameter) -> bool {
    matches!((&layer.bottom[..], &layer.top[..]), ([b], [t]) if b == t)
}

/// The colour of a layer's box.
pub fn colour(layer: &LayerParameter) -> &'static str {
    match layer.r#type() {
        _ if in_place(layer) => IN_PLACE,
        "Convolution" | "Deconvolution" => "#FF5050",
        "Pooling" => "#FF9900",
        "InnerProduct" => "#CC33FF",
        _ => "#6495ED",
    }
}

/// The type in brackets, with a pooling's method and the phase for which the layer is kept.
pub fn kind(layer: &LayerParameter) -> String {
    let method = match layer.pooling_param.as_ref().map(PoolingParameter::pool) {
        _ if layer.r#type() != "Pooling" => "",
        Some(PoolMethod::Ave) => " AVE",
        Some(PoolMethod::Stochastic) => " STOCHASTIC",
        _ => " MAX",
    };
    let phase = match layer.include.first().and_then(|rule| rule.phase) {
        Some(phase) if phase == Phase::Train as i32 => ", TRAIN",
        Some(phase) if phase == Phase::Test as i32 => ", TEST",
        _ => "",
    };
    format!("({}{method}{phase})", layer.r#type())
}

/// The label of the edge from a layer to its top, empty for none.
pub fn edge(layer: &LayerParameter) -> String {
    let number = |n: Option<u32>| n.map_or(String::new(), |n| n.to_string());
    match layer.r#type() {
        "Data" => {
            let size = layer.data_param.as_ref().map_or(0, |p| p.batch_size());
            format!("Batch {size}")
        }
        "ImageData" => {
            let size = layer
                .image_data_param
                .as_ref()
                .map_or(1, |p| p.batch_size());
            format!("Batch {size}")
        }
        "Convolution" | "Deconvolution" => {
            number(layer.convolution_param.as_ref().and_then(|p| p.num_output))
        }
        "InnerProduct" => number(
            layer
                .inner_product_param
                .as_ref()
                .and_then(|p| p.num_output),
        ),
        _ => String::new(),
    }
}

/// What a layer of a sliding window says of it: `kernel size: 3`, `stride: 1`, `pad: 0` and what else is
/// not as usual.
pub fn window(layer: &LayerParameter) -> Vec<(&'static str, String)> {
    match layer.r#type() {
        "Convolution" | "Deconvolution" => {
            convolution(&layer.convolution_param.clone().unwrap_or_default())
        }
        "Pooling" => pooling(&layer.pooling_param.unwrap_or_default()),
        _ => Vec::new(),
    }
}

fn convolution(p: &ConvolutionParameter) -> Vec<(&'static str, String)> {
    let axes = |list: &[u32], h: Option<u32>, w: Option<u32>, none: u32| match (h, w) {
        (None, None) if list.is_empty() => none.to_string(),
        (None, None) => times(list),
        (h, w) => times(&[h.unwrap_or(none), w.unwrap_or(none)]),
    };
    let mut window = vec![
        (
            "kernel size",
            axes(&p.kernel_size, p.kernel_h, p.kernel_w, 1),
        ),
        ("stride", axes(&p.stride, p.stride_h, p.stride_w, 1)),
        ("pad", axes(&p.pad, p.pad_h, p.pad_w, 0)),
    ];
    if p.dilation.iter().any(|d| *d != 1) {
        window.push(("dilation", times(&p.dilation)));
    }
    if p.group() != 1 {
        window.push(("group", p.group().to_string()));
    }
    window
}

fn pooling(p: &PoolingParameter) -> Vec<(&'static str, String)> {
    let axes = |one: u32, h: Option<u32>, w: Option<u32>| match (h, w) {
        (None, None) => one.to_string(),
        (h, w) => times(&[h.unwrap_or(one), w.unwrap_or(one)]),
    };
    let size = match p.global_pooling() {
        true => "all".to_string(),
        false => axes(p.kernel_size(), p.kernel_h, p.kernel_w),
    };
    vec![
        ("kernel size", size),
        ("stride", axes(p.stride(), p.stride_h, p.stride_w)),
        ("pad", axes(p.pad(), p.pad_h, p.pad_w)),
    ]
}

/// One number for equal ones, else all, as `3x1`.
fn times(list: &[u32]) -> String {
    match list {
        [first, rest @ ..] if rest.iter().all(|n| n == first) => first.to_string(),
        _ => list
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join("x"),
    }
}

/// `lr mult: 1.0, 2.0`, of weights and biases, for layers that learn.
pub fn lr_mult(layer: &LayerParameter) -> Option<String> {
    if !matches!(
        layer.r#type(),
        "Convolution" | "Deconvolution" | "InnerProduct"
    ) {
        return None;
    }
    let of = |k: usize| layer.param.get(k).map_or(1.0, |p| p.lr_mult());
    (of(0) != 0.0 || of(1) != 0.0).then(|| format!("lr mult: {:.1}, {:.1}", of(0), of(1)))
}

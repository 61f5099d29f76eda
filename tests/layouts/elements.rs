//! One layer of every type, to be put anywhere in a net.

/// The inputs of every net here: pictures, and what some types read beside.
pub const INPUTS: &str = r#"
layer { name: "in" type: "Input" top: "x" top: "label" top: "rows" top: "steps"
  input_param { shape { dim: 3 dim: 4 dim: 5 dim: 5 } shape { dim: 3 } shape { dim: 3 } shape { dim: 3 dim: 4 } } }
"#;

/// A layer without its name, first bottom and first top.
pub const ELEMENTS: [&str; 66] = [
    r#"type: "AbsVal""#,
    r#"type: "Accuracy" bottom: "label""#,
    r#"type: "ArgMax" argmax_param { axis: 1 }"#,
    r#"type: "BatchNorm""#,
    r#"type: "BatchNorm" batch_norm_param { use_global_stats: true }"#,
    r#"type: "BatchReindex" bottom: "rows""#,
    r#"type: "Bias""#,
    r#"type: "Bias" bias_param { axis: 0 num_axes: -1 }"#,
    r#"type: "BNLL""#,
    r#"type: "Clip" clip_param { min: -0.4 max: 0.6 }"#,
    r#"type: "Concat" bottom: "x""#,
    r#"type: "Concat" bottom: "x" concat_param { axis: 0 }"#,
    r#"type: "Concat" bottom: "x" concat_param { axis: 2 }"#,
    r#"type: "ContrastiveLoss" bottom: "x" bottom: "label""#,
    r#"type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"#,
    r#"type: "Convolution" convolution_param { num_output: 16 kernel_size: 1 }"#,
    r#"type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 2 dilation: 2 group: 4 bias_term: false }"#,
    r#"type: "Convolution" bottom: "x" top: "second" convolution_param { num_output: 8 kernel_size: 3 pad: 1 }"#,
    r#"type: "Crop" bottom: "x" crop_param { axis: 2 }"#,
    r#"type: "Deconvolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"#,
    r#"type: "Dropout""#,
    r#"type: "Eltwise" bottom: "x""#,
    r#"type: "Eltwise" bottom: "x" eltwise_param { operation: PROD }"#,
    r#"type: "Eltwise" bottom: "x" eltwise_param { operation: MAX }"#,
    r#"type: "Eltwise" bottom: "x" eltwise_param { coeff: 0.5 coeff: -1 }"#,
    r#"type: "ELU""#,
    r#"type: "Embed" embed_param { num_output: 3 input_dim: 4 }"#,
    r#"type: "EuclideanLoss" bottom: "x""#,
    r#"type: "Exp" exp_param { scale: 0.3 }"#,
    r#"type: "Filter" bottom: "rows""#,
    r#"type: "Flatten""#,
    r#"type: "HingeLoss" bottom: "label""#,
    r#"type: "Im2col" convolution_param { kernel_size: 2 }"#,
    r#"type: "InfogainLoss" bottom: "label""#,
    r#"type: "InnerProduct" inner_product_param { num_output: 6 }"#,
    r#"type: "InnerProduct" inner_product_param { num_output: 5 axis: 3 }"#,
    r#"type: "Log" log_param { shift: 40 }"#,
    r#"type: "LRN" lrn_param { local_size: 3 }"#,
    r#"type: "LRN" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"#,
    r#"type: "LSTM" bottom: "steps" recurrent_param { num_output: 3 }"#,
    r#"type: "MultinomialLogisticLoss" bottom: "label""#,
    r#"type: "MVN""#,
    r#"type: "MVN" mvn_param { across_channels: true normalize_variance: false }"#,
    r#"type: "Pooling" pooling_param { pool: MAX kernel_size: 3 stride: 2 }"#,
    r#"type: "Pooling" pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 }"#,
    r#"type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 1 }"#,
    r#"type: "Pooling" top: "second" pooling_param { pool: MAX kernel_size: 7 stride: 3 }"#,
    r#"type: "Power" power_param { scale: 0.7 shift: 0.2 power: 2 }"#,
    r#"type: "PReLU""#,
    r#"type: "PReLU" prelu_param { channel_shared: true }"#,
    r#"type: "Reduction" reduction_param { operation: SUMSQ axis: 1 }"#,
    r#"type: "ReLU""#,
    r#"type: "ReLU" relu_param { negative_slope: 0.3 }"#,
    r#"type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: -1 } }"#,
    r#"type: "RNN" bottom: "steps" recurrent_param { num_output: 3 }"#,
    r#"type: "Scale" scale_param { bias_term: true }"#,
    r#"type: "Scale" scale_param { axis: 2 num_axes: 2 }"#,
    r#"type: "Sigmoid""#,
    r#"type: "SigmoidCrossEntropyLoss" bottom: "x""#,
    r#"type: "Slice" top: "second""#,
    r#"type: "Softmax""#,
    r#"type: "SoftmaxWithLoss" bottom: "label""#,
    r#"type: "Split" top: "second""#,
    r#"type: "SPP" spp_param { pyramid_height: 2 }"#,
    r#"type: "TanH""#,
    r#"type: "Threshold" threshold_param { threshold: 0.1 }"#,
];

/// More types, in another table only so that lines stay short.
pub const MORE: [&str; 3] = [
    r#"type: "Swish""#,
    r#"type: "Tile" tile_param { axis: 1 tiles: 2 }"#,
    r#"type: "Slice" top: "second" slice_param { axis: 2 slice_point: 2 }"#,
];

/// All of them.
pub fn all() -> Vec<&'static str> {
    ELEMENTS.iter().chain(&MORE).copied().collect()
}

/// Whether an element is for numbers above 0 alone: it divides by them.
pub fn wants_positive(element: &str) -> bool {
    element.contains("STOCHASTIC") || element.contains("MultinomialLogisticLoss")
}

/// The text of an element named `name`. In front of one that [`wants_positive`] numbers comes what makes them.
pub fn layer(element: &str, name: &str, bottom: &str, top: &str) -> String {
    let own = element.replace("\"second\"", &format!("\"{name}_second\""));
    let mut text = String::new();
    if wants_positive(element) {
        text += &format!(
            "layer {{ name: \"{name}_positive\" type: \"Sigmoid\" bottom: \"{bottom}\" top: \"{bottom}\" }}\n"
        );
    }
    // Further bottoms and tops come behind the first.
    text + &format!("layer {{ name: \"{name}\" bottom: \"{bottom}\" top: \"{top}\" {own} }}\n")
}

//! The net that `dsd new` writes where none is asked for: fire modules (Iandola et al. 2016) with BatchNorm, of a depth that
//! fits the size of the pictures.

use super::Pictures;
use std::fmt::Write;

/// Filters of the first convolution.
const FIRST: usize = 32;

/// The modules: squeeze, expand 1 x 1 and expand 3 x 3 filters; after which of them a pool may follow.
const MODULES: [([usize; 3], bool); 5] = [
    ([16, 32, 32], true),
    ([32, 64, 64], false),
    ([32, 96, 96], true),
    ([80, 192, 192], false),
    ([96, 256, 256], false),
];

/// Pictures of more than this side start with a convolution of stride 2.
const LARGE: usize = 40;

/// The smallest side that is still pooled.
const POOLED: usize = 8;

/// The text of the net: with data layers, whose batches are `batch` and `test` pictures and whose test reads the first `records`
/// of its database; or (`None`) with an Input layer.
pub fn fire_net(name: &str, data: &Pictures, batches: Option<[usize; 3]>) -> String {
    let [channels, height, width] = data.size;
    let title = format!(
        "# Fire modules with BatchNorm for {} pictures of {height} x {width} in {} classes, as `dsd new` chose it.",
        if channels == 1 { "gray" } else { "colour" },
        data.classes
    );
    let mut net = Text {
        out: format!("{title}\nname: \"{name}\"\n\n"),
        train: batches.is_some(),
    };
    match batches {
        Some(sizes) => net.out += &super::adapt::data_layers(data, sizes),
        None => {
            let _ = writeln!(
                net.out,
                "layer {{\n  name: \"data\"\n  type: \"Input\"\n  top: \"data\"\n  input_param {{ shape {{ dim: 1 dim: {channels} \
                 dim: {height} dim: {width} }} }}\n}}"
            );
        }
    }
    let mut side = height;
    let stride = if side > LARGE { 2 } else { 1 };
    net.unit("conv1", "data", FIRST, 3, stride);
    side = side.div_ceil(stride);
    let mut below = "conv1".to_string();
    let mut pools = 0;
    let mut pool = |net: &mut Text, below: &mut String, side: &mut usize| {
        if *side >= POOLED {
            pools += 1;
            let name = format!("pool{pools}");
            net.layer(
                &name,
                "Pooling",
                &[below],
                &name,
                "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
            );
            *below = name;
            *side = (*side - 1) / 2;
        }
    };
    pool(&mut net, &mut below, &mut side);
    for (i, ([squeeze, one, three], pooled)) in MODULES.into_iter().enumerate() {
        let part = |p: &str| format!("fire{}/{p}", i + 2);
        net.unit(&part("squeeze1x1"), &below, squeeze, 1, 1);
        net.unit(&part("expand1x1"), &part("squeeze1x1"), one, 1, 1);
        net.unit(&part("expand3x3"), &part("squeeze1x1"), three, 3, 1);
        let wide = [part("expand1x1"), part("expand3x3")];
        below = part("concat");
        net.layer(&below, "Concat", &[&wide[0], &wide[1]], &below, "");
        if pooled {
            pool(&mut net, &mut below, &mut side);
        }
    }
    net.layer(
        "conv_final",
        "Convolution",
        &[&below],
        "conv_final",
        &format!(
            "convolution_param {{ num_output: {} kernel_size: 1 weight_filler {{ type: \"gaussian\" std: 0.01 }} }}",
            data.classes
        ),
    );
    net.layer(
        "pool_final",
        "Pooling",
        &["conv_final"],
        "pool_final",
        "pooling_param { pool: AVE global_pooling: true }",
    );
    if net.train {
        net.out += &super::adapt::ends("pool_final", data.classes);
    } else {
        net.layer("prob", "Softmax", &["pool_final"], "prob", "");
    }
    net.out
}

/// A net's text in the making.
struct Text {
    out: String,
    train: bool,
}

impl Text {
    fn layer(&mut self, name: &str, kind: &str, bottoms: &[&str], top: &str, more: &str) {
        let _ = write!(
            self.out,
            "layer {{\n  name: \"{name}\"\n  type: \"{kind}\"\n"
        );
        for bottom in bottoms {
            let _ = writeln!(self.out, "  bottom: \"{bottom}\"");
        }
        let _ = writeln!(self.out, "  top: \"{top}\"");
        if !more.is_empty() {
            let _ = writeln!(self.out, "  {more}");
        }
        self.out += "}\n";
    }

    /// A convolution with BatchNorm, Scale and ReLU behind it.
    fn unit(&mut self, name: &str, bottom: &str, outputs: usize, kernel: usize, stride: usize) {
        let pad = kernel / 2;
        let mut sizes = format!("num_output: {outputs} kernel_size: {kernel}");
        if pad > 0 {
            let _ = write!(sizes, " pad: {pad}");
        }
        if stride > 1 {
            let _ = write!(sizes, " stride: {stride}");
        }
        let conv = format!(
            "convolution_param {{ {sizes} bias_term: false weight_filler {{ type: \"msra\" }} }}"
        );
        self.layer(name, "Convolution", &[bottom], name, &conv);
        // Caffe's 0.999 remembers a thousand iterations, more than a short phase has.
        let norm = "batch_norm_param { moving_average_fraction: 0.95 }";
        self.layer(&format!("{name}_bn"), "BatchNorm", &[name], name, norm);
        let scale = "scale_param { bias_term: true }";
        self.layer(&format!("{name}_scale"), "Scale", &[name], name, scale);
        self.layer(&format!("{name}_relu"), "ReLU", &[name], name, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::models::input_shapes;
    use crate::net::graph::{Graph, State};
    use crate::net::{Net, Options};
    use crate::proto::parse;

    #[test]
    fn a_net_for_every_size() {
        for side in [8, 12, 16, 28, 32, 40, 48, 64, 100, 128] {
            let data = Pictures {
                train: "t".into(),
                val: "v".into(),
                size: [1, side, side],
                mean: vec![100.0],
                mirror: false,
                classes: 7,
            };
            let net = parse(&fire_net("n", &data, None), "deploy.prototxt").unwrap();
            let graph = Graph::new(&net, &State::new(Mode::Test)).unwrap();
            let shapes = input_shapes(&graph).unwrap();
            let net = Net::new(graph, &shapes, &Options::default()).unwrap();
            assert_eq!(net.outputs().len(), 1, "{side}");
        }
    }
}

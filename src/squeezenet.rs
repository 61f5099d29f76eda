//! SqueezeNet's design space (Iandola et al. 2016, section 5): nets made from five numbers.

use anyhow::{Result, bail};
use std::fmt::Write;

/// The metaparameters, named as in the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Design {
    /// Expand filters of the first fire module.
    pub base: usize,
    /// Filters added after every `freq` modules.
    pub incr: usize,
    /// See `incr`.
    pub freq: usize,
    /// The share of a module's expand filters that are 3×3.
    pub pct3x3: f64,
    /// Squeeze filters as a fraction of expand filters.
    pub sr: f64,
    /// Whether the input of every second module is added to its output.
    pub bypass: bool,
}

/// SqueezeNet v1.0.
impl Default for Design {
    fn default() -> Self {
        Self {
            base: 128,
            incr: 128,
            freq: 2,
            pct3x3: 0.5,
            sr: 0.125,
            bypass: false,
        }
    }
}

/// Fire modules of the family.
const MODULES: usize = 8;

/// The filters of one fire module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// 1×1 filters of the squeeze layer.
    pub squeeze: usize,
    /// 1×1 filters of the expand layer.
    pub expand1x1: usize,
    /// 3×3 filters of the expand layer.
    pub expand3x3: usize,
}

impl Design {
    /// The modules: e_i = base + incr·⌊i/freq⌋ expand filters, of which pct3x3 are 3×3; sr·e_i squeeze
    /// filters.
    ///
    /// # Errors
    /// A number out of its range, or a module that would have no filters of a kind.
    pub fn modules(&self) -> Result<Vec<Fire>> {
        if self.freq == 0 || self.base == 0 {
            bail!("base and freq must be positive");
        }
        for (name, value) in [("pct3x3", self.pct3x3), ("sr", self.sr)] {
            if !(value > 0.0 && value <= 1.0) {
                bail!("{name} must lie in (0, 1], but is {value}");
            }
        }
        let module = |i: usize| {
            let expand = self.base + self.incr * (i / self.freq);
            let expand3x3 = (expand as f64 * self.pct3x3).round() as usize;
            let fire = Fire {
                squeeze: (expand as f64 * self.sr).round() as usize,
                expand1x1: expand - expand3x3,
                expand3x3,
            };
            if fire.squeeze == 0 || fire.expand3x3 == 0 {
                bail!(
                    "fire{} would have {} squeeze and {} 3x3 filters",
                    i + 2,
                    fire.squeeze,
                    fire.expand3x3
                );
            }
            Ok(fire)
        };
        (0..MODULES).map(module).collect()
    }

    /// The prototxt: with data layers (`train`), or with an Input layer.
    pub fn prototxt(&self, name: &str, train: bool) -> Result<String> {
        let mut net = Text {
            out: format!("# {}\nname: \"{name}\"\n\n", self.title()),
            train,
        };
        if train {
            net.data();
        } else {
            net.layer(
                "data",
                "Input",
                &[],
                "data",
                "input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } }",
            );
        }
        net.conv("conv1", "data", 96, 7, 0, 2);
        net.pool("pool1", "conv1");
        let mut below = "pool1".to_string();
        let mut channels = 96;
        for (i, fire) in self.modules()?.into_iter().enumerate() {
            let n = i + 2;
            let part = |p: &str| format!("fire{n}/{p}");
            let _ = writeln!(
                net.out,
                "# fire{n}: squeeze to {}, expand to {} + {}.",
                fire.squeeze, fire.expand1x1, fire.expand3x3
            );
            net.conv(&part("conv1x1_1"), &below, fire.squeeze, 1, 0, 1);
            let mut wide = Vec::new();
            if fire.expand1x1 > 0 {
                net.conv(
                    &part("conv1x1_2"),
                    &part("conv1x1_1"),
                    fire.expand1x1,
                    1,
                    0,
                    1,
                );
                wide.push(part("conv1x1_2"));
            }
            net.conv(
                &part("conv3x3_2"),
                &part("conv1x1_1"),
                fire.expand3x3,
                3,
                1,
                1,
            );
            wide.push(part("conv3x3_2"));
            let refs: Vec<&str> = wide.iter().map(String::as_str).collect();
            net.layer(&part("concat"), "Concat", &refs, &part("concat"), "");
            let mut top = part("concat");
            let expand = fire.expand1x1 + fire.expand3x3;
            if self.bypass && n % 2 == 1 && channels == expand {
                let sum = format!("bypass_{n}");
                net.layer(&sum, "Eltwise", &[&below, &top], &sum, "");
                top = sum;
            }
            (below, channels) = (top, expand);
            if n == 4 || n == 8 {
                let pool = format!("pool{n}");
                net.pool(&pool, &below);
                below = pool;
            }
        }
        net.layer(
            "drop9",
            "Dropout",
            &[&below],
            &below,
            "dropout_param { dropout_ratio: 0.5 }",
        );
        net.conv("conv_final", &below, 1000, 1, 1, 1);
        net.layer(
            "pool_final",
            "Pooling",
            &["conv_final"],
            "pool_final",
            "pooling_param { pool: AVE global_pooling: true }",
        );
        net.end();
        Ok(net.out)
    }

    fn title(&self) -> String {
        format!(
            "SqueezeNet with base {}, incr {}, freq {}, pct3x3 {}, sr {}{}.",
            self.base,
            self.incr,
            self.freq,
            self.pct3x3,
            self.sr,
            if self.bypass { ", simple bypass" } else { "" }
        )
    }
}

/// A prototxt being written.
struct Text {
    out: String,
    train: bool,
}

impl Text {
    fn layer(&mut self, name: &str, kind: &str, bottoms: &[&str], top: &str, body: &str) {
        let mut lines = vec![format!("name: \"{name}\""), format!("type: \"{kind}\"")];
        lines.extend(bottoms.iter().map(|b| format!("bottom: \"{b}\"")));
        lines.extend(top.split(' ').map(|t| format!("top: \"{t}\"")));
        lines.extend(body.lines().map(str::to_string));
        self.out += &format!("layer {{\n  {}\n}}\n", lines.join("\n  "));
    }

    fn conv(
        &mut self,
        name: &str,
        bottom: &str,
        outputs: usize,
        kernel: usize,
        pad: usize,
        stride: usize,
    ) {
        let mut body =
            format!("convolution_param {{\n  num_output: {outputs}\n  kernel_size: {kernel}");
        if pad > 0 {
            let _ = write!(body, "\n  pad: {pad}");
        }
        if stride > 1 {
            let _ = write!(body, "\n  stride: {stride}");
        }
        if self.train {
            let filler = if name == "conv_final" {
                "type: \"gaussian\" std: 0.01"
            } else {
                "type: \"xavier\""
            };
            let _ = write!(body, "\n  weight_filler {{ {filler} }}");
        }
        self.layer(name, "Convolution", &[bottom], name, &(body + "\n}"));
        let relu = match name.rsplit_once('/') {
            Some((module, part)) => format!("{module}/relu_{part}"),
            None => format!("relu_{name}"),
        };
        self.layer(&relu, "ReLU", &[name], name, "");
    }

    fn pool(&mut self, name: &str, bottom: &str) {
        self.layer(
            name,
            "Pooling",
            &[bottom],
            name,
            "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
        );
    }

    fn data(&mut self) {
        for (phase, source, batch) in [
            ("TRAIN", "imagenet_train_lmdb", 32),
            ("TEST", "imagenet_val_lmdb", 50),
        ] {
            let body = format!(
                "include {{ phase: {phase} }}\ntransform_param {{\n  crop_size: 227\n  mean_value: 104\n  mean_value: \
                 117\n  mean_value: 123\n}}\ndata_param {{\n  source: \"{source}\"\n  batch_size: {batch}\n  backend: \
                 LMDB\n}}"
            );
            self.layer("data", "Data", &[], "data label", &body);
        }
    }

    fn end(&mut self) {
        let score = ["pool_final", "label"];
        if !self.train {
            self.layer("prob", "Softmax", &score[..1], "prob", "");
            return;
        }
        self.layer("loss", "SoftmaxWithLoss", &score, "loss", "");
        self.layer(
            "accuracy_top1",
            "Accuracy",
            &score,
            "accuracy_top1",
            "include { phase: TEST }",
        );
        let body = "include { phase: TEST }\naccuracy_param { top_k: 5 }";
        self.layer("accuracy_top5", "Accuracy", &score, "accuracy_top5", body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::models;
    use crate::net::graph::{Graph, State};
    use crate::net::{Net, Options};
    use crate::proto::parse;

    fn net(design: Design) -> Net {
        let text = design.prototxt("made", false).unwrap();
        let graph = Graph::new(
            &parse(&text, "made.prototxt").unwrap(),
            &State::new(Mode::Test),
        )
        .unwrap();
        let shapes = models::input_shapes(&graph).unwrap();
        Net::new(graph, &shapes, &Options::default()).unwrap()
    }

    fn shapes(net: &Net) -> Vec<(String, String)> {
        net.params()
            .iter()
            .map(|p| (p.label(), p.shape.to_string()))
            .collect()
    }

    #[test]
    fn the_default_design_is_squeezenet_v1_0() {
        let deploy = models::find("squeezenet_v1.0")
            .unwrap()
            .deploy(models::Family::Release)
            .unwrap();
        let graph = Graph::new(&deploy, &State::new(Mode::Test)).unwrap();
        let inputs = models::input_shapes(&graph).unwrap();
        let published = Net::new(graph, &inputs, &Options::default()).unwrap();
        assert_eq!(shapes(&net(Design::default())), shapes(&published));
    }

    #[test]
    fn every_second_module_is_bypassed_where_the_channels_allow() {
        let net = net(Design {
            bypass: true,
            ..Design::default()
        });
        let sums = net
            .graph()
            .nodes
            .iter()
            .filter(|n| n.param.r#type() == "Eltwise")
            .count();
        assert_eq!(sums, 4);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for design in [
            Design {
                pct3x3: 0.0,
                ..Design::default()
            },
            Design {
                sr: 1.5,
                ..Design::default()
            },
            Design {
                freq: 0,
                ..Design::default()
            },
            Design {
                base: 2,
                incr: 0,
                ..Design::default()
            },
        ] {
            assert!(design.modules().is_err(), "{design:?}");
        }
    }
}

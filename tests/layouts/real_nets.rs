//! Nets in the style of MTCNN's (P-Net, R-Net, O-Net) and SphereFace's, whose PReLUs work in place, with
//! random weights.

use crate::layouts::twins::{Written, compare};
use dsd::layers::Mode;

/// Writes a net layer by layer, in place or not.
struct Writer {
    in_place: bool,
    text: String,
    blob: String,
    count: usize,
}

impl Writer {
    fn new(in_place: bool, [channels, height, width]: [usize; 3]) -> Self {
        let text = format!(
            "layer {{ name: \"data\" type: \"Input\" top: \"data\" input_param {{ shape {{ dim: 2 dim: {channels} \
             dim: {height} dim: {width} }} }} }}\n"
        );
        Self {
            in_place,
            text,
            blob: "data".into(),
            count: 0,
        }
    }

    fn layer(&mut self, layer_type: &str, top: &str, params: &str) {
        self.count += 1;
        self.text += &format!(
            "layer {{ name: \"l{}\" type: \"{layer_type}\" bottom: \"{}\" top: \"{top}\" {params} }}\n",
            self.count, self.blob
        );
        self.blob = top.into();
    }

    fn over(&mut self, layer_type: &str, params: &str) {
        let top = match self.in_place {
            true => self.blob.clone(),
            false => format!("{}_{layer_type}", self.blob),
        };
        self.layer(layer_type, &top, params);
    }

    fn conv(&mut self, outputs: usize, rest: &str) {
        let params = format!("convolution_param {{ num_output: {outputs} {rest} }}");
        let top = format!("conv{}", self.count);
        self.layer("Convolution", &top, &params);
    }

    fn ip(&mut self, outputs: usize) {
        let params = format!("inner_product_param {{ num_output: {outputs} }}");
        let top = format!("ip{}", self.count);
        self.layer("InnerProduct", &top, &params);
    }

    fn pool(&mut self, kernel: usize) {
        let params = format!("pooling_param {{ pool: MAX kernel_size: {kernel} stride: 2 }}");
        let top = format!("pool{}", self.count);
        self.layer("Pooling", &top, &params);
    }
}

fn p_net(in_place: bool) -> Writer {
    let mut net = Writer::new(in_place, [3, 24, 21]);
    net.conv(10, "kernel_size: 3");
    net.over("PReLU", "");
    net.pool(2);
    net.conv(16, "kernel_size: 3");
    net.over("PReLU", "");
    net.conv(32, "kernel_size: 3");
    net.over("PReLU", "");
    let features = net.blob.clone();
    net.conv(4, "kernel_size: 1");
    net.blob = features;
    net.conv(2, "kernel_size: 1");
    net.over("Softmax", "");
    net
}

fn o_net(in_place: bool) -> Writer {
    let mut net = Writer::new(in_place, [3, 48, 48]);
    for (outputs, kernel, pool) in [(32, 3, 3), (64, 3, 3), (64, 3, 2)] {
        net.conv(outputs, &format!("kernel_size: {kernel}"));
        net.over("PReLU", "");
        net.pool(pool);
    }
    net.conv(64, "kernel_size: 2");
    net.over("PReLU", "");
    net.ip(32);
    net.over("Dropout", "dropout_param { dropout_ratio: 0.25 }");
    net.over("PReLU", "");
    let features = net.blob.clone();
    net.ip(10);
    net.blob = features;
    net.ip(2);
    net.over("Softmax", "");
    net
}

fn sphere_face(in_place: bool) -> Writer {
    let mut net = Writer::new(in_place, [3, 28, 24]);
    for outputs in [16, 32, 48] {
        net.conv(outputs, "kernel_size: 3 stride: 2 pad: 1");
        net.over("PReLU", "");
        let shortcut = net.blob.clone();
        for _ in 0..2 {
            net.conv(outputs, "kernel_size: 3 stride: 1 pad: 1");
            net.over("PReLU", "");
        }
        let top = format!("res{outputs}");
        net.layer(
            "Eltwise",
            &top,
            &format!("bottom: \"{shortcut}\" eltwise_param {{ operation: SUM }}"),
        );
    }
    net.ip(64);
    net
}

/// The same with the layers that OpenPose and others put behind convolutions.
fn others(in_place: bool) -> Writer {
    let mut net = Writer::new(in_place, [3, 20, 22]);
    for (layer_type, params) in [
        ("Bias", ""),
        ("PReLU", "prelu_param { channel_shared: true }"),
        ("MVN", ""),
        ("Softmax", ""),
        ("Scale", "scale_param { axis: 2 num_axes: 1 }"),
    ] {
        net.conv(16, "kernel_size: 3 pad: 1");
        net.over(layer_type, params);
        net.over("ReLU", "");
    }
    net.pool(2);
    net.ip(5);
    net
}

#[test]
fn mtcnn_and_sphereface_nets_equal_themselves_not_in_place() {
    for (name, build) in [
        ("P-Net", p_net as fn(bool) -> Writer),
        ("O-Net", o_net),
        ("SphereFace", sphere_face),
        ("others", others),
    ] {
        let (net, plain) = (build(true), build(false));
        for mode in [Mode::Test, Mode::Train] {
            let names = [(&net.blob[..], "last")];
            let plain_names = [(&plain.blob[..], "last")];
            let runs = compare(
                Written {
                    text: &net.text,
                    names: &names,
                },
                Written {
                    text: &plain.text,
                    names: &plain_names,
                },
                mode,
            );
            assert_eq!(runs, Ok(true), "{name}");
        }
    }
}

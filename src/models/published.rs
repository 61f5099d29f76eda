//! Where weights for the built-in nets are published, for the error of those who do not have them yet.

use super::BUILTIN;
use std::path::Path;

/// A built-in net's name and where its weights are.
const PUBLISHED: [(&str, &str); 6] = [
    (
        "squeezenet_v1.0",
        "https://github.com/forresti/SqueezeNet/raw/a47b6f13d30985279789d08053d37013d67d131b/SqueezeNet_v1.0/squeezenet_v1.0.caffemodel",
    ),
    (
        "squeezenet_v1.1",
        "https://raw.githubusercontent.com/DeepScale/SqueezeNet/b5c3f1a23713c8b3fd7b801d229f6b04c64374a5/SqueezeNet_v1.1/squeezenet_v1.1.caffemodel",
    ),
    (
        "alexnet",
        "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
    ),
    (
        "googlenet",
        "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
    ),
    (
        "vgg16",
        "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
    ),
    (
        "mobilenet_v1",
        "https://github.com/shicai/MobileNet-Caffe/raw/26a8b8c0afb6114a07c1c9e4f550e4e0dd8cced1/mobilenet.caffemodel",
    ),
];

/// Where the weights of the built-in net `name`, or of the one whose name or published file `weights` has in its own, can
/// be had: the end of an error's sentence. `None` where none are known.
pub fn hint(name: Option<&str>, weights: &Path) -> Option<String> {
    let (name, url) = match name {
        Some(name) => PUBLISHED.iter().find(|(net, _)| *net == name)?,
        None => {
            let file = weights.file_name()?.to_string_lossy().to_lowercase();
            let called = |(net, url): &&(&str, &str)| {
                let published = url.rsplit('/').next().unwrap_or_default().to_lowercase();
                file.contains(net) || file == published
            };
            PUBLISHED.iter().find(called)?
        }
    };
    debug_assert!(BUILTIN.iter().any(|b| b.name == *name));
    Some(format!(
        "weights for {name} are published at {url} (models/README.md has the checksums)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_known_by_the_net_or_the_files_name() {
        let of = |net, file: &str| hint(net, Path::new(file)).unwrap_or_default();
        assert!(of(Some("vgg16"), "x").contains("VGG_ILSVRC_16_layers"));
        assert!(of(None, "d/bvlc_alexnet.caffemodel").contains("for alexnet are"));
        assert!(of(None, "my_squeezenet_v1.1.caffemodel").contains("SqueezeNet_v1.1"));
        assert!(of(None, "vgg_ilsvrc_16_layers.caffemodel").contains("vgg16"));
        assert_eq!(of(None, "net.caffemodel"), "");
        assert_eq!(of(Some("digits"), "alexnet"), "");
        let known = |net: &str| BUILTIN.iter().any(|b| b.name == net);
        assert!(PUBLISHED.iter().all(|(net, _)| known(net)));
    }
}

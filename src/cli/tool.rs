//! Caffe's other tools by their programs' names: a link to `dsd` that is called `convert_imageset` runs that
//! command, so that a script which calls the tools needs only the links.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Programs whose command has another name.
const RENAMED: &[(&str, &str)] = &[
    ("draw_net", "draw"),
    ("convert_mnist_siamese_data", "convert_mnist_data"),
];

/// Programs whose command has their name.
const TOOLS: &[&str] = &[
    "classify",
    "compute_image_mean",
    "convert_cifar_data",
    "convert_imageset",
    "convert_mnist_data",
    "convert_mnist_siamese_data",
    "detect",
    "device_query",
    "extract_features",
    "parse_log",
    "plot_training_log",
    "resize_and_crop_images",
    "upgrade_net_proto_binary",
    "upgrade_net_proto_text",
    "upgrade_solver_proto_text",
];

/// The name of a program without its folder.
pub fn name(program: &OsStr) -> String {
    let last = Path::new(program).file_name().unwrap_or(program);
    last.to_string_lossy().to_string()
}

/// The command that a program of this name runs, if it is one of Caffe's tools; `has` says which commands
/// there are.
pub fn command(program: &OsStr, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let mut name = name(program).to_ascii_lowercase();
    for end in [".exe", ".bin", ".py", "-d"] {
        if let Some(stem) = name.strip_suffix(end) {
            name = stem.to_owned();
        }
    }
    let name = name.replace('-', "_");
    let same = TOOLS.iter().copied().filter(|tool| *tool == name);
    let other = RENAMED.iter().filter(|r| r.0 == name).map(|r| r.1);
    same.chain(other).find(|command| has(command))
}

/// The arguments, program name first, with the command that the program's name says.
pub fn with_command(mut args: Vec<OsString>, has: impl Fn(&str) -> bool) -> Vec<OsString> {
    let found = args.first().and_then(|program| command(program, has));
    if let Some(found) = found {
        args.insert(1, found.into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_known_by_its_programs_name() {
        let has = |name: &str| ["convert_imageset", "parse_log", "draw"].contains(&name);
        for (program, wanted) in [
            (
                "/opt/caffe/build/tools/convert_imageset",
                Some("convert_imageset"),
            ),
            ("convert_imageset.bin", Some("convert_imageset")),
            ("convert_imageset.bin.exe", Some("convert_imageset")),
            ("convert-imageset-d", Some("convert_imageset")),
            ("./parse_log.py", Some("parse_log")),
            ("draw_net.py", Some("draw")),
            ("detect.py", None),
            ("caffe", None),
            ("caffe.bin", None),
            ("dsd", None),
            ("dsd-test", None),
            ("", None),
        ] {
            assert_eq!(command(OsStr::new(program), has), wanted, "{program}");
        }
        let args = ["parse_log.py", "a", "b"].map(OsString::from).to_vec();
        assert_eq!(with_command(args, has)[1], "parse_log");
        assert!(with_command(Vec::new(), has).is_empty());
    }
}

//! Conversions against what Caffe's own tools made (`../shared/goldens/formats`), and the rules one by one.

use std::path::{Path, PathBuf};

use super::*;
use crate::proto::{binary, load_net, load_weights, parse, read_net};

fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new("../shared/goldens/formats").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

fn net(text: &str) -> Parsed<NetParameter> {
    parse(text, "net.prototxt").unwrap()
}

#[test]
fn old_texts_become_what_caffe_makes_of_them() {
    for name in ["tiny_v0", "tiny_v1"] {
        let Some(old) = golden(&format!("{name}.prototxt")) else {
            return;
        };
        let Some(new) = golden(&format!("{name}_upgraded.prototxt")) else {
            return;
        };
        let (upgraded, notes) = load_net(&old).unwrap();
        assert!(!notes.is_empty());
        let wanted = read_net(&new).unwrap();
        assert_eq!(upgraded.message, wanted.message, "{name}");
        // The printed form is Caffe's own, byte for byte.
        let text = std::fs::read_to_string(&new).unwrap();
        assert_eq!(
            crate::proto::print(&upgraded.message).trim_end(),
            text.trim_end(),
            "{name}"
        );
    }
}

#[test]
fn old_weights_become_what_caffe_makes_of_them() {
    for name in ["tiny_v0", "tiny_v1"] {
        let Some(old) = golden(&format!("{name}.caffemodel")) else {
            return;
        };
        let Some(new) = golden(&format!("{name}_upgraded.caffemodel")) else {
            return;
        };
        let (upgraded, _) = load_weights(&old).unwrap();
        assert_eq!(upgraded, binary::read_caffemodel(&new).unwrap(), "{name}");
    }
}

#[test]
fn a_net_of_today_stays_as_it_is() {
    let mut today = net("layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'x' }");
    let before = today.clone();
    assert!(upgrade_parsed(&mut today).unwrap().is_empty());
    assert_eq!(today, before);
}

#[test]
fn input_fields_become_an_input_layer() {
    let wanted = net("layer { name: 'input' type: 'Input' top: 'data' input_param { shape { dim: [1, 3, 8, 9] } } }
        layer { name: 'a' }");
    let dims = "name: 'n' input_dim: 1 input_dim: 3\ninput: 'data' input_dim: 8 input_dim: 9\nlayer { name: 'a' }";
    let shape = "name: 'n' input_shape { dim: [1, 3, 8, 9] }\ninput: 'data'\nlayer { name: 'a' }";
    for text in [dims, shape] {
        let mut old = net(text);
        assert_eq!(upgrade_parsed(&mut old).unwrap().len(), 1);
        assert_eq!(old.message.layer, wanted.message.layer);
        assert_eq!((old.lines.layer(0), old.lines.layer(1)), (Some(2), Some(3)));
    }
}

#[test]
fn inputs_and_shapes_must_agree() {
    let error = |text| upgrade_net(&mut net(text).message).unwrap_err().to_string();
    assert!(error("input: 'a' input_dim: 1").contains("need 4 `input_dim`"));
    assert!(
        error("input: 'a' input: 'b' input_shape { dim: 1 }").contains("as many `input_shape`")
    );
}

#[test]
fn layer_and_layers_do_not_mix() {
    let error = upgrade_parsed(&mut net("layers { name: 'a' } layer { name: 'b' }")).unwrap_err();
    assert!(format!("{error:#}").starts_with("net.prototxt: the net has both"));
}

#[test]
fn old_data_settings_move_to_the_transform() {
    let mut old = net(
        "layers { type: DATA data_param { source: 's' scale: 2 crop_size: 3 mirror: true mean_file: 'm' } }",
    );
    upgrade_parsed(&mut old).unwrap();
    let new = net("layer { type: 'Data' data_param { source: 's' }
        transform_param { scale: 2 crop_size: 3 mirror: true mean_file: 'm' } }");
    assert_eq!(old.message, new.message);
}

#[test]
fn v1_params_keep_names_modes_and_rates() {
    let mut old = net("layers { type: INNER_PRODUCT param: 'w' param: 'b' blob_share_mode: PERMISSIVE
        blobs_lr: 1 blobs_lr: 2 blobs_lr: 3 weight_decay: 0.5 include { phase: TRAIN } loss_weight: 2 }");
    upgrade_parsed(&mut old).unwrap();
    let new = net(
        "layer { type: 'InnerProduct' include { phase: TRAIN } loss_weight: 2
        param { name: 'w' share_mode: PERMISSIVE lr_mult: 1 decay_mult: 0.5 }
        param { name: 'b' lr_mult: 2 } param { lr_mult: 3 } }",
    );
    assert_eq!(old.message, new.message);
}

#[test]
fn v0_padding_goes_into_the_convolution() {
    let mut old = net("input: 'data' input_dim: [1, 1, 8, 8]
        layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'data' top: 'padded' }
        layers { layer { name: 'c' type: 'conv' num_output: 3 kernelsize: 5 biasterm: false }
          bottom: 'padded' top: 'c' }");
    upgrade_parsed(&mut old).unwrap();
    let new = net(
        "layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c'
        convolution_param { num_output: 3 kernel_size: 5 pad: 2 bias_term: false } }",
    );
    assert_eq!(old.message.layer[1..], new.message.layer);
    assert_eq!((old.lines.layer(0), old.lines.layer(1)), (Some(1), Some(3)));
}

#[test]
fn v0_settings_of_another_type_are_dropped_with_a_note() {
    let mut old = net("layers { layer { name: 'r' type: 'relu' kernelsize: 3 } }");
    let notes = upgrade_parsed(&mut old).unwrap();
    assert!(
        notes.iter().any(|n| n.contains("dropped `kernelsize`")),
        "{notes:?}"
    );
    let unknown =
        upgrade_parsed(&mut net("layers { layer { name: 'r' type: 'rely' } }")).unwrap_err();
    assert!(format!("{unknown:#}").contains("no V0 layer type `rely`"));
}

#[test]
fn batch_norm_is_frozen() {
    let mut old = net(
        "layer { name: 'bn' type: 'BatchNorm' param {} param { name: 'v' } param { lr_mult: 1 } }",
    );
    assert_eq!(upgrade_parsed(&mut old).unwrap().len(), 1);
    assert!(
        old.message.layer[0]
            .param
            .iter()
            .all(|p| p.lr_mult == Some(0.0) && p.decay_mult == Some(0.0))
    );
    assert_eq!(old.message.layer[0].param[1].name(), "v");
    assert!(upgrade_parsed(&mut old).unwrap().is_empty());
}

#[test]
fn the_solvers_enum_becomes_a_name() {
    let mut solver: SolverParameter = parse("solver_type: ADAGRAD", "s").unwrap().message;
    upgrade_solver(&mut solver).unwrap();
    assert_eq!((solver.solver_type, solver.r#type()), (None, "AdaGrad"));
    solver.solver_type = Some(1);
    assert!(upgrade_solver(&mut solver).is_err());
}

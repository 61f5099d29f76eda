use crate::proto::caffe::pooling_parameter::RoundMode;
use crate::proto::{NetParameter, SolverParameter, parse, upgrade_net};

fn net(text: &str) -> (NetParameter, Option<String>) {
    match parse::<NetParameter>(text, "n") {
        Ok(parsed) => (parsed.message, parsed.lines.ignored),
        Err(e) => panic!("{text}: {e}"),
    }
}

fn error(text: &str) -> String {
    let error = parse::<NetParameter>(text, "n").expect_err(text);
    error.to_string()
}

#[test]
fn what_changes_no_numbers_is_ignored_with_one_line() {
    let text = "base_lr: 0.1 eval_type: 'detection' ap_version: \"11point\"\nshow_per_class_result: true\n\
                device_id: [0, 1] larc: false max_iter: 3";
    let parsed = parse::<SolverParameter>(text, "s").unwrap();
    assert_eq!(parsed.message.max_iter, Some(3));
    let line = parsed.lines.ignored.unwrap();
    assert_eq!(line.lines().count(), 1);
    for part in [
        "eval_type",
        "ap_version",
        "show_per_class_result",
        "device_id",
        "larc",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let (message, line) = net(
        "name: 'a' bn_stats_batch_size: 32\nlayer { name: 'c' type: 'Convolution' convolution_param { engine: MKL2017 \
         num_output: 3 } }\nlayer { name: 'b' type: 'BatchNorm' batch_norm_param { engine: MKLDNN eps: 1 } }\n\
         layer { name: 'r' type: 'ReLU' engine: \"MKLDNN:DNN\" relu_param { engine: CAFFE } }",
    );
    assert_eq!(message.layer.len(), 3);
    assert_eq!(
        message.layer[0]
            .convolution_param
            .as_ref()
            .unwrap()
            .num_output,
        Some(3)
    );
    let line = line.unwrap();
    for part in ["engine: MKL2017", "engine: MKLDNN", "bn_stats_batch_size"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(
        net("layer { type: 'ReLU' relu_param { engine: CAFFE } }").1,
        None
    );
}

#[test]
fn the_settings_of_a_layer_of_a_fork_go_with_it() {
    let (message, line) = net(
        "layer { name: 'bn' type: \"BN\" bn_param { bn_mode: INFERENCE slope { x: [1, { y: 2 }] } } bottom: 'a' top: 'b' }\n\
         layer { name: 'r' type: 'PSROIPooling' psroi_pooling_param: < group_size: 7 > }",
    );
    assert_eq!(message.layer.len(), 2);
    assert_eq!(message.layer[0].top, ["b"]);
    assert_eq!(line, None);
}

#[test]
fn a_misspelt_block_of_a_known_layer_is_an_error() {
    assert_eq!(
        error("layer { type: 'Convolution' convolution_parm { } }"),
        "n:1:29: LayerParameter has no field `convolution_parm`; did you mean `convolution_param`?"
    );
    let open = error("layer { type: 'BN' bn_param { ");
    assert!(open.contains("closed"), "{open}");
    assert!(
        error("layer { type: 'Convolution' convolution_param { engine: CUDN } }")
            .ends_with("did you mean `CUDNN`?")
    );
}

#[test]
fn a_field_that_changes_numbers_is_an_error_that_says_whose_it_is() {
    let said = error("layer { type: 'Convolution' quantization_param { bw: 8 } }");
    assert!(
        said.starts_with(
            "n:1:29: `quantization_param` is a field of Intel's Caffe, a fork; it changes numbers"
        ),
        "{said}"
    );
    let said = parse::<SolverParameter>("larc: true", "s")
        .unwrap_err()
        .to_string();
    assert!(said.contains("NVIDIA's Caffe, a fork"), "{said}");
}

#[test]
fn ceil_mode_is_caffes_round_mode() {
    let pooling = |text: &str| {
        let text = format!(
            "layer {{ name: 'p' type: 'Pooling' pooling_param {{ kernel_size: 3 {text} }} }}"
        );
        let (mut message, _) = net(&text);
        let notes = upgrade_net(&mut message);
        (notes, message.layer[0].pooling_param.unwrap())
    };
    let (notes, p) = pooling("ceil_mode: false");
    assert_eq!(
        notes.unwrap(),
        ["layer `p`: converted ceil_mode: false to round_mode: FLOOR"]
    );
    assert_eq!((p.round_mode(), p.ceil_mode), (RoundMode::Floor, None));
    let (notes, p) = pooling("ceil_mode: true");
    assert!(notes.unwrap().is_empty());
    assert_eq!((p.round_mode, p.ceil_mode), (None, None));
    assert!(pooling("ceil_mode: true round_mode: FLOOR").0.is_err());
}

//! The upgrade tools, and the mean file that belongs to the same net.

use std::fs;
use std::path::Path;

use dsd::proto::{binary, blob, load_net, load_weights, read_net, read_solver};

use crate::formats::{data, dsd, fail, run};

#[test]
fn texts_become_what_caffe_makes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["tiny_v0", "tiny_v1"] {
        let old = data(&format!("{name}.prototxt"));
        let log = run(
            at,
            &[
                "upgrade_net_proto_text",
                old.to_str().unwrap(),
                "new.prototxt",
            ],
        );
        assert!(log.contains("] Wrote upgraded NetParameter text proto to new.prototxt\n"));
        let wanted = data(&format!("{name}_upgraded.prototxt"));
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(text(&at.join("new.prototxt")), text(&wanted), "{name}");
        let new = read_net(&at.join("new.prototxt")).unwrap().message;
        assert_eq!(new, read_net(&wanted).unwrap().message);
        assert_eq!(new, load_net(&old).unwrap().0.message);
    }
    // What is of today stays, in place too.
    let log = run(
        at,
        &["upgrade_net_proto_text", "new.prototxt", "new.prototxt"],
    );
    assert!(
        log.contains("File already in latest proto format: new.prototxt"),
        "{log}"
    );
    let new = read_net(&at.join("new.prototxt")).unwrap().message;
    let wanted = read_net(&data("tiny_v1_upgraded.prototxt"))
        .unwrap()
        .message;
    assert_eq!(new, wanted);
}

#[test]
fn weights_become_what_caffe_makes_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["tiny_v0", "tiny_v1"] {
        let old = data(&format!("{name}.caffemodel"));
        let log = run(
            at,
            &[
                "upgrade_net_proto_binary",
                old.to_str().unwrap(),
                "new.caffemodel",
            ],
        );
        assert!(log.contains("] Wrote upgraded NetParameter binary proto to new.caffemodel\n"));
        let new = binary::read_caffemodel(&at.join("new.caffemodel")).unwrap();
        let wanted = data(&format!("{name}_upgraded.caffemodel"));
        assert_eq!(new, binary::read_caffemodel(&wanted).unwrap(), "{name}");
        assert_eq!(new, load_weights(&old).unwrap().0);
    }
}

#[test]
fn solvers_get_a_name_for_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let old = "net: 'a.prototxt' solver_type: ADADELTA base_lr: 1e-5 delta: 0.1 test_iter: 3";
    fs::write(at.join("old"), old).unwrap();
    let log = run(at, &["upgrade_solver_proto_text", "old", "new"]);
    assert!(
        log.contains("] Wrote upgraded SolverParameter text proto to new\n"),
        "{log}"
    );
    fs::write(
        at.join("wanted"),
        old.replace("solver_type: ADADELTA", "type: 'AdaDelta'"),
    )
    .unwrap();
    let read = |name: &str| read_solver(&at.join(name)).unwrap().message;
    assert_eq!(read("new"), read("wanted"));
    let log = run(at, &["upgrade_solver_proto_text", "new", "newer"]);
    assert!(
        log.contains("File already in latest proto format: new"),
        "{log}"
    );
    assert_eq!(read("newer"), read("wanted"));
}

#[test]
fn a_setting_that_has_no_place_fails_after_writing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let old =
        "layers { layer { name: 'r' type: 'relu' kernelsize: 3 } bottom: 'x' top: 'x' } input: 'x'";
    fs::write(at.join("old"), old).unwrap();
    let output = dsd(at)
        .args(["upgrade_net_proto_text", "old", "new"])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("dropped `kernelsize`"), "{log}");
    let new = read_net(&at.join("new")).unwrap().message;
    assert_eq!(new.layer[0].r#type(), "ReLU");
}

#[test]
fn usage_and_missing_files_are_told_apart() {
    let at = Path::new(".");
    for tool in [
        "upgrade_net_proto_text",
        "upgrade_net_proto_binary",
        "upgrade_solver_proto_text",
    ] {
        dsd(at).args([tool, "one"]).assert().code(2);
        let error = fail(at, &[tool, "no/such", "/tmp/never"]);
        assert_eq!(
            error,
            "error: cannot read no/such: No such file or directory"
        );
    }
}

#[test]
fn old_nets_test_train_and_run_as_they_are() {
    let Some(goldens) = crate::formats::goldens("solvers") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    crate::formats::copy(&goldens, &["tiny_lmdb"], at);
    let names = ["tiny_v0.prototxt", "tiny_v1.prototxt"];
    crate::formats::copy(&data(""), &names, at);
    crate::formats::copy(&data(""), &["tiny_v0.caffemodel", "tiny_v1.caffemodel"], at);
    crate::formats::copy(&data(""), &["tiny_mean.binaryproto"], at);
    let mut outputs = Vec::new();
    for name in ["tiny_v0", "tiny_v1"] {
        let (model, weights) = (
            format!("--model={name}.prototxt"),
            format!("--weights={name}.caffemodel"),
        );
        let log = run(
            at,
            &[
                "test",
                &model,
                &weights,
                "--iterations=2",
                "--source=tiny_lmdb",
            ],
        );
        let loss = log
            .lines()
            .find_map(|l| l.split_once("] Loss: "))
            .unwrap()
            .1;
        outputs.push(loss.to_string());
        let solver = format!(
            "net: '{name}.prototxt' base_lr: 0.01 lr_policy: 'fixed' max_iter: 2 solver_type: SGD"
        );
        fs::write(at.join("s.prototxt"), solver).unwrap();
        run(
            at,
            &[
                "train",
                "--solver=s.prototxt",
                &weights,
                "--source=tiny_lmdb",
            ],
        );
    }
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn the_mean_file_has_its_shape() {
    let mean = binary::read_blob(&data("tiny_mean.binaryproto")).unwrap();
    assert_eq!(blob::shape(&mean).unwrap(), [1, 3, 12, 12]);
    let values = blob::values(&mean).unwrap();
    assert!(values.iter().all(|v| (0.0..=255.0).contains(v)));
}

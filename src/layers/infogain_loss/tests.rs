use super::*;
use crate::kernels::noise;
use crate::layers::Coupling;
use crate::layers::check::{Check, layer, layer_in};

#[test]
fn gradients() {
    let labels = vec![0., 1., 2., 2., 1., 0.];
    for (param, axis, scores) in [
        ("", 1, &[2, 3, 3][..]),
        ("loss_param { ignore_label: 1 }", 1, &[2, 3, 3]),
        (
            "loss_param { ignore_label: 1 normalization: FULL }",
            1,
            &[2, 3, 3],
        ),
        ("loss_param { normalization: BATCH_SIZE }", -1, &[2, 3, 3]),
        ("loss_param { normalization: NONE }", 2, &[2, 3, 3]),
    ] {
        let loss = layer(&format!(
            "type: 'InfogainLoss' bottom: 'x' bottom: 'label' bottom: 'H' \
             infogain_loss_param {{ axis: {axis} }} {param}"
        ));
        let check = Check {
            fixed: vec![(1, labels.clone()), (2, noise(7, 9))],
            ..Check::default()
        };
        check.run(&*loss, &[scores, &[2, 3], &[3, 3]]);
    }
}

#[test]
fn the_matrix_can_be_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "type: 'InfogainLoss' bottom: 'x' bottom: 'label' infogain_loss_param {{ source: '{}' }}",
        file.path().display()
    );
    // The identity makes it a SoftmaxWithLoss.
    let identity = [1., 0., 0., 0., 1., 0., 0., 0., 1.];
    std::fs::write(
        file.path(),
        blob::blob(&[1, 1, 3, 3], &identity).encode_to_vec(),
    )
    .unwrap();
    let loss = layer(&text);
    let shapes = [Shape::new([2, 3, 2]), Shape::new([2, 2])];
    assert_eq!(
        loss.facts(&shapes).coupling,
        Coupling::Mean { labels: Some(1) }
    );
    let check = Check {
        fixed: vec![(1, vec![2., 1., 0., 0.])],
        ..Check::default()
    };
    check.run(&*loss, &[&[2, 3, 2], &[2, 2]]);
    let e = loss.shapes(&[Shape::new([2, 4]), Shape::new([2])]);
    let e = e.unwrap_err().to_string();
    assert!(e.contains("H has 9 values") && e.contains("need 16"), "{e}");

    std::fs::write(file.path(), [0xff; 3]).unwrap();
    let e = layer_in(&text, Mode::Train).err().unwrap();
    assert!(format!("{e:#}").contains("not a BlobProto file"), "{e:#}");
}

#[test]
fn the_matrix_must_come_from_somewhere() {
    let e = layer_in("type: 'InfogainLoss' bottom: 'x' bottom: 'y'", Mode::Train);
    assert!(
        e.err()
            .unwrap()
            .to_string()
            .contains("infogain_loss_param.source")
    );
}

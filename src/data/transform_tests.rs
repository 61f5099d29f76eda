use super::*;
use crate::random::Purpose;

fn random() -> Random {
    Random::new(1, Purpose::Transform, 0)
}

fn transform(param: &TransformationParameter, mode: Mode) -> Result<Transform> {
    Transform::new(param, mode, random(), &|name| PathBuf::from(name))
}

fn crop_mirror(crop: u32, mirror: bool) -> TransformationParameter {
    TransformationParameter {
        crop_size: Some(crop),
        mirror: Some(mirror),
        ..Default::default()
    }
}

/// 1 x 4 x 5 pixels: 10 * row + column.
fn ramp() -> Vec<u8> {
    (0..20).map(|i| (10 * (i / 5) + i % 5) as u8).collect()
}

fn apply(t: &Transform, number: u64) -> Vec<f32> {
    let bytes = ramp();
    let picture = Picture {
        dims: [1, 4, 5],
        pixels: Pixels::Bytes(&bytes),
    };
    let mut out = vec![f32::NAN; t.output(picture.dims).unwrap().iter().product()];
    t.apply(&picture, number, &mut out).unwrap();
    out
}

#[test]
fn test_crops_the_centre_and_may_mirror() {
    let t = transform(&crop_mirror(2, true), Mode::Test).unwrap();
    let plain = vec![11.0, 12.0, 21.0, 22.0];
    let mirrored = vec![12.0, 11.0, 22.0, 21.0];
    let outs: Vec<_> = (0..200).map(|n| apply(&t, n)).collect();
    assert!(outs.iter().all(|o| *o == plain || *o == mirrored));
    let share = outs.iter().filter(|o| **o == mirrored).count();
    assert!((60..140).contains(&share), "{share} of 200 mirrored");
}

#[test]
fn train_crops_everywhere_and_alike_for_the_same_number() {
    let t = transform(&crop_mirror(3, false), Mode::Train).unwrap();
    let corners: std::collections::BTreeSet<u32> =
        (0..200).map(|n| apply(&t, n)[0] as u32).collect();
    assert_eq!(
        corners.into_iter().collect::<Vec<_>>(),
        [0, 1, 2, 10, 11, 12]
    );
    assert_eq!(apply(&t, 77), apply(&t, 77));
}

#[test]
fn the_mean_picture_is_cropped_and_mirrored_with_the_picture() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mean.binaryproto");
    let values: Vec<f32> = ramp().iter().map(|&v| f32::from(v)).collect();
    binary::write(&file, &blob::blob(&[1, 1, 4, 5], &values)).unwrap();
    let name = file.to_str().unwrap().to_string();
    for mode in [Mode::Train, Mode::Test] {
        let param = TransformationParameter {
            mean_file: Some(name.clone()),
            ..crop_mirror(2, true)
        };
        let t = transform(&param, mode).unwrap();
        assert!((0..50).all(|n| apply(&t, n) == [0.0; 4]));
        let error = t.output([3, 4, 5]).unwrap_err().to_string();
        assert!(
            error.contains("is 1 x 4 x 5") && error.contains("3 x 4 x 5"),
            "{error}"
        );
    }
    let both = TransformationParameter {
        mean_file: Some(name),
        mean_value: vec![1.0],
        ..Default::default()
    };
    let error = transform(&both, Mode::Test).unwrap_err().to_string();
    assert_eq!(
        error,
        "transform_param has both mean_file and mean_value; keep one"
    );
}

#[test]
fn bytes_and_floats_give_the_same() {
    let param = TransformationParameter {
        scale: Some(0.3),
        mean_value: vec![7.5],
        ..crop_mirror(3, true)
    };
    let t = transform(&param, Mode::Train).unwrap();
    let floats: Vec<f32> = ramp().iter().map(|&v| f32::from(v)).collect();
    let picture = Picture {
        dims: [1, 4, 5],
        pixels: Pixels::Floats(&floats),
    };
    for n in 0..20 {
        let mut out = vec![0.0; 9];
        t.apply(&picture, n, &mut out).unwrap();
        assert_eq!(out, apply(&t, n));
    }
}

#[test]
fn impossible_parameters_are_told() {
    let error = transform(&crop_mirror(5, false), Mode::Test)
        .unwrap()
        .output([1, 4, 5])
        .unwrap_err();
    let wanted = "crop_size 5 does not fit into the picture, 1 x 4 x 5 (channels, height, width)";
    assert_eq!(error.to_string(), wanted);
    let means = TransformationParameter {
        mean_value: vec![1.0, 2.0],
        ..Default::default()
    };
    let error = transform(&means, Mode::Test)
        .unwrap()
        .output([3, 4, 5])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected 1 mean_value or one for each of 3 channels, found 2"
    );
    let both = TransformationParameter {
        force_color: Some(true),
        force_gray: Some(true),
        ..Default::default()
    };
    assert!(
        transform(&both, Mode::Test)
            .unwrap_err()
            .to_string()
            .contains("both force_color and force_gray")
    );
    let absent = TransformationParameter {
        mean_file: Some("/no/mean".into()),
        ..Default::default()
    };
    let error = format!("{:#}", transform(&absent, Mode::Test).unwrap_err());
    assert!(
        error.starts_with("mean_file is missing; `dsd compute_image_mean")
            && error.contains("/no/mean"),
        "{error}"
    );
}

/// A .npy file of float64, as numpy.save writes it.
fn npy(path: &Path, shape: &str, values: &[f64]) {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_mean_may_be_numpys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mean.npy");
    let with = || TransformationParameter {
        mean_file: Some(path.display().to_string()),
        ..Default::default()
    };
    let values: Vec<f64> = (0..20).map(f64::from).collect();
    for shape in ["(1, 4, 5)", "(1L, 1L, 4L, 5L)"] {
        npy(&path, shape, &values);
        let out = apply(&transform(&with(), Mode::Test).unwrap(), 0);
        let wanted: Vec<f32> = ramp()
            .iter()
            .zip(&values)
            .map(|(p, m)| f32::from(*p) - *m as f32)
            .collect();
        assert_eq!(out, wanted);
    }
    npy(&path, "(1,)", &[2.5]);
    let out = apply(&transform(&with(), Mode::Test).unwrap(), 0);
    assert_eq!(out[7], 12.0 - 2.5);
    npy(&path, "(3,)", &[1.0, 2.0, 3.0]);
    let t = transform(&with(), Mode::Test).unwrap();
    assert!(t.output([1, 4, 5]).is_err() && t.output([3, 4, 5]).is_ok());
    for (shape, count, wanted) in [
        ("(4, 5, 1, 1, 1)", 20, "expected channels, height, width"),
        ("(1, 4, 5)", 19, "expected 160 bytes"),
        ("(0,)", 0, "it is empty"),
    ] {
        npy(&path, shape, &values[..count]);
        let error = format!("{:#}", transform(&with(), Mode::Test).unwrap_err());
        assert!(
            error.contains(wanted) && error.contains("mean.npy"),
            "{error}"
        );
    }
}

#[test]
fn a_border_of_the_mean_is_cropped_into() {
    let padded = TransformationParameter {
        pad: Some(2),
        mean_value: vec![7.0],
        ..crop_mirror(4, true)
    };
    // The picture within its border, as it comes out.
    let at = |row: isize, column: isize| match (0..4).contains(&row) && (0..5).contains(&column) {
        true => (10 * row + column) as f32 - 7.0,
        false => 0.0,
    };
    let t = transform(&padded, Mode::Train).unwrap();
    let cut = |top: isize, left: isize, mirror: bool| -> Vec<f32> {
        let column = |c: isize| if mirror { 3 - c } else { c };
        let rows = (0..4).flat_map(|r| (0..4).map(move |c| (r, c)));
        rows.map(|(r, c)| at(top + r - 2, left + column(c) - 2))
            .collect()
    };
    let all: Vec<Vec<f32>> = (0..=4)
        .flat_map(|top| (0..=5).map(move |left| (top, left)))
        .flat_map(|(top, left)| [cut(top, left, false), cut(top, left, true)])
        .collect();
    let seen: Vec<Vec<f32>> = (0..2000).map(|n| apply(&t, n)).collect();
    assert!(seen.iter().all(|out| all.contains(out)));
    assert!(
        all.iter().all(|out| seen.contains(out)),
        "some place is never cut"
    );
    // From the middle, the border goes again.
    let plain = TransformationParameter {
        pad: None,
        ..padded.clone()
    };
    let [with, without] = [&padded, &plain].map(|p| transform(p, Mode::Test).unwrap());
    assert!((0..20).all(|n| apply(&with, n) == apply(&without, n)));
    // Without a crop it stays.
    let whole = TransformationParameter {
        crop_size: None,
        mirror: None,
        ..padded
    };
    let whole = transform(&whole, Mode::Test).unwrap();
    assert_eq!(whole.output([1, 4, 5]).unwrap(), [1, 8, 9]);
    let out = apply(&whole, 0);
    assert!((0..72).all(|i| out[i] == at((i / 9) as isize - 2, (i % 9) as isize - 2)));
}

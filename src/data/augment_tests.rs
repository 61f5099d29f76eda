use super::*;
use crate::proto::caffe::emit_constraint::EmitType;
use crate::random::Purpose;

fn of(text: &str) -> Result<Augment> {
    let text = format!("layer {{ type: 'Data' transform_param {{ {text} }} }}");
    let net = crate::proto::parse::<crate::proto::NetParameter>(&text, "n")?;
    let param = net.message.layer[0].transform_param.clone();
    Augment::new(&param.unwrap_or_default())
}

fn applied(text: &str, planes: &[u8], dims: [usize; 3], number: u64) -> ([usize; 3], Vec<u8>) {
    let augment = of(text).unwrap();
    let picture = Picture {
        dims,
        pixels: Pixels::Bytes(planes),
    };
    let random = Random::new(1, Purpose::Transform, 3).branch(number);
    let (found, planes) = augment.apply(&picture, random).unwrap();
    assert_eq!(found.iter().product::<usize>(), planes.len(), "{text}");
    if augment.resize.is_some() && augment.expand.is_none() {
        assert_eq!(augment.output(dims), found, "{text}");
    }
    (found, planes)
}

#[test]
fn the_three_ways_to_a_size() {
    // 2 rows of 4 columns.
    let planes = [10, 20, 30, 40, 50, 60, 70, 80];
    let size = |text: &str| applied(text, &planes, [1, 2, 4], 0);
    assert_eq!(size("resize_param { height: 6 width: 3 }").0, [1, 6, 3]);
    let (dims, out) = size(
        "resize_param { resize_mode: FIT_SMALL_SIZE height: 4 width: 4 interp_mode: NEAREST }",
    );
    assert_eq!(dims, [1, 4, 8]);
    assert_eq!(out[..8], [10, 10, 20, 20, 30, 30, 40, 40]);
    let (dims, out) = size(
        "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 4 width: 4 interp_mode: NEAREST pad_value: 7 }",
    );
    assert_eq!(dims, [1, 4, 4]);
    assert_eq!(
        out,
        [7, 7, 7, 7, 10, 20, 30, 40, 50, 60, 70, 80, 7, 7, 7, 7]
    );
    let pad = |mode: &str| {
        size(&format!(
            "resize_param {{ resize_mode: FIT_LARGE_SIZE_AND_PAD height: 4 width: 4 pad_mode: {mode} }}"
        ))
        .1
    };
    assert_eq!(pad("REPEAT_NEAREST")[..4], [10, 20, 30, 40]);
    assert_eq!(pad("MIRRORED")[..4], [50, 60, 70, 80]);
}

#[test]
fn distortion_is_random_and_repeats() {
    let text = "distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5 \
                contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5 \
                saturation_upper: 1.5 random_order_prob: 0.5 }";
    let planes: Vec<u8> = (0..75).map(|i| i * 3).collect();
    let of = |number| applied(text, &planes, [3, 5, 5], number).1;
    assert_eq!(of(4), of(4));
    let different: std::collections::BTreeSet<_> = (0..20).map(of).collect();
    assert!(different.len() > 12, "{}", different.len());
    let never = applied(
        "distort_param { brightness_prob: 0 }",
        &planes,
        [3, 5, 5],
        1,
    );
    assert_eq!(never.1, planes);
    let always = "distort_param { brightness_prob: 1 brightness_delta: 0 contrast_prob: 1 contrast_lower: 2 \
                  contrast_upper: 2 }";
    let twice: Vec<u8> = planes.iter().map(|v| v.saturating_mul(2)).collect();
    assert_eq!(applied(always, &planes, [3, 5, 5], 1).1, twice);
}

#[test]
fn an_expanded_picture_lies_in_the_mean() {
    let text = "mean_value: 100 expand_param { prob: 1 max_expand_ratio: 4 } \
                resize_param { height: 8 width: 8 interp_mode: NEAREST }";
    let planes = [200; 64];
    let (dims, out) = applied(text, &planes, [1, 8, 8], 5);
    assert_eq!(dims, [1, 8, 8]);
    assert!(out.contains(&100) && out.iter().all(|v| [100, 200].contains(v)));
    let sizes: std::collections::BTreeSet<usize> = (0..20)
        .map(|n| applied(text, &planes, [1, 8, 8], n).1)
        .map(|out| out.iter().filter(|v| **v == 200).count())
        .collect();
    assert!(sizes.len() > 5);
}

#[test]
fn mistakes_are_told() {
    for (text, part) in [
        ("resize_param { width: 4 }", "needs height and width"),
        (
            "resize_param { width: 4 height: 4 } resize_param { }",
            "2 resize_param blocks",
        ),
        (
            "expand_param { max_expand_ratio: 4 }",
            "a resize_param must follow",
        ),
        (
            "distort_param { contrast_lower: 2 contrast_upper: 1 }",
            "contrast_upper (1)",
        ),
        (
            "distort_param { hue_delta: -1 }",
            "hue_delta must not be negative",
        ),
        ("noise_param { convert_to_lab: true }", "not supported"),
    ] {
        let said = of(text).unwrap_err().to_string();
        assert!(said.contains(part), "{text}: {said}");
    }
    let gray = Picture {
        dims: [1, 1, 1],
        pixels: Pixels::Bytes(&[1]),
    };
    let random = Random::new(1, Purpose::Transform, 3);
    let said = of("distort_param { hue_prob: 1 }")
        .unwrap()
        .apply(&gray, random);
    assert!(said.unwrap_err().to_string().contains("has 1 channels"));
    // Of boxes only.
    assert!(
        of("emit_constraint { emit_type: CENTER }")
            .unwrap()
            .is_none()
    );
    assert_eq!(EmitType::Center as i32, 0);
}

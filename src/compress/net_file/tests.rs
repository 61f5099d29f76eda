//! Small files made by hand, and the published one.

use super::*;

/// Two layers: `conv` (8 bits) and `fc` (4 bits).
fn layers() -> [NetLayer; 2] {
    [NetLayer::new("conv", 20, 2), NetLayer::new("fc", 6, 1)]
}

fn sample() -> Vec<u8> {
    let mut file = Vec::new();
    for n in [3u32, 3] {
        file.extend(n.to_le_bytes());
    }
    // conv: code 7 at 1, padding at 17 (gap 15), code 9 at 19.
    let mut codebook = [0.0f32; 256];
    (codebook[7], codebook[9]) = (0.5, -1.5);
    file.extend(codebook.iter().flat_map(|x| x.to_le_bytes()));
    file.extend([2.0f32, 3.0].iter().flat_map(|x| x.to_le_bytes()));
    file.extend([7, 0, 9]);
    file.extend([1 | 15 << 4, 1]);
    // fc: codes 1, 2, 3 at 0, 1, 5.
    let codebook: Vec<f32> = (0..16).map(|i| i as f32).collect();
    file.extend(codebook.iter().flat_map(|x| x.to_le_bytes()));
    file.extend(4.0f32.to_le_bytes());
    file.extend([1 | 2 << 4, 3]);
    file.extend([0, 3]);
    file
}

fn error(bytes: &[u8], layers: &[NetLayer]) -> String {
    format!("{:#}", decode(bytes, layers).unwrap_err())
}

#[test]
fn entries_stand_where_their_gaps_put_them() {
    let decoded = decode(&sample(), &layers()).unwrap();
    let mut weights = [0.0; 20];
    (weights[1], weights[19]) = (0.5, -1.5);
    assert_eq!(decoded[0].weights, weights);
    assert_eq!(decoded[0].biases, [2.0, 3.0]);
    assert_eq!((decoded[0].stored, decoded[0].padding), (3, 1));
    assert_eq!(decoded[1].weights, [1.0, 2.0, 0.0, 0.0, 0.0, 3.0]);
    assert_eq!(
        (
            decoded[1].codebook.bits(),
            decoded[1].codebook.values().len()
        ),
        (4, 16)
    );
    assert!(looks_like(&sample(), &layers()));
}

fn again(decoded: &[Decoded], layers: &[NetLayer]) -> Encoded {
    let entries = decoded.iter().map(|d| Entry {
        codebook: &d.codebook,
        weights: &d.weights,
        biases: &d.biases,
    });
    encode(layers, &entries.collect::<Vec<_>>()).unwrap()
}

#[test]
fn what_was_decoded_is_encoded_to_the_same_bytes() {
    let encoded = again(&decode(&sample(), &layers()).unwrap(), &layers());
    assert_eq!(encoded.bytes, sample());
    assert_eq!(encoded.layers.iter().sum::<usize>(), sample().len());
}

#[test]
fn runs_of_any_length_are_bridged_and_zeros_at_the_end_take_nothing() {
    for zeros in [0, 14, 15, 16, 17, 31, 32, 33, 100] {
        let mut weights = vec![0.0; zeros];
        weights.extend([-1.0, 0.0]);
        let layers = [NetLayer::new("conv", weights.len(), 0)];
        let codebook = Codebook::of_values(&weights, 1).unwrap();
        let entry = Entry {
            codebook: &codebook,
            weights: &weights,
            biases: &[],
        };
        let file = encode(&layers, &[entry]).unwrap().bytes;
        let decoded = decode(&file, &layers).unwrap().remove(0);
        assert_eq!((decoded.weights, decoded.padding), (weights, zeros / 16));
    }
}

#[test]
fn what_does_not_fit_the_layers_is_not_encoded() {
    let layers = [NetLayer::new("fc", 3, 1)];
    let book = |n: u8| Codebook::of_values(&(1..=n).map(f32::from).collect::<Vec<_>>(), 1).unwrap();
    let failed = |codebook: &Codebook, weights: &[f32], biases: &[f32]| {
        let entry = Entry {
            codebook,
            weights,
            biases,
        };
        format!("{:#}", encode(&layers, &[entry]).unwrap_err())
    };
    assert_eq!(
        failed(&book(3), &[1.0], &[0.0]),
        "layer \"fc\": expected 3 weights and 1 biases, found 1 and 1"
    );
    assert!(
        failed(&book(16), &[1.0; 3], &[0.0]).contains("codes of 4 bits, found a codebook of 5")
    );
    assert!(failed(&book(3), &[1.5; 3], &[0.0]).contains("all in the codebook"));
    assert!(failed(&book(3), &[1.0; 3], &[f32::NAN]).contains("finite biases"));
    assert!(encode(&layers, &[]).is_err());
}

#[test]
fn a_file_cut_anywhere_is_an_error_that_names_the_layer() {
    let file = sample();
    for end in 0..file.len() {
        let text = error(&file[..end], &layers());
        assert!(text.contains("truncated"), "{text}");
        assert!(!looks_like(&file[..end], &layers()));
    }
    let text = error(&file[..100], &layers());
    assert!(
        text.starts_with("cut: its counts make ")
            && text.contains(
                "layer \"conv\": expected 1024 bytes of its codebook at byte 8, found 92"
            ),
        "{text}"
    );
}

#[test]
fn bytes_left_over_are_an_error() {
    let mut file = sample();
    file.push(0);
    let text = error(&file, &layers());
    assert!(
        text.contains("found 1 more bytes: the model does not fit"),
        "{text}"
    );
    assert!(!looks_like(&file, &layers()));
}

#[test]
fn a_position_beyond_the_layer_is_an_error() {
    let mut small = layers();
    small[0].weights = 19;
    let text = error(&sample(), &small);
    assert!(
        text.contains("layer \"conv\": expected positions below its 19 weights"),
        "{text}"
    );
    assert!(text.contains("entry 2 of 3 at 19"), "{text}");
}

#[test]
fn absurd_counts_are_an_error_and_allocate_nothing() {
    let mut file = sample();
    file[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let text = error(&file, &layers());
    assert!(
        text.contains("at most its 20 weights, found 4294967295"),
        "{text}"
    );
    assert!(!looks_like(&file, &layers()));
    assert!(!looks_like(b"", &[]));
    let huge = [NetLayer::new("conv", usize::MAX, usize::MAX)];
    assert!(decode(&file, &huge).is_err());
    assert!(!looks_like(&file, &huge));
}

#[test]
fn a_codebook_that_is_none_is_an_error() {
    let mut file = sample();
    file[8..12].copy_from_slice(&1.0f32.to_le_bytes());
    let text = error(&file, &layers());
    // The 0 that each codebook begins with is what ends the counts.
    assert!(text.contains("found those of 3"), "{text}");
    let mut file = sample();
    file[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(error(&file, &layers()).contains("expected finite numbers in its codebook, found NaN"));
}

/// The layers of the published file: SqueezeNet v1.0.
fn squeezenet() -> Vec<NetLayer> {
    let mut layers = vec![NetLayer::new("conv1", 96 * 3 * 7 * 7, 96)];
    let mut inputs = 96;
    for (i, squeeze) in [16, 16, 32, 32, 48, 48, 64, 64].into_iter().enumerate() {
        let expand = 4 * squeeze;
        let mut layer = |part, weights, outputs| {
            layers.push(NetLayer::new(
                format!("fire{}/{part}", i + 2),
                weights,
                outputs,
            ));
        };
        layer("conv1x1_1", squeeze * inputs, squeeze);
        layer("conv1x1_2", expand * squeeze, expand);
        layer("conv3x3_2", expand * squeeze * 9, expand);
        inputs = 2 * expand;
    }
    layers.push(NetLayer::new("conv_final", 1000 * inputs, 1000));
    layers
}

#[test]
fn the_published_squeezenet_decodes_to_its_published_figures() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/squeezenet_deepcomp.net"
    );
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("skipped: no {path}");
        return;
    };
    let layers = squeezenet();
    assert!(looks_like(&bytes, &layers));
    let decoded = decode(&bytes, &layers).unwrap();
    assert_eq!((bytes.len(), decoded.len()), (675_763, 26));
    let sum = |f: fn(&Decoded) -> usize| decoded.iter().map(f).sum::<usize>();
    assert_eq!(sum(|d| d.weights.len()), 1_244_448);
    assert_eq!(sum(|d| d.stored), 422_083);
    assert_eq!(sum(|d| d.padding), 6_162);
    assert_eq!(
        sum(|d| d.weights.iter().filter(|&&w| w != 0.0).count()),
        415_921
    );
    assert!(again(&decoded, &layers).bytes == bytes);

    let mut other = squeezenet();
    other.swap(1, 2);
    assert!(!looks_like(&bytes, &other) && decode(&bytes, &other).is_err());
}

//! Round trips of every kind of blob, and files with every kind of damage.

use super::*;
use crate::kernels::noise;
use crate::tensor::Shape;

fn tensor(dims: &[usize], data: Vec<f32>) -> Tensor {
    let shape = Shape::from(dims);
    Tensor { shape, data }
}

/// Noise with a part of it zeroed.
fn sparse(seed: u64, n: usize, density: f32) -> Vec<f32> {
    let keep = noise(seed + 100, n);
    let zip = noise(seed, n).into_iter().zip(keep);
    zip.map(|(w, k)| if k < 2.0 * density - 1.0 { w } else { 0.0 })
        .collect()
}

/// The nearest of a few values.
fn coded(mut data: Vec<f32>, bits: u32) -> (Vec<f32>, Codebook) {
    let book = Codebook::k_means(&data, bits);
    let codes = book.assign(&data);
    book.decode(&codes, &mut data);
    (data, book)
}

fn write(layers: &[Layer]) -> Vec<u8> {
    let mut writer = Writer::new();
    for l in layers {
        let blobs: Vec<Blob> = l
            .blobs
            .iter()
            .map(|b| b.as_ref().map(|(t, c)| (t, c.as_ref())))
            .collect();
        writer
            .add(Encoded::new(&l.name, l.legacy, &blobs).unwrap())
            .unwrap();
    }
    writer.finish(&[])
}

fn layer(name: &str, blobs: Vec<Option<(Tensor, Option<Codebook>)>>) -> Layer {
    Layer {
        name: name.into(),
        legacy: false,
        blobs,
    }
}

fn plain(dims: &[usize], data: Vec<f32>) -> Option<(Tensor, Option<Codebook>)> {
    Some((tensor(dims, data), None))
}

/// A file with all kinds of blobs in a few hundred bytes.
fn small() -> Vec<Layer> {
    let (quantised, book) = coded(sparse(1, 60, 0.4), 3);
    let (dense, other) = coded(sparse(2, 24, 1.0), 2);
    vec![
        layer(
            "conv",
            vec![Some((tensor(&[5, 3, 4], quantised), Some(book))), None],
        ),
        Layer {
            legacy: true,
            ..layer(
                "fc/é",
                vec![
                    Some((tensor(&[1, 1, 4, 6], dense), Some(other))),
                    plain(&[3], noise(3, 3)),
                ],
            )
        },
        layer(
            "bn",
            vec![
                plain(&[40], sparse(4, 40, 0.2)),
                plain(&[], vec![0.5]),
                plain(&[0, 2], vec![]),
            ],
        ),
    ]
}

#[test]
fn every_kind_of_blob_comes_back() {
    let layers = small();
    let decoded = decode(&write(&layers)).unwrap();
    assert_eq!(decoded, layers);
    assert_eq!(decode(&write(&[])).unwrap(), []);
}

#[test]
fn random_blobs_come_back_exactly_at_any_density() {
    for (i, density) in [0.0, 0.001, 0.03, 0.3, 0.6, 0.97, 1.0]
        .into_iter()
        .enumerate()
    {
        let floats = sparse(i as u64, 5000, density);
        let (quantised, _) = coded(floats.clone(), 1 + i as u32);
        for data in [floats, quantised] {
            let file = write(&[layer("a", vec![plain(&[50, 100], data.clone())])]);
            let most = 4.2 * 5000.0 * f64::from(density) + 1000.0;
            assert!(
                (file.len() as f64) < most,
                "{density}: {} bytes",
                file.len()
            );
            let found = decode(&file).unwrap().remove(0).blobs.remove(0).unwrap();
            assert_eq!(found.0.data, data);
        }
    }
}

#[test]
fn odd_values_stay_as_they_are() {
    let odd = vec![
        f32::NAN,
        f32::INFINITY,
        -0.0,
        f32::MIN_POSITIVE / 8.0,
        1.0,
        -1.0,
    ];
    let file = write(&[layer("a", vec![plain(&[6], odd.clone())])]);
    let found = decode(&file).unwrap().remove(0).blobs.remove(0).unwrap();
    let bits = |v: &[f32]| v.iter().map(|x| (*x + 0.0).to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found.0.data), bits(&odd));
}

#[test]
fn a_codebook_is_kept_in_its_order_only_while_it_holds_the_values() {
    let book = Codebook::new(2, vec![0.0, 3.0, -1.0, 7.0]).unwrap();
    let written = |data: Vec<f32>| {
        let t = tensor(&[data.len()], data);
        let mut writer = Writer::new();
        let written = writer
            .add(Encoded::new("a", false, &[Some((&t, Some(&book)))]).unwrap())
            .unwrap();
        let found = decode(&writer.finish(&[]))
            .unwrap()
            .remove(0)
            .blobs
            .remove(0)
            .unwrap();
        assert_eq!(found.0, t);
        (written.bits[0], found.1)
    };
    assert_eq!(written(vec![0.0, -1.0, 3.0]), (Some(2), Some(book.clone())));
    let (bits, other) = written(noise(1, 400));
    assert_eq!((bits, other), (None, None));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let file = write(&small());
    for end in 0..file.len() {
        let text = format!("{:#}", decode(&file[..end]).unwrap_err());
        assert!(
            text.contains("truncated") || end < 8 && text.contains("not a .dsdz"),
            "{text}"
        );
    }
    let longer = [&file[..], &[0]].concat();
    let text = decode(&longer).unwrap_err().to_string();
    assert!(
        text.contains(&format!(
            "damaged: it says that it has {} bytes",
            file.len()
        )),
        "{text}"
    );
}

#[test]
fn every_flipped_bit_is_an_error_that_tells_the_sums() {
    let file = write(&small());
    for i in 0..8 * file.len() {
        let mut other = file.clone();
        other[i / 8] ^= 1 << (i % 8);
        let text = decode(&other).unwrap_err().to_string();
        let told = text.contains("damaged: expected the CRC-32C") && text.contains("found");
        assert!(told || i < 160, "{text}");
    }
}

/// Makes the length and the sum right again.
fn signed(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() - 4);
    let length = file.len() as u64 + 4;
    file[12..20].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&file).to_le_bytes();
    file.extend(crc);
    file
}

#[test]
fn wrong_content_under_a_right_sum_does_no_harm() {
    let file = write(&small());
    for i in 20..file.len() - 4 {
        for change in [1, 0x10, 0x80, 0xff] {
            let mut other = file.clone();
            other[i] ^= change;
            // Some changes only make other values.
            let _ = decode(&signed(other));
        }
        let mut cut = file[..i].to_vec();
        cut.extend([0; 4]);
        let _ = decode(&signed(cut));
    }
}

fn refused(content: &[u8]) -> String {
    let mut file = write(&[]);
    file.truncate(20);
    file.extend(content);
    file.extend([0; 4]);
    format!("{:#}", decode(&signed(file)).unwrap_err())
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let layer = [1, 1, b'a', 0, 1];
    let text = refused(&[&layer[..], &[1, 1], &huge].concat());
    assert!(
        text.contains("layer 0 of 1: 'a', blob 0: expected at most the"),
        "{text}"
    );
    let two = [&huge[..], &huge].concat();
    assert!(refused(&[&layer[..], &[1, 2], &two].concat()).contains("a file of this length"));
    assert!(refused(&[&layer[..], &[1, 33]].concat()).contains("32 axes"));
    assert!(refused(&huge).contains("50000 layers"));
    assert!(refused(&[&[1][..], &huge].concat()).contains("more bytes"));
    assert!(refused(&[1, 1, b'a', 0, 0xff, 0x7f]).contains("1000 blobs"));
    assert!(refused(&[&layer[..], &[9, 1, 1]].concat()).contains("kind"));
    assert!(refused(&[0, 1]).contains("zeros after the last layer"));
    // 1,000 x 1,000 entries in no bytes at all.
    let text = refused(&[&layer[..], &[2, 1, 4, 200, 8, 200], &[0; 9]].concat());
    assert!(text.contains("expected"), "{text}");
}

#[test]
fn a_transfer_as_text_says_so() {
    let mut file = write(&small());
    file.remove(5);
    assert!(looks_like(&file));
    let text = decode(&file).unwrap_err().to_string();
    assert!(text.contains("text mode"), "{text}");
}

#[test]
fn another_version_says_so() {
    let mut file = write(&small());
    file[8] = 4;
    assert_eq!(
        decode(&signed(file)).unwrap_err().to_string(),
        "expected version 1 to 3, found 4: a newer dsd wrote it"
    );
}

#[test]
fn weights_that_are_all_zero_are_small_but_not_out_of_proportion() {
    let n = 3 << 20;
    let file = write(&[layer("a", vec![plain(&[n], vec![0.0; n])])]);
    assert!((2048..2100).contains(&file.len()), "{} bytes", file.len());
    assert_eq!(
        decode(&file).unwrap()[0].blobs[0].as_ref().unwrap().0.data,
        vec![0.0; n]
    );
}

fn part(name: &str, bytes: &[u8]) -> Part {
    Part {
        name: name.into(),
        bytes: bytes.to_vec(),
    }
}

#[test]
fn parts_come_back_in_the_oldest_version_that_holds_them() {
    let caffemodel = part(CAFFEMODEL, b"message");
    let net = part("net.prototxt", &b"layer { } ".repeat(100));
    let cases: [(Vec<Part>, u8); 4] = [
        (vec![], 1),
        (vec![caffemodel.clone()], 2),
        (vec![net.clone()], 3),
        (vec![caffemodel.clone(), net.clone(), part("", b"")], 3),
    ];
    for (parts_in, version) in cases {
        let mut writer = Writer::new();
        let blob = tensor(&[2], vec![1.0, 2.0]);
        writer
            .add(Encoded::new("a", false, &[Some((&blob, None))]).unwrap())
            .unwrap();
        let file = writer.finish(&parts_in);
        assert_eq!(file[8], version);
        assert_eq!(parts(&file).unwrap(), parts_in);
        assert_eq!(decode(&file).unwrap()[0].name, "a");
        let found = part_of(&file, "net.prototxt");
        assert_eq!(found, parts_in.contains(&net).then(|| net.bytes.clone()));
    }
}

fn part_of(file: &[u8], name: &str) -> Option<Vec<u8>> {
    super::part(file, name).unwrap()
}

#[test]
fn parts_together_stay_within_a_bound() {
    let mut bytes = Vec::new();
    parts::put(&[part("a", b"123456"), part("b", b"123456")], &mut bytes);
    assert!(parts::read(&mut Input::new(&bytes), 12).is_ok());
    let said = parts::read(&mut Input::new(&bytes), 11)
        .err()
        .map(|e| format!("{e:#}"));
    assert_eq!(
        said.as_deref(),
        Some("part 1 ('b'): expected a message of at most 5 bytes, found one of 6")
    );
}

use super::*;
use crate::data::datum::decode_picture;
use std::fs;
use std::path::Path;

/// tests/data/pictures/opencv.txt holds what OpenCV 4.6 makes of each file (GIFs, which it does not read: what
/// Pillow makes of them): name, kind, and channels, height, width and planes, or why not.
#[test]
fn every_format_gives_opencvs_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures");
    let text = fs::read_to_string(folder.join("opencv.txt")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let file = fs::read(folder.join(words[0])).unwrap();
        let channels = match words[1] {
            "color" => Channels::Color,
            "gray" => Channels::Gray,
            _ => Channels::AsStored,
        };
        let mut out = vec![9; 3];
        let found = decode_picture(&file, channels, &mut out);
        count += 1;
        let said = format!("{:?}", found.as_ref().err());
        let right = match (found, &words[2..]) {
            (Ok(dims), [c, h, w, planes]) => {
                let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
                dims == [c, h, w].map(|n| n.parse::<usize>().unwrap()) && hex == **planes
            }
            (Err(e), ["uint16"]) => format!("{e:#}").contains("16 bits a channel"),
            _ => false,
        };
        if !right {
            let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
            wrong.push(format!("{line}\n  {hex} {said}"));
        }
    }
    assert!(count > 130, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cut_and_bent_files_are_errors_or_pictures_and_never_end_the_process() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures");
    for item in fs::read_dir(folder).unwrap() {
        let whole = fs::read(item.unwrap().path()).unwrap();
        let step = (whole.len() / 40).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut out = Vec::new();
            let _ = decode_picture(&whole[..at], Channels::Color, &mut out);
            for bits in [0x01, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[at] ^= bits;
                let _ = decode_picture(&bent, Channels::AsStored, &mut out);
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_portable_map_is_told() {
    for (file, wanted) in [
        (
            &b"P5 2 2 255\n\x01\x02\x03"[..],
            "expected 4 numbers for 2 x 2 pixels, found 3",
        ),
        (b"P2 2 2 255 1 2 x", "found 2: expected a number, found 'x'"),
        (b"P5 2 2 70000 abcd", "its greatest value is 70000"),
        (
            b"P6 99999999999 9 255 a",
            "its size is 4294967295 x 9 pixels",
        ),
        (b"P1 2 2 0 1 2", "expected 0 or 1, found '2'"),
        (b"P4 9", "its height is missing: the file ends"),
        (b"not a picture", "begins with 'not a pi'"),
    ] {
        let error = decode_picture(file, Channels::Color, &mut Vec::new()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn names_of_pictures() {
    for name in ["a.jpg", "b.PPM", "c.d.Tiff", ".webp"] {
        assert!(is_picture(name), "{name}");
    }
    for name in ["jpg", "a.txt", "a.jpg.gz"] {
        assert!(!is_picture(name), "{name}");
    }
}

/// A part of a PNG with its checksum.
fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(content) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    let mut chunk = (content.len() as u32).to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(content);
    chunk.extend((!crc).to_be_bytes());
    chunk
}

#[test]
fn a_picture_that_no_memory_holds_is_refused_in_numbers() {
    // A row of it is no row too long.
    let side = 1_000_000u32.to_be_bytes();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(
        b"IHDR",
        &[&side[..], &side, &[8, 2, 0, 0, 0]].concat(),
    ));
    file.extend(chunk(b"IDAT", b"x"));
    let told = decode(&file, Channels::Color, &mut Vec::new()).unwrap_err();
    let told = format!("{told:#}");
    assert!(
        told.starts_with("a picture of 1000000 x 1000000 pixels needs ") && told.contains("bytes"),
        "{told}"
    );
}

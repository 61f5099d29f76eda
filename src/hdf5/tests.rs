use super::*;
use std::path::Path;

fn saved(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let mut writer = Writer::new();
    fill(&mut writer);
    writer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn sample() -> Vec<u8> {
    saved(|w| {
        w.floats(
            "data/conv/0",
            &[2, 1, 3],
            &[1.0, -2.0, 0.5, 0.0, 1e-30, 7.0],
        )
        .unwrap();
        w.floats("data/fire2/squeeze1x1/0", &[1], &[4.0]).unwrap();
        w.floats("scalar", &[], &[3.0]).unwrap();
        w.floats("none", &[0, 4], &[]).unwrap();
        w.group("data/relu").unwrap();
        w.int("iter", -7).unwrap();
        w.text("learned_net", "a/ü.h5").unwrap();
        w.bytes("dsd/state", &[0, 255, 1]).unwrap();
    })
}

#[test]
fn what_is_written_reads_back() {
    let bytes = sample();
    assert!(looks_like(&bytes));
    let file = File::from_bytes(&bytes, "a.h5").unwrap();
    let conv = file.tensor("data/conv/0").unwrap();
    assert_eq!(conv.shape.dims(), [2, 1, 3]);
    assert_eq!(conv.data, [1.0, -2.0, 0.5, 0.0, 1e-30, 7.0]);
    assert_eq!(file.tensor("scalar").unwrap().data, [3.0]);
    assert_eq!(file.tensor("none").unwrap().shape.dims(), [0, 4]);
    assert_eq!(file.int("iter").unwrap(), -7);
    assert_eq!(file.text("learned_net").unwrap(), "a/ü.h5");
    assert_eq!(file.bytes("dsd/state").unwrap().unwrap(), [0, 255, 1]);
    assert_eq!(file.bytes("dsd/nothing").unwrap(), None);
    assert_eq!(file.list("data").unwrap(), ["conv/0", "fire2/squeeze1x1/0"]);
    assert!(file.list("diff").unwrap().is_empty());
}

#[test]
fn mistakes_are_named() {
    let file = File::from_bytes(&sample(), "a.h5").unwrap();
    let missing = file.tensor("data/ip/0").unwrap_err().to_string();
    assert_eq!(missing, "a.h5: it has no dataset 'data/ip/0'");
    let text = file.tensor("learned_net").unwrap_err().to_string();
    assert!(
        text.contains("must hold numbers, but holds strings"),
        "{text}"
    );
    assert!(file.int("data/conv/0").is_err() && file.text("iter").is_err());
    let mut writer = Writer::new();
    for name in ["", "a//0", "a/../0", "/a", "a/"] {
        assert!(writer.floats(name, &[1], &[0.0]).is_err(), "{name}");
    }
    writer.floats("a/0", &[1], &[0.0]).unwrap();
    writer.floats("a/0/0", &[1], &[0.0]).unwrap();
    let twice = writer.save(Path::new("/tmp/never.h5")).unwrap_err();
    assert!(format!("{twice:#}").starts_with("cannot write /tmp/never.h5: "));
}

/// Reads all that a file has.
fn read_all(bytes: &[u8]) -> anyhow::Result<()> {
    let file = File::from_bytes(bytes, "a.h5")?;
    for path in file.list("")? {
        let _ = file.int(&path);
        let _ = file.text(&path);
        file.tensor(&path)?;
    }
    Ok(())
}

#[test]
fn damaged_files_never_panic() {
    let bytes = sample();
    for cut in (0..bytes.len()).step_by(11) {
        assert!(read_all(&bytes[..cut]).is_err(), "{cut}");
    }
    for at in 0..bytes.len() {
        for value in [0, 0xff, bytes[at] ^ 0x10] {
            let mut odd = bytes.clone();
            odd[at] = value;
            let _ = read_all(&odd);
        }
    }
}

//! models/squeezenet_v1.0/reproduce.sh on a toy ImageNet: two classes of small pictures, one update a phase.

use crate::common::{names_in, repository, write};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CLASSES: [&str; 2] = ["n01440764", "n01443537"];

/// A picture of one colour and a gradient.
fn picture(path: &Path, n: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixels = image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([(x * n) as u8, (y * 8) as u8, n as u8 * 60])
    });
    let file = fs::File::create(path).unwrap();
    let encoder = image::codecs::jpeg::JpegEncoder::new(file);
    pixels.write_with_encoder(encoder).unwrap();
}

/// A folder `imagenet` as the script wants it.
fn imagenet(folder: &Path) {
    let root = folder.join("imagenet");
    let mut list = String::new();
    for (label, class) in CLASSES.iter().enumerate() {
        for n in 0..2 {
            picture(&root.join(format!("train/{class}/{class}_{n}.JPEG")), n + 1);
        }
        let name = format!("ILSVRC2012_val_0000000{}.JPEG", label + 1);
        picture(&root.join("val").join(&name), label as u32 + 3);
        list += &format!("{name} {label}\n");
    }
    write(&root, "val.txt", &list);
    write(
        &root,
        "synset_words.txt",
        "n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    );
}

/// The script in `folder`, with variables of the environment.
fn reproduce(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(repository("models/squeezenet_v1.0/reproduce.sh"))
        .args(args)
        .current_dir(folder)
        .env("DSD", env!("CARGO_BIN_EXE_dsd"))
        .env("OUT", "out")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

#[test]
fn raw_folders_become_the_final_line_and_nothing_is_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    imagenet(folder);
    let tiny = [
        ("SMOKE", "1"),
        ("UPDATES", "1"),
        ("BATCH", "2"),
        ("TEST_BATCH", "1"),
        ("SIZE", "232"),
    ];
    let dry = reproduce(folder, &["--dry_run", "imagenet"], &tiny);
    assert!(dry.status.success(), "{}", words(&dry));
    assert!(
        words(&dry).contains("val.txt") && !folder.join("out").exists(),
        "{}",
        words(&dry)
    );

    let first = reproduce(folder, &["imagenet"], &tiny);
    assert!(first.status.success(), "{}", words(&first));
    let found = names_in(&folder.join("out"));
    for name in [
        "ilsvrc12_train_lmdb",
        "ilsvrc12_val_lmdb",
        "dense",
        "sparse",
        "redense",
        "redense.log",
        "test.log",
    ] {
        assert!(found.contains(&name.to_string()), "{name}: {found:?}");
    }
    let last = words(&first);
    let last = last
        .lines()
        .find(|l| l.starts_with("accuracy_top1"))
        .unwrap();
    assert!(last.ends_with("published 0.617579"), "{last}");

    let again = reproduce(folder, &["imagenet"], &tiny);
    let said = words(&again);
    assert!(
        again.status.success() && said.matches("done already").count() == 4,
        "{said}"
    );
    assert_eq!(names_in(&folder.join("out")), found);
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    imagenet(folder);
    let fails = |args: &[&str], code: i32, said: &str| {
        let output = reproduce(folder, args, &[]);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(words(&output).contains(said), "{}", words(&output));
    };
    fails(&[], 2, "name ImageNet's folder");
    fails(&["--else", "imagenet"], 2, "unknown flag --else");
    fails(
        &["--from-deepcomp", "x.net", "imagenet"],
        1,
        "x.net is not there",
    );
    fails(&["nowhere"], 1, "nowhere is no folder");
    fails(&["imagenet/train"], 1, "has no train/");
    write(
        &folder.join("imagenet"),
        "val.txt",
        "ILSVRC2012_val_00000001.JPEG n9\n",
    );
    fails(
        &["--dry_run", "imagenet"],
        1,
        "val.txt:1: n9 is none of the classes",
    );
    write(
        &folder.join("imagenet"),
        "synset_words.txt",
        "n01443537 goldfish\nn01440764 tench\n",
    );
    fails(
        &["imagenet"],
        1,
        "do not name the same classes in the same order",
    );
    fs::remove_file(folder.join("imagenet/synset_words.txt")).unwrap();
    fs::remove_file(folder.join("imagenet/val.txt")).unwrap();
    fails(&["imagenet"], 1, "the validation labels are missing");
}

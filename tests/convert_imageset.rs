//! `dsd convert_imageset` against what Caffe's tool (1.0, commit 9b89154, OpenCV 4.6) made of the same
//! pictures, and on pictures made here.

use assert_cmd::Command;
use dsd::data::datum::{Channels, decode_picture};
use dsd::data::lmdb::Lmdb;
use dsd::data::records::Records;
use dsd::proto::Datum;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn convert() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsd"));
    command.arg("convert_imageset");
    command
}

/// Keys and records in their order.
fn records(database: &Path) -> Vec<(String, Datum)> {
    let mut lmdb = Lmdb::open(database).unwrap();
    let read = |number| {
        let mut datum = Datum::default();
        lmdb.read(number, &mut datum).unwrap();
        (lmdb.key(), datum)
    };
    (0..Lmdb::open(database).unwrap().count())
        .map(read)
        .collect()
}

fn keys(database: &Path) -> Vec<String> {
    records(database).into_iter().map(|(key, _)| key).collect()
}

fn goldens() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens/formats");
    if !path.is_dir() {
        eprintln!("skipped: no {}", path.display());
    }
    path.is_dir().then_some(path)
}

#[test]
fn databases_are_those_of_caffe() {
    let Some(goldens) = goldens() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, flags) in [
        ("tiny_from_png_lmdb", &[][..]),
        ("tiny_gray_lmdb", &["-gray"]),
        ("png_rs_lmdb", &["-resize_height=9", "-resize_width=17"]),
        ("png_enc_lmdb", &["-encoded", "-encode_type=png"]),
        ("png_enc_lmdb", &["--encoded", "--threads", "3"]),
        ("jpg_enc_lmdb", &["--encoded=true", "-encode_type", "jpg"]),
    ] {
        let ours = dir.path().join(format!("{name}{}", flags.len()));
        convert()
            .args(flags)
            .arg(goldens.join("png40/"))
            .arg(goldens.join("png40/list.txt"))
            .arg(&ours)
            .assert()
            .success()
            .stderr(contains("] A total of 40 images.\n"))
            .stderr(contains("] Processed 40 files.\n"));
        let caffes = records(&goldens.join(name));
        let ours = records(&ours);
        assert_eq!(ours.len(), caffes.len());
        for ((key, datum), (its_key, its_datum)) in ours.iter().zip(&caffes) {
            assert_eq!(key, its_key);
            assert_eq!(datum, its_datum, "{name}, {key} {flags:?}");
        }
    }
}

/// A folder `pictures` with two classes, and a list of them with an empty line.
fn pictures() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, width) in [("b dog/2.jpg", 8), ("b dog/1.png", 8), ("a/x.PNG", 9)] {
        let path = dir.path().join("pictures").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = image::RgbImage::from_fn(width, 6, |x, y| {
            image::Rgb([20 * x as u8, 30 * y as u8, 100])
        });
        picture.save(path).unwrap();
    }
    let list = "b dog/2.jpg 1\n\nb dog/1.png 4\na/x.PNG 0\n";
    fs::write(dir.path().join("list.txt"), list).unwrap();
    dir
}

/// The tool run on `pictures` with a list that is there.
fn run(dir: &Path, list: &str, flags: &[&str]) -> assert_cmd::assert::Assert {
    let paths = ["pictures", list, "db"];
    convert().current_dir(dir).args(flags).args(paths).assert()
}

/// That nothing but what was there before is in the folder.
fn assert_no_database(dir: &Path) {
    let names = fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["list.txt", "pictures"]);
}

#[test]
fn lines_are_numbered_and_folders_are_classes() {
    let dir = pictures();
    run(dir.path(), "list.txt", &[]).success();
    let db = dir.path().join("db");
    let found = records(&db);
    assert_eq!(
        keys(&db),
        [
            "00000000_b dog/2.jpg",
            "00000002_b dog/1.png",
            "00000003_a/x.PNG"
        ]
    );
    let labels: Vec<i32> = found.iter().map(|(_, d)| d.label()).collect();
    assert_eq!(labels, [1, 4, 0]);

    fs::remove_dir_all(&db).unwrap();
    run(dir.path(), "pictures", &["--noshuffle"])
        .success()
        .stderr(contains("Class 1: b dog"));
    let found = records(&db);
    assert_eq!(
        keys(&db),
        [
            "00000000_a/x.PNG",
            "00000001_b dog/1.png",
            "00000002_b dog/2.jpg"
        ]
    );
    let labels: Vec<i32> = found.iter().map(|(_, d)| d.label()).collect();
    assert_eq!(labels, [0, 1, 1]);
    let classes = fs::read_to_string(db.join("classes.txt")).unwrap();
    assert_eq!(classes, "a\nb dog\n");
}

#[test]
fn pictures_are_resized_and_encoded_as_they_were_or_as_told() {
    let dir = pictures();
    let flags = ["-resize_width=4", "--resize-height", "5", "-encoded"];
    run(dir.path(), "list.txt", &flags).success();
    for (key, datum) in records(&dir.path().join("db")) {
        assert_eq!((datum.encoded(), datum.channels), (true, None));
        let jpeg = datum.data().starts_with(&[0xff, 0xd8]);
        assert_eq!(jpeg, key.ends_with("jpg"), "{key}");
        let dims = decode_picture(datum.data(), Channels::AsStored, &mut Vec::new());
        assert_eq!(dims.unwrap(), [3, 5, 4]);
    }
}

#[test]
fn shuffling_depends_on_the_seed_alone() {
    let dir = pictures();
    let list: String = (0..30).map(|i| format!("b dog/1.png {i}\n")).collect();
    fs::write(dir.path().join("list.txt"), list).unwrap();
    let labels = |flags: &[&str]| -> Vec<i32> {
        run(dir.path(), "list.txt", flags).success();
        let db = dir.path().join("db");
        assert_eq!(keys(&db)[29], "00000029_b dog/1.png");
        let labels = records(&db).iter().map(|(_, d)| d.label()).collect();
        fs::remove_dir_all(db).unwrap();
        labels
    };
    let plain = labels(&[]);
    let shuffled = labels(&["-shuffle"]);
    assert_ne!(shuffled, plain);
    assert_eq!(labels(&["-shuffle", "--threads=3"]), shuffled);
    assert_ne!(labels(&["-shuffle", "-seed=5"]), shuffled);
    let mut sorted = shuffled;
    sorted.sort_unstable();
    assert_eq!(sorted, plain);
}

#[test]
fn unreadable_pictures_are_told_and_left_out() {
    let dir = pictures();
    fs::write(dir.path().join("pictures/text.jpg"), "text").unwrap();
    let list = "b dog/1.png 4\nnone.png 0\ntext.jpg 1\na/x.PNG 0\n";
    fs::write(dir.path().join("list.txt"), list).unwrap();
    let db = dir.path().join("db");
    for flags in [&[][..], &["--skip_unreadable"]] {
        run(dir.path(), "list.txt", flags)
            .success()
            .stderr(contains(
                "Could not open or find file pictures/none.png: No such file or directory\n",
            ))
            .stderr(contains("text.jpg: its picture cannot be decoded: "))
            .stderr(contains("2 of 4 pictures cannot be read and are left out"));
        assert_eq!(keys(&db), ["00000000_b dog/1.png", "00000003_a/x.PNG"]);
        fs::remove_dir_all(&db).unwrap();
    }
    fs::write(dir.path().join("list.txt"), "none.png 0\n").unwrap();
    fs::remove_file(dir.path().join("pictures/text.jpg")).unwrap();
    run(dir.path(), "list.txt", &[])
        .code(1)
        .stderr(contains("no database is made"));
    assert_no_database(dir.path());
}

/// The labels of a database of the folder `pictures`, by name.
fn labels_by_name(db: &Path) -> Vec<(String, i32)> {
    let name = |key: String| key.split_once('_').unwrap().1.to_string();
    let mut found: Vec<_> = records(db)
        .into_iter()
        .map(|(key, d)| (name(key), d.label()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_folder_is_shuffled_unless_told_otherwise() {
    let dir = pictures();
    for i in 0..40 {
        let from = dir.path().join("pictures/a/x.PNG");
        fs::copy(from, dir.path().join(format!("pictures/b dog/{i:02}.png"))).unwrap();
    }
    let labels = |flags: &[&str]| -> Vec<i32> {
        run(dir.path(), "pictures", flags).success();
        let db = dir.path().join("db");
        let labels = records(&db).iter().map(|(_, d)| d.label()).collect();
        fs::remove_dir_all(db).unwrap();
        labels
    };
    let sorted = labels(&["--noshuffle"]);
    assert!(sorted.is_sorted());
    assert_eq!(labels(&["-shuffle=false"]), sorted);
    let shuffled = labels(&[]);
    assert_ne!(shuffled, sorted);
    assert_eq!(labels(&["--noshuffle", "--shuffle"]), shuffled);
}

#[test]
fn a_class_without_pictures_shifts_no_labels() {
    let dir = pictures();
    run(dir.path(), "pictures", &[]).success();
    let db = dir.path().join("db");
    let val = dir.path().join("val");
    fs::create_dir_all(val.join("b dog")).unwrap();
    fs::copy(
        dir.path().join("pictures/b dog/1.png"),
        val.join("b dog/9.png"),
    )
    .unwrap();
    let convert_val = |flags: &[&str]| {
        let _ = fs::remove_dir_all(dir.path().join("val_db"));
        let mut command = convert();
        command.current_dir(dir.path()).args(flags);
        command.args(["val", "val", "val_db"]).assert()
    };
    convert_val(&["--classes", "db"]).success().stderr(contains(
        "1 of 2 classes have no folder in val, the first 'a'",
    ));
    let val_db = dir.path().join("val_db");
    assert_eq!(labels_by_name(&val_db), [("b dog/9.png".to_string(), 1)]);
    let names = |db: &Path| fs::read_to_string(db.join("classes.txt")).unwrap();
    assert_eq!(names(&val_db), names(&db));
    // A list in the folder itself holds too.
    fs::copy(db.join("classes.txt"), val.join("classes.txt")).unwrap();
    convert_val(&[]).success();
    assert_eq!(labels_by_name(&val_db)[0].1, 1);
    fs::write(val.join("classes.txt"), "a\nc\n").unwrap();
    convert_val(&[]).code(1).stderr(contains(
        "the folder 'b dog' is no class of val/classes.txt, which has 2",
    ));
    convert_val(&["--classes=none.txt"])
        .code(1)
        .stderr(contains("none.txt"));
}

#[test]
fn a_list_may_have_a_class_list_too() {
    let dir = pictures();
    fs::write(dir.path().join("names.txt"), "a\nb\nc\nd\n").unwrap();
    run(dir.path(), "list.txt", &["--classes=names.txt"])
        .code(1)
        .stderr(contains(
            "list.txt:3: the label 4 is no class of names.txt, which has 4",
        ));
    fs::write(dir.path().join("names.txt"), "a\nb\nc\nd\ne\n").unwrap();
    run(dir.path(), "list.txt", &["--classes=names.txt"]).success();
    assert!(dir.path().join("db/classes.txt").exists());
}

#[test]
fn mixed_sizes_are_told() {
    let dir = pictures();
    run(dir.path(), "list.txt", &[]).success().stderr(contains(
        "1 of 3 pictures have another size than the first (channels x height x width): pictures/b dog/2.jpg \
         has 3 x 6 x 8, pictures/a/x.PNG has 3 x 6 x 9",
    ));
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    run(
        dir.path(),
        "list.txt",
        &["--resize_height=4", "--resize_width=4"],
    )
    .success()
    .stderr(contains("another size").not());
}

#[test]
fn every_type_that_can_be_encoded_comes_back() {
    let dir = pictures();
    for (kind, gray) in [
        ("bmp", false),
        ("tiff", false),
        ("webp", false),
        ("ppm", false),
        (".PNG", false),
        ("pgm", true),
        ("pnm", true),
    ] {
        let kind = format!("--encode_type={kind}");
        let flags = [&kind[..], if gray { "--gray" } else { "--nogray" }];
        run(dir.path(), "list.txt", &flags).success();
        let db = dir.path().join("db");
        for (key, datum) in records(&db) {
            let mut found = Vec::new();
            let dims = decode_picture(datum.data(), Channels::AsStored, &mut found);
            let dims = dims.unwrap_or_else(|e| panic!("{kind} {key}: {e:#}"));
            let file = fs::read(dir.path().join("pictures").join(&key[9..])).unwrap();
            let how = if gray {
                Channels::Gray
            } else {
                Channels::Color
            };
            let mut wanted = Vec::new();
            assert_eq!(dims, decode_picture(&file, how, &mut wanted).unwrap());
            assert_eq!(found, wanted, "{kind} {key}");
        }
        fs::remove_dir_all(db).unwrap();
    }
}

/// The inputs of a case of ../shared/cases/caffe in a folder of the test's own.
fn case(name: &str) -> Option<TempDir> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/cases/caffe")
        .join(name);
    if !from.is_dir() {
        eprintln!("skipped: {} is absent", from.display());
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), dir.path().join(item.file_name())).unwrap();
    }
    Some(dir)
}

fn run_case(dir: &Path, flags: &[&str]) -> assert_cmd::assert::Assert {
    let paths = ["./", "l.txt", "db"];
    convert().current_dir(dir).args(flags).args(paths).assert()
}

#[test]
fn case_09_pictures_of_every_format() {
    let Some(dir) = case("09_picture_formats") else {
        return;
    };
    run_case(dir.path(), &[])
        .success()
        .stderr(contains("Processed 5 files."));
    let sizes: Vec<usize> = records(&dir.path().join("db"))
        .iter()
        .map(|(_, d)| d.data().len())
        .collect();
    assert_eq!(sizes.len(), 5);
    assert!(sizes.iter().all(|s| *s == sizes[0] && *s > 0), "{sizes:?}");
}

#[test]
fn case_13_a_leveldb() {
    let Some(dir) = case("13_leveldb_is_not_written") else {
        return;
    };
    run_case(dir.path(), &["--backend=leveldb"])
        .success()
        .stderr(contains("Opened leveldb db"));
    let db = dir.path().join("db");
    assert!(db.join("CURRENT").exists());
    let mut database = dsd::data::leveldb::Leveldb::open(&db).unwrap();
    let mut datum = Datum::default();
    database.read(0, &mut datum).unwrap();
    assert_eq!(database.count(), 1);
    assert_eq!(database.key(), "00000000_a.png");
    run_case(dir.path(), &["--backend=leveldb"])
        .code(1)
        .stderr(contains("db exists already"));
}

#[test]
fn case_17_a_missing_picture() {
    let Some(dir) = case("17_missing_picture_exit_code") else {
        return;
    };
    let run = run_case(dir.path(), &[]).success();
    let stderr = String::from_utf8_lossy(&run.get_output().stderr).to_string();
    assert_eq!(stderr.matches("none.png").count(), 1, "{stderr}");
    assert_eq!(keys(&dir.path().join("db")), ["00000000_a.png"]);
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_nothing() {
    let dir = pictures();
    run(dir.path(), "list.txt", &["-check_size"])
        .code(1)
        .stderr(contains(
            "pictures/a/x.PNG has 3 x 6 x 9 (channels x height x width), but pictures/b dog/2.jpg, the \
             first, has 3 x 6 x 8",
        ));
    for (flag, other) in [("height", "width"), ("width", "height")] {
        run(dir.path(), "list.txt", &[&format!("--resize_{flag}=9")])
            .code(2)
            .stderr(contains(format!(
                "--resize_{flag} is given without --resize_{other}"
            )));
    }
    for (flags, wanted) in [
        (
            "-encode_type=pgm",
            "pgm holds gray pictures only; add --gray",
        ),
        ("-encode_type=jp2", "expected png, jpg, bmp"),
    ] {
        run(dir.path(), "list.txt", &[flags])
            .code(2)
            .stderr(contains(wanted));
    }
    run(dir.path(), "list.txt", &["-encode_type=gif"])
        .code(2)
        .stderr(contains(
            "expected png, jpg, bmp, tiff, webp, ppm, pgm or pnm",
        ));
    run(dir.path(), "none.txt", &[])
        .code(1)
        .stderr(contains("none.txt"));
    fs::write(dir.path().join("list.txt"), "a/x.PNG 0\na/x.PNG\n").unwrap();
    run(dir.path(), "list.txt", &[])
        .code(1)
        .stderr(contains("list.txt:2: expected"));
    assert_no_database(dir.path());
    fs::create_dir(dir.path().join("db")).unwrap();
    run(dir.path(), "pictures", &[])
        .code(1)
        .stderr(contains("db exists already"));
    assert_eq!(fs::read_dir(dir.path().join("db")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_database() {
    let dir = pictures();
    let large = image::RgbImage::from_fn(1200, 900, |x, y| image::Rgb([x as u8, y as u8, 3]));
    large.save(dir.path().join("pictures/large.png")).unwrap();
    let list = "large.png 0\n".repeat(5000);
    fs::write(dir.path().join("list.txt"), list).unwrap();
    let mut running = std::process::Command::new(env!("CARGO_BIN_EXE_dsd"))
        .current_dir(dir.path())
        .args(["convert_imageset", "pictures/", "list.txt", "db"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = || fs::read_dir(dir.path()).unwrap().count() > 2;
    while !begun() {
        assert_eq!(
            running.try_wait().unwrap(),
            None,
            "it ended before it began"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!dir.path().join("db").exists());
    let id = running.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_no_database(dir.path());
}

//! `dsd new PICTURES`, and the commands that take the folder it makes.

use crate::common::{assert_says, dsd, repository};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;
use std::path::Path;
use std::process::Output;

/// A picture of a class that is easily told: its own colour, with other pixels here and there.
fn picture(class: usize, number: usize, [w, h]: [u32; 2]) -> RgbImage {
    let colours = [[200, 40, 40], [40, 200, 40], [40, 40, 200]];
    RgbImage::from_fn(w, h, |x, y| {
        let odd = (x as usize * 7 + y as usize * 13 + number * 5).is_multiple_of(11);
        Rgb(if odd {
            [90, 90, 90]
        } else {
            colours[class % 3]
        })
    })
}

/// Folders of classes with `count` pictures each.
fn pictures(home: &Path, classes: &[&str], count: usize, size: impl Fn(usize) -> [u32; 2]) {
    for (class, name) in classes.iter().enumerate() {
        let folder = home.join(name);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..count {
            let path = folder.join(format!("{i}.png"));
            picture(class, i, size(i)).save(path).unwrap();
        }
    }
}

fn run(at: &Path, line: &str) -> Output {
    let args = line.split_whitespace();
    dsd().args(args).current_dir(at).output().unwrap()
}

fn out(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The only line of standard error, of a command that failed.
fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn pictures_become_a_model_that_trains_labels_and_shrinks() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    pictures(&at.join("photos"), &["red", "green", "blue"], 12, |_| {
        [12, 12]
    });
    let said = out(&run(at, "new photos --out my --epochs 1"));
    assert_says(&said, &["dsd train my"]);
    assert_says(&said, &["colour, 12 x 12"]);
    let read = |name: &str| fs::read_to_string(at.join("my").join(name)).unwrap();
    assert_eq!(read("classes.txt"), "blue\ngreen\nred\n");
    assert_eq!(read("train.txt").lines().count(), 30);
    assert_eq!(read("val.txt").lines().count(), 6);

    let untrained = refusal(&run(at, "classify my photos/red/0.png"));
    assert_says(&untrained, &["my has not been trained yet: dsd train my"]);

    // Files of the same names where the user is are not its own.
    fs::write(at.join("solver_dense.prototxt"), "net: \"nothing\"").unwrap();
    fs::write(at.join("train_val.prototxt"), "nothing").unwrap();
    let said = out(&run(at, "train my"));
    assert_says(&said, &["redense"]);
    // Again: it is done.
    let again = run(at, "train my");
    assert_says(
        &String::from_utf8_lossy(&again.stderr),
        &["Going on with the run in ", "my/run; remove"],
    );
    out(&again);

    // A picture that it has not seen, and a model in another place.
    picture(1, 99, [30, 20]).save(at.join("new.png")).unwrap();
    fs::rename(at.join("my"), at.join("moved")).unwrap();
    let labelled = out(&run(at, "classify moved new.png --top 1"));
    assert!(
        labelled.lines().any(|l| l.ends_with("  green")),
        "{labelled}"
    );
    let test = run(at, "test moved");
    out(&test);
    let log = String::from_utf8_lossy(&test.stderr).into_owned();
    assert_says(&log, &["accuracy = 1"]);
    assert_says(&log, &["Running for 1 iterations."]);

    out(&run(at, "compress moved"));
    one_file_is_the_model(at, &at.join("moved/moved.dsdz"));
    out(&run(at, "report moved --out page.html"));
    assert!(
        fs::read_to_string(at.join("page.html"))
            .unwrap()
            .contains("moved")
    );
    let run_itself = out(&run(at, "classify moved/run new.png --top 1"));
    assert!(
        run_itself
            .lines()
            .any(|l| l.ends_with("  green") || l.ends_with("  1")),
        "{run_itself}"
    );
}

/// The file, elsewhere and with nothing beside it, gives the numbers of the folder that it was made of.
fn one_file_is_the_model(at: &Path, file: &Path) {
    let alone = tempfile::tempdir().unwrap();
    fs::rename(file, alone.path().join("m.dsdz")).unwrap();
    let photos = at.join("photos");
    let photos = photos.display();
    let there = out(&run(at, &format!("test moved {photos}")));
    assert_eq!(
        out(&run(alone.path(), &format!("test m.dsdz {photos}"))),
        there
    );
    let one = format!("{photos}/green/0.png");
    let there = out(&run(at, &format!("classify moved {one}")));
    assert_eq!(
        out(&run(alone.path(), &format!("classify m.dsdz {one}"))),
        there
    );

    let told = out(&run(alone.path(), "inspect m.dsdz"));
    assert_says(&told, &["a model by itself"]);
    assert_says(&told, &["3 classes      blue, green, red"]);
    assert_says(&told, &["redense", "accuracy 1"]);
    let json = out(&run(alone.path(), "inspect m.dsdz --json"));
    assert_says(&json, &["\"size\":[3,12,12]"]);

    // Made smaller, it stays a model; its record goes on.
    out(&run(
        alone.path(),
        "compress --weights m.dsdz --bits 5 --out s.dsdz",
    ));
    assert_says(
        &out(&run(alone.path(), "inspect s.dsdz")),
        &["redense", "--bits 5"],
    );
    out(&run(alone.path(), &format!("classify s.dsdz {one}")));
    out(&run(
        alone.path(),
        "compress --weights m.dsdz --weights_only --out w.dsdz",
    ));
    assert!(!out(&run(alone.path(), "inspect w.dsdz")).contains("by itself"));
    let none = refusal(&run(
        alone.path(),
        "decompress --weights w.dsdz --out parts",
    ));
    assert_says(
        &none,
        &["parts: a folder is for a .dsdz that is a model by itself, which w.dsdz is not"],
    );

    out(&run(
        alone.path(),
        "decompress --weights m.dsdz --out parts",
    ));
    for name in [
        "net.prototxt",
        "classes.txt",
        "preprocessing.json",
        "record.json",
    ] {
        assert!(alone.path().join("parts").join(name).is_file(), "{name}");
    }
    let line = "compress --model parts/net.prototxt --weights parts/weights.caffemodel --labels parts/classes.txt --out again.dsdz";
    out(&run(alone.path(), line));
    assert_eq!(
        out(&run(alone.path(), &format!("classify again.dsdz {one}"))),
        there
    );

    let alone_test = refusal(&run(alone.path(), "test m.dsdz --model parts/nothing"));
    assert_says(&alone_test, &["--model is given without --weights"]);
    let data = run(alone.path(), "test m.dsdz");
    assert!(!data.status.success());
    let log = String::from_utf8_lossy(&data.stderr).into_owned();
    assert_says(
        &log,
        &["m.dsdz comes without its data: dsd test m.dsdz FOLDER"],
    );
}

#[test]
fn parts_sizes_and_colours_are_as_they_come() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    pictures(&at.join("p/train"), &["a", "b", "c"], 4, |i| {
        [20 + 9 * i as u32, 40]
    });
    pictures(&at.join("p/val"), &["a", "b"], 2, |_| [9, 9]);
    pictures(&at.join("p/test"), &["c"], 3, |_| [9, 9]);
    fs::write(at.join("p/train/a/broken.png"), "no picture").unwrap();
    fs::write(at.join("p/train/a/notes.txt"), "").unwrap();
    let made = run(at, "new p --out my");
    let said = out(&made);
    assert_says(&said, &["12 to train on, 4 to validate, as they came"]);
    assert_says(&said, &["3 kept for the end"]);
    let log = String::from_utf8_lossy(&made.stderr).into_owned();
    assert_says(
        &log,
        &["p/train/a/broken.png: its picture cannot be decoded"],
    );
    assert_says(&log, &["1 pictures cannot be read"]);
    assert_says(&log, &["The class 'c' has no picture in validation"]);
    assert!(at.join("my/my_test_lmdb").is_dir());

    let gray = at.join("gray");
    for class in ["zero", "one"] {
        fs::create_dir_all(gray.join(class)).unwrap();
        for i in 0..3u8 {
            let picture = GrayImage::from_pixel(16, 16, Luma([40 * i]));
            picture
                .save(gray.join(class).join(format!("{i}.png")))
                .unwrap();
        }
    }
    let said = out(&run(at, "new gray --out g --size 24"));
    assert_says(&said, &["gray, 16 x 16, brought to 24 x 24"]);
    assert_says(&said, &["not mirrored"]);
    let deploy = fs::read_to_string(at.join("g/deploy.prototxt")).unwrap();
    assert_says(&deploy, &["dim: 1 dim: 1 dim: 24 dim: 24"]);
}

#[test]
fn what_is_wrong_is_one_sentence_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    pictures(&at.join("one"), &["only"], 2, |_| [9, 9]);
    pictures(&at.join("few"), &["a", "b"], 1, |_| [9, 9]);
    pictures(&at.join("good"), &["a", "b"], 2, |_| [9, 9]);
    pictures(&at.join("other"), &["a", "z"], 2, |_| [9, 9]);
    fs::create_dir_all(at.join("broken/a")).unwrap();
    fs::create_dir_all(at.join("broken/b")).unwrap();
    for name in ["a/1.png", "b/1.png"] {
        fs::write(at.join("broken").join(name), "no picture").unwrap();
    }
    fs::create_dir(at.join("db")).unwrap();
    fs::write(at.join("db/data.mdb"), "").unwrap();
    for (line, wanted) in [
        ("new nowhere --out x", "no built-in net of that name"),
        ("new one --out x", "one class, 'only'"),
        ("new few --out x", "every class has one picture"),
        (
            "new broken --out x",
            "none of the 2 pictures that were tried can be read",
        ),
        ("new db --out x", "cannot open the database db"),
        ("new good --val other --out x", "the folder 'z' is no class"),
        (
            "new good --net digits --out x",
            "that net has its own pictures",
        ),
        (
            "new good --net resnet --out x",
            "expected fire, or a built-in net",
        ),
        (
            "new good --finetune nothing.caffemodel --out x",
            "nothing.caffemodel",
        ),
        ("new good --size 4 --out x", "expected at least 8"),
        (
            "new good --net squeezenet_v1.1 --size 100 --out x",
            "squeezenet_v1.1 crops 227 x 227",
        ),
        ("new good --out one", "one exists already"),
        ("train good", "good is no folder of a model"),
        ("test good", "good is no folder of a model"),
        ("compress good", "good is no folder of a model"),
        ("classify good", "--weights is missing"),
    ] {
        assert_says(&refusal(&run(at, line)), &[wanted]);
        assert!(!at.join("x").exists(), "{line}");
    }
    let left: Vec<_> = fs::read_dir(at)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn a_built_in_net_is_written_out() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    out(&run(at, "new squeezenet_v1.1 --out mine"));
    let own = repository("models/squeezenet_v1.1");
    for name in ["train_val.prototxt", "deploy.prototxt"] {
        let text = |p: &Path| fs::read_to_string(p.join(name)).unwrap();
        assert_eq!(text(&own), text(&at.join("mine")));
    }
    let solver = fs::read_to_string(at.join("mine/solver_sparse.prototxt")).unwrap();
    assert_says(&solver, &["\"mine\""]);
}

#[test]
fn databases_and_files_of_records_are_pictures_too() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    pictures(&at.join("photos"), &["red", "green", "blue"], 5, |i| {
        [10 + i as u32, 12]
    });
    pictures(&at.join("others"), &["red", "green"], 2, |_| [12, 12]);
    out(&run(at, "convert_imageset ./ photos db"));
    out(&run(at, "convert_imageset ./ others other_db"));
    let said = out(&run(at, "new db --out my --size 12"));
    assert_says(&said, &["12 to train on, 3 to validate", "dsd train my"]);
    assert_eq!(
        fs::read_to_string(at.join("my/classes.txt")).unwrap(),
        "blue\ngreen\nred\n"
    );
    assert_says(
        &refusal(&run(at, "new db --val other_db --out x")),
        &["db and other_db have 3 and 2 classes"],
    );

    // MNIST's form: two parts of gray pictures.
    let mnist = at.join("mnist");
    fs::create_dir(&mnist).unwrap();
    for (part, count) in [("train", 20u8), ("t10k", 4)] {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 12, 0, 0, 0, 12];
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
        for i in 0..count {
            images.extend([100 * (i % 2) + i; 144]);
            labels.push(i % 2);
        }
        fs::write(mnist.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(mnist.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    let said = out(&run(at, "new mnist --out digits"));
    assert_says(
        &said,
        &[
            "gray, 12 x 12",
            "16 to train on, 4 to validate",
            "4 kept for the end",
        ],
    );
    // Nothing is left of the databases on the way.
    let hidden = |e: fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    assert!(!fs::read_dir(at).unwrap().any(|e| hidden(e.unwrap())));
}

//! `dsd draw`: pictures of nets, as SVG and for graphviz.

use assert_cmd::Command;
use predicates::str::contains;

fn dsd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dsd"))
}

/// What `dsd draw NET FILE args` writes.
fn drawn(net: &str, file: &str, args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    dsd()
        .args(["draw", net])
        .arg(&path)
        .args(args)
        .assert()
        .success();
    std::fs::read_to_string(path).unwrap()
}

const NET: &str = r##"
name: "two \"phases\" & more"
layer { name: "d" type: "Data" top: "x" top: "y" data_param { batch_size: 64 } include { phase: TRAIN } }
layer { name: "d" type: "Data" top: "x" top: "y" data_param { batch_size: 10 } include { phase: TEST } }
layer { name: "c<1>" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 20 kernel_h: 3 kernel_w: 5 stride: 2 pad: 1 group: 4 } param { lr_mult: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "p" bottom: "y" top: "loss" }
"##;

#[test]
fn graphviz_gets_caffes_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    std::fs::write(&path, NET).unwrap();
    let net = path.to_str().unwrap();
    let text = drawn(net, "net.dot", &["--phase", "TRAIN", "--rankdir=TB"]);
    for line in [
        r#"digraph "two \"phases\" & more" {"#,
        "rankdir=TB;",
        r##""d_Data" [label="d (Data)", shape=record, style=filled, fillcolor="#6495ED"];"##,
        r##""c<1>_Convolution" [label="c\<1\> (Convolution) kernel size: 3x5 stride: 2 pad: 1 group: 4", shape=record, style=filled, fillcolor="#FF5050"];"##,
        r##""r_ReLU" [label="r (ReLU)", shape=record, style=filled, fillcolor="#90EE90"];"##,
        r##""p_Pooling" [label="p (Pooling AVE) kernel size: all stride: 1 pad: 0", shape=record, style=filled, fillcolor="#FF9900"];"##,
        r##""c_blob" [label="c", shape=octagon, style=filled, fillcolor="#E0E0E0"];"##,
        r#""d_Data" -> "x_blob" [label="Batch 64"];"#,
        r#""x_blob" -> "c<1>_Convolution";"#,
        r#""c<1>_Convolution" -> "c_blob" [label="20"];"#,
        r#""c_blob" -> "r_ReLU";"#,
        r#""r_ReLU" -> "c_blob";"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
    }
    assert!(!text.contains("Batch 10"));
    let all = drawn(net, "net.dot", &["--display_lrm"]);
    assert!(
        all.contains("rankdir=LR;") && all.contains(r"d\n(Data, TEST)"),
        "{all}"
    );
    assert!(all.contains("Batch 10") && all.contains("d_Data_2"));
    assert!(all.contains(r"pad: 1\ngroup: 4\nlr mult: 2.0, 1.0"));
}

#[test]
fn a_picture_shows_every_layer_and_needs_no_graphviz() {
    for net in ["squeezenet_v1.0", "googlenet", "resnet50", "digits"] {
        for rankdir in ["LR", "RL", "TB", "BT"] {
            let svg = drawn(net, "net.svg", &["--rankdir", rankdir]);
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            let layers = svg.matches("<rect x=").count();
            let text = std::fs::read_to_string(format!(
                "{}/models/{net}/deploy.prototxt",
                env!("CARGO_MANIFEST_DIR")
            ));
            assert_eq!(layers, text.unwrap().matches("layer {").count(), "{net}");
        }
    }
    let svg = drawn("squeezenet_v1.0", "net.SVG", &[]);
    assert!(svg.contains(">96 x 111 x 111<") && svg.contains(">fire9/concat<"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn colours_are_six_digits_and_labels_stand_between_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    std::fs::write(&path, NET.replace("batch_size: 64", "batch_size: 1048576")).unwrap();
    let net = path.to_str().unwrap();
    for rankdir in ["LR", "RL"] {
        let svg = drawn(net, "net.svg", &["--phase", "train", "--rankdir", rankdir]);
        let colours = svg.split(['"', ' ']).filter(|w| w.starts_with('#'));
        let colours: Vec<&str> = colours.collect();
        assert!(colours.len() > 10);
        let is_plain = |c: &&str| c.len() == 7 && c[1..].chars().all(|d| d.is_ascii_hexdigit());
        assert!(colours.iter().all(is_plain), "{colours:?}");
        let number = |line: &str, key: &str| -> f64 {
            let rest = line.split_once(&format!(" {key}=\"")).unwrap().1;
            rest.split('"').next().unwrap().parse().unwrap()
        };
        // What stands beside an edge touches no layer's box at its height.
        let labels = svg.lines().filter(|l| l.contains("font-size=\"10\""));
        let mut seen = 0;
        for label in labels {
            let text = label.split_once('>').unwrap().1.split('<').next().unwrap();
            let (x, y) = (number(label, "x"), number(label, "y"));
            let half = text.len() as f64 * 5.6 / 2.0;
            for rect in svg.lines().filter(|l| l.starts_with("<rect x=")) {
                let (left, top) = (number(rect, "x"), number(rect, "y"));
                let (w, h) = (number(rect, "width"), number(rect, "height"));
                let beside = x + half < left || x - half > left + w;
                assert!(beside || y < top || y - 8.0 > top + h, "{label} on {rect}");
            }
            seen += 1;
        }
        assert_eq!(
            seen, 3,
            "two of the data's batch, one of the convolution's outputs"
        );
    }
}

#[test]
fn pictures_are_png_and_pdf_too() {
    let folder = tempfile::tempdir().unwrap();
    for net in ["digits", "squeezenet_v1.0"] {
        for rankdir in ["LR", "TB"] {
            let at = |end: &str| folder.path().join(format!("net.{end}"));
            for end in ["png", "PDF"] {
                let run = dsd()
                    .args(["draw", net])
                    .arg(at(end))
                    .args(["--rankdir", rankdir])
                    .assert();
                run.success();
            }
            let png = image::open(at("png")).unwrap().into_rgb8();
            let count = |wanted: [u8; 3]| png.pixels().filter(|p| p.0 == wanted).count();
            // A convolution's box, letters, and the ground.
            assert!(count([0xff, 0x50, 0x50]) > 500 && count([0; 3]) > 500);
            assert!(count([255; 3]) > png.pixels().len() / 3);
            let pdf = std::fs::read(at("PDF")).unwrap();
            assert!(pdf.starts_with(b"%PDF-1.4") && pdf.ends_with(b"%%EOF\n"));
            // The table of objects is where the end says, and each object where the table says.
            let text = String::from_utf8_lossy(&pdf);
            let start = text.rsplit_once("startxref\n").unwrap().1;
            let start: usize = start.lines().next().unwrap().parse().unwrap();
            assert!(pdf[start..].starts_with(b"xref\n0 8\n"));
            for k in 1..8 {
                let row = &pdf[start + 9 + 20 * k..][..10];
                let place: usize = std::str::from_utf8(row).unwrap().parse().unwrap();
                assert!(pdf[place..].starts_with(format!("{k} 0 obj").as_bytes()));
            }
        }
    }
}

#[test]
fn odd_nets_are_drawn_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    let net = path.to_str().unwrap();
    std::fs::write(&path, NET).unwrap();
    let svg = drawn(net, "net.svg", &[]);
    assert!(svg.contains("c&lt;1&gt;") && svg.contains("two &quot;phases&quot; &amp; more"));
    // Two phases that together run in a circle, and a layer that eats its own tail.
    let circle = "layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }
                  layer { name: 'b' type: 'ReLU' bottom: 'y' top: 'x' }
                  layer { name: 'e' type: 'Eltwise' bottom: 'x' bottom: 'y' top: 'x' }
                  layer { name: 's' type: 'Silence' bottom: 'x' } layer { }";
    std::fs::write(&path, circle).unwrap();
    assert_eq!(drawn(net, "net.svg", &[]).matches("<rect x=").count(), 5);
}

#[test]
fn what_cannot_be_drawn_is_told() {
    let fails = |args: &[&str], code: i32, words: &str| {
        let run = dsd().arg("draw").args(args).assert();
        run.code(code).stderr(contains(words.to_string()));
    };
    fails(&["digits", "net.gif"], 2, "must end in .svg, .png or .pdf");
    fails(
        &["no_such_net", "net.svg"],
        1,
        "no such file, and no built-in net",
    );
    fails(
        &["digits", "no/such/folder/net.svg"],
        1,
        "its folder does not exist",
    );
    fails(&["digits", "net.svg", "--rankdir", "XY"], 2, "LR");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    std::fs::write(&path, "name: 'x'").unwrap();
    fails(&[path.to_str().unwrap(), "x.svg"], 1, "no layer to draw");
}

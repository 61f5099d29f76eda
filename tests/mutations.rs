//! Broken prototxts: nets and solvers of models/ and of this file, changed at random, are given to the program.
//! Whatever they say, it ends by itself, soon, with the exit code 0, 1 or 2, and never by a panic or a signal.
//!
//! `DSD_MUTATIONS=1000 cargo test --test all mutations::` tries so many (60 by default); `DSD_MUTATION=17` tries one
//! and shows it; `tests/mutate.sh` does the full run. The numbers are counted, so mutation 17 is always the same.
#![cfg(unix)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a command may take. The memory is in KiB of addresses; a run that asks for more than this and gets an
/// abort is no fault of the program's, which looks at the machine's memory and not at a test's.
const SECONDS: u64 = 30;
const MEMORY: u64 = 6 << 20;

/// Small nets with many kinds of layers.
const NETS: [&str; 4] = [
    r#"name: "many"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 10 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" param { lr_mult: 1 decay_mult: 0.5 } param { lr_mult: 2 }
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 dilation: 1 group: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { eps: 1e-4 moving_average_fraction: 0.9 } }
layer { name: "sc" type: "Scale" bottom: "c" top: "c" scale_param { axis: 1 num_axes: 1 bias_term: true } }
layer { name: "pr" type: "PReLU" bottom: "c" top: "c" prelu_param { channel_shared: false } }
layer { name: "l" type: "LRN" bottom: "c" top: "l" lrn_param { local_size: 3 alpha: 1e-4 beta: 0.75 k: 2 norm_region: WITHIN_CHANNEL } }
layer { name: "p" type: "Pooling" bottom: "l" top: "p" pooling_param { pool: AVE kernel_h: 2 kernel_w: 3 stride: 2 pad: 1 round_mode: FLOOR } }
layer { name: "s" type: "Slice" bottom: "p" top: "a" top: "b" slice_param { axis: 1 slice_point: 2 } }
layer { name: "cat" type: "Concat" bottom: "b" bottom: "a" top: "cat" concat_param { axis: 1 } }
layer { name: "cr" type: "Crop" bottom: "x" bottom: "cat" top: "cr" crop_param { axis: 2 offset: 1 offset: 2 } }
layer { name: "de" type: "Deconvolution" bottom: "cat" top: "de" convolution_param { num_output: 3 kernel_size: 4 stride: 2 group: 3 bias_term: false } }
layer { name: "f" type: "Flatten" bottom: "cat" top: "f" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "ip" type: "InnerProduct" bottom: "f" top: "ip" inner_product_param { num_output: 5 axis: 1 transpose: true } }
layer { name: "sm" type: "Softmax" bottom: "ip" top: "sm" softmax_param { axis: -1 } }
layer { name: "am" type: "ArgMax" bottom: "sm" top: "am" argmax_param { top_k: 2 out_max_val: true axis: 1 } }
"#,
    r#"name: "odd"
input: "x" input_shape { dim: 4 dim: 6 dim: 5 dim: 5 }
input: "t" input_shape { dim: 4 dim: 2 }
layer { name: "r" type: "Reshape" bottom: "x" top: "r" reshape_param { shape { dim: 0 dim: 3 dim: -1 } axis: 0 num_axes: -1 } }
layer { name: "red" type: "Reduction" bottom: "r" top: "red" reduction_param { operation: SUMSQ axis: 1 coeff: 0.5 } }
layer { name: "ti" type: "Tile" bottom: "x" top: "ti" tile_param { axis: 1 tiles: 2 } }
layer { name: "mv" type: "MVN" bottom: "ti" top: "mv" mvn_param { normalize_variance: true across_channels: false eps: 1e-9 } }
layer { name: "im" type: "Im2col" bottom: "x" top: "im" convolution_param { kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "spp" type: "SPP" bottom: "x" top: "spp" spp_param { pyramid_height: 2 pool: MAX } }
layer { name: "e" type: "Eltwise" bottom: "spp" bottom: "spp" top: "e" eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "em" type: "Embed" bottom: "t" top: "em" embed_param { num_output: 3 input_dim: 7 } }
layer { name: "po" type: "Power" bottom: "e" top: "e" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "ex" type: "Exp" bottom: "e" top: "ex" exp_param { base: 2 scale: 0.1 shift: 0 } }
layer { name: "lo" type: "Log" bottom: "ex" top: "lo" log_param { base: 10 shift: 1 } }
layer { name: "th" type: "Threshold" bottom: "lo" top: "th" threshold_param { threshold: 0.1 } }
layer { name: "el" type: "ELU" bottom: "lo" top: "el" elu_param { alpha: 0.5 } }
layer { name: "cl" type: "Clip" bottom: "el" top: "cl" clip_param { min: -1 max: 1 } }
layer { name: "dr" type: "Dropout" bottom: "cl" top: "dr" dropout_param { dropout_ratio: 0.3 } }
layer { name: "bi" type: "Bias" bottom: "dr" top: "bi" bias_param { axis: 1 num_axes: 1 } }
"#,
    r#"name: "old"
input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 stride: 1 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "r" type: RELU bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "i" type: INNER_PRODUCT bottom: "p" top: "i" inner_product_param { num_output: 3 } include { phase: TEST stage: "a" not_stage: "b" } }
layers { name: "s" type: SOFTMAX bottom: "p" top: "s" }
"#,
    r#"name: "time"
input: "x" input_shape { dim: 3 dim: 2 dim: 4 }
input: "cont" input_shape { dim: 3 dim: 2 }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 4 expose_hidden: false weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
layer { name: "rnn" type: "RNN" bottom: "h" bottom: "cont" top: "o" recurrent_param { num_output: 3 } }
layer { name: "d" type: "DummyData" top: "y" dummy_data_param { shape { dim: 3 dim: 2 dim: 3 } data_filler { type: "constant" value: 0.5 } } }
layer { name: "l" type: "EuclideanLoss" bottom: "o" bottom: "y" top: "l" loss_weight: 2 propagate_down: true propagate_down: false }
"#,
];

const SOLVER: &str = r#"net_param { name: "s"
  layer { name: "d" type: "Data" top: "data" top: "label" transform_param { scale: 0.0625 mirror: true crop_size: 7
    resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 9 width: 8 pad_value: 3 interp_mode: CUBIC interp_mode: AREA }
    distort_param { brightness_prob: 0.5 brightness_delta: 8 contrast_prob: 0.5 contrast_lower: 0.5 contrast_upper: 1.5 } }
    data_param { source: "builtin:digits_train" batch_size: 8 shuffle: true } }
  layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
  layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
  layer { name: "i" type: "InnerProduct" bottom: "c" top: "i" inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
  layer { name: "l" type: "SoftmaxWithLoss" bottom: "i" bottom: "label" top: "l" loss_param { ignore_label: 3 normalization: VALID } }
  layer { name: "a" type: "Accuracy" bottom: "i" bottom: "label" top: "a" accuracy_param { top_k: 2 } include { phase: TEST } }
}
test_iter: 2 test_interval: 1 base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 1 stepvalue: 2 max_iter: 3
momentum: 0.9 weight_decay: 0.001 regularization_type: "L1" iter_size: 2 display: 1 average_loss: 2 clip_gradients: 5
snapshot: 0 snapshot_after_train: false type: "Nesterov" random_seed: 3 warmup_iter: 2 warmup_start_lr: 0.001
"#;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Words, numbers, strings and marks, with the white space before each.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut token, mut quoted) = (String::new(), false);
    for c in text.chars() {
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-+".contains(c);
        let goes_on = quoted
            || token.trim().is_empty() && c != '"'
            || c != '"' && word(c) && token.ends_with(word);
        if !goes_on && !token.is_empty() {
            found.push(std::mem::take(&mut token));
        }
        token.push(c);
        if c == '"' {
            quoted = !quoted;
        }
        if !quoted && !c.is_whitespace() && (c == '"' || !word(c)) {
            found.push(std::mem::take(&mut token));
        }
    }
    found.push(token);
    found
}

const EXTREMES: [&str; 20] = [
    "0",
    "-1",
    "1",
    "2",
    "7",
    "1000",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e38",
    "-1e38",
    "1e-45",
    "nan",
    "inf",
    "0.5",
];
const WORDS: [&str; 34] = [
    "\"Convolution\"",
    "\"Deconvolution\"",
    "\"Pooling\"",
    "\"ReLU\"",
    "\"PReLU\"",
    "\"Softmax\"",
    "\"SoftmaxWithLoss\"",
    "\"Accuracy\"",
    "\"Split\"",
    "\"Slice\"",
    "\"Concat\"",
    "\"Eltwise\"",
    "\"Reshape\"",
    "\"LSTM\"",
    "\"Filter\"",
    "\"BatchReindex\"",
    "\"Data\"",
    "\"Input\"",
    "\"Silence\"",
    "\"SPP\"",
    "\"Tile\"",
    "\"Embed\"",
    "\"Crop\"",
    "\"Python\"",
    "\"Upsample\"",
    "\"x\"",
    "\"data\"",
    "\"\"",
    "\"fixed\"",
    "\"poly\"",
    "\"Adam\"",
    "\"AdaDelta\"",
    "TRAIN",
    "{",
];

fn mutate(text: &str, random: &mut Random) -> Vec<u8> {
    let mut tokens = tokens(text);
    for _ in 0..1 + random.below(3) {
        let at = random.below(tokens.len());
        let is = |t: &str, c: fn(char) -> bool| t.trim_start().starts_with(c);
        let near = |start: usize, wanted: &dyn Fn(&str) -> bool| {
            (start..tokens.len())
                .chain(0..start)
                .find(|&i| wanted(&tokens[i]))
        };
        match random.below(8) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, tokens[at].clone()),
            2 => {
                let other = random.below(tokens.len());
                tokens.swap(at, other);
            }
            3..=5 => {
                let number = near(at, &|t| is(t, |c| c.is_ascii_digit() || c == '-'));
                if let Some(i) = number {
                    tokens[i] = format!(" {}", random.pick(&EXTREMES));
                }
            }
            6 => {
                let word = near(at, &|t| is(t, |c| c == '"'));
                if let Some(i) = word {
                    tokens[i] = format!(" {}", random.pick(&WORDS));
                }
            }
            _ => {
                // A stretch of the text again, somewhere else.
                let end = (at + random.below(30)).min(tokens.len());
                let piece = tokens[at..end].to_vec();
                let to = random.below(tokens.len());
                tokens.splice(to..to, piece);
            }
        }
        if tokens.is_empty() {
            tokens.push(String::new());
        }
    }
    let mut bytes = tokens.concat().into_bytes();
    match random.below(12) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 if !bytes.is_empty() => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        _ => {}
    }
    bytes
}

/// The texts, and what is done with each: `S` a solver, `N` a small net, `L` a large one.
fn texts() -> Vec<(char, String)> {
    let mut found: Vec<(char, String)> = NETS.iter().map(|n| ('N', (*n).to_owned())).collect();
    found.push(('S', SOLVER.to_owned()));
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut paths: Vec<PathBuf> = Vec::new();
    for model in fs::read_dir(models).unwrap().flatten() {
        if let Ok(files) = fs::read_dir(model.path()) {
            paths.extend(files.flatten().map(|f| f.path()));
        }
    }
    paths.sort();
    for path in paths
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "prototxt"))
    {
        let solver = path.to_string_lossy().contains("solver");
        let small = path.to_string_lossy().contains("digits");
        let kind = if solver {
            'S'
        } else if small {
            'N'
        } else {
            'L'
        };
        let beside = path.with_file_name("train_val.prototxt");
        let text = fs::read_to_string(path).unwrap();
        // A solver's net lies beside it.
        let text = text.replace(
            "\"train_val.prototxt\"",
            &format!("\"{}\"", beside.display()),
        );
        if !solver || small {
            found.push((kind, text));
        }
    }
    found
}

/// What ended badly, if anything did.
fn fault(folder: &Path, file: &Path, arguments: &[&str]) -> Option<String> {
    let program = std::env::var("DSD_BIN").unwrap_or(env!("CARGO_BIN_EXE_dsd").to_owned());
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let mut child = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -v {MEMORY}; ulimit -c 0; exec \"$0\" \"$@\""),
            &program,
        ])
        .args(arguments)
        .args(["--threads", "1"])
        .current_dir(folder)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > Duration::from_secs(SECONDS) {
            // What was asked for may be long (2,147,483,647 batches of a test); then it stops when it is told to.
            let stop = ["-INT".to_string(), child.id().to_string()];
            Command::new("kill").args(stop).status().unwrap();
            std::thread::sleep(Duration::from_secs(5));
            if child
                .try_wait()
                .unwrap()
                .is_some_and(|s| s.code() == Some(130))
            {
                return None;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            return Some(format!(
                "no end after {SECONDS} s: dsd {}",
                arguments.join(" ")
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = String::from_utf8_lossy(&fs::read(&err).unwrap()).into_owned();
    let memory = said.contains("memory allocation of");
    if memory && status.signal() == Some(6) {
        SHORT.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    let ends_well = matches!(status.code(), Some(0..=2)) && !said.contains("panicked at");
    let told = status.code() == Some(0) || said.contains("error: ");
    let last: String = said.lines().rev().take(6).collect::<Vec<_>>().join(" | ");
    (!ends_well || !told).then(|| {
        format!(
            "{status}: dsd {} ({}): {last}",
            arguments.join(" "),
            file.display()
        )
    })
}

/// Aborts for want of memory beyond the limit of this test.
static SHORT: AtomicUsize = AtomicUsize::new(0);

fn attempt(number: usize, texts: &[(char, String)]) -> Vec<String> {
    let mut random = Random(number as u64 * 7919);
    let (kind, text) = random.pick(texts);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.prototxt");
    let bytes = mutate(text, &mut random);
    fs::write(&file, &bytes).unwrap();
    if std::env::var_os("DSD_MUTATION").is_some() {
        println!("{}", String::from_utf8_lossy(&bytes));
    }
    let name = "m.prototxt";
    let commands: Vec<Vec<&str>> = match kind {
        'S' => vec![
            vec!["inspect", name],
            vec!["train", "--solver", name, "--max_iter", "1", "--out", "out"],
        ],
        'N' => vec![
            vec!["inspect", name],
            vec!["time", "--model", name, "--iterations", "1"],
            vec!["draw", name, "m.svg"],
        ],
        _ => vec![
            vec!["inspect", name],
            vec!["upgrade_net_proto_text", name, "o.prototxt"],
        ],
    };
    let faults = commands
        .iter()
        .filter_map(|c| fault(folder.path(), &file, c));
    faults.map(|f| format!("mutation {number}: {f}")).collect()
}

#[test]
fn no_broken_prototxt_ends_the_program_badly() {
    let texts = texts();
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse::<usize>().ok())
    };
    let numbers = match number("DSD_MUTATION") {
        Some(one) => one..one + 1,
        None => 0..number("DSD_MUTATIONS").unwrap_or(60),
    };
    let count = numbers.len();
    let faults: Vec<String> = numbers.flat_map(|n| attempt(n, &texts)).collect();
    let short = SHORT.load(Ordering::Relaxed);
    println!("{count} mutations, {short} of them short of memory");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

//! The lines of debug_info.

use super::{case, log, write};

fn shown(log: &[String]) -> Vec<&str> {
    let shown = log.iter().map(String::as_str);
    shown.filter(|l| l.starts_with("    [")).collect()
}

#[test]
fn caffes_case_12_prints_every_blob() {
    let Some(folder) = case("12_debug_info") else {
        return;
    };
    let log = log(folder.path(), &["train", "-solver", "solver.prototxt"]);
    // x is 1, w and y are 0: the loss is 1/2, its gradient for y -1/2 each, for w 1 and for b 1.
    assert_eq!(
        shown(&log),
        [
            "    [Forward] Layer d, top blob x data: 1",
            "    [Forward] Layer d, top blob t data: 1",
            "    [Forward] Layer ip, top blob y data: 0",
            "    [Forward] Layer ip, param blob 0 data: 0",
            "    [Forward] Layer ip, param blob 1 data: 0",
            "    [Forward] Layer l, top blob l data: 0.5",
            "    [Backward] Layer l, bottom blob y diff: 0.5",
            "    [Backward] Layer ip, param blob 0 diff: 1",
            "    [Backward] Layer ip, param blob 1 diff: 1",
            "    [Backward] All net params (data, diff): L1 norm = (0, 4); L2 norm = (0, 2)",
            "    [Update] Layer ip, param 0 data: 0; diff: 0.1",
            "    [Update] Layer ip, param 1 data: 0; diff: 0.1",
        ]
    );
}

/// A blob with two readers, layers in place, a shared parameter with a name.
const NET: &str = "\
layer { name: 'd' type: 'DummyData' top: 'x' top: 't' dummy_data_param { shape { dim: 4 dim: 2 dim: 3 dim: 3 } \
  shape { dim: 4 } data_filler { type: 'gaussian' } data_filler { value: 0 } } } \
layer { name: 'conv' type: 'Convolution' bottom: 'x' top: 'conv' param { name: 'w' } convolution_param { num_output: 2 \
  kernel_size: 1 weight_filler { type: 'gaussian' std: 1 } } } \
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' } \
layer { name: 'a' type: 'InnerProduct' bottom: 'conv' top: 'a' inner_product_param { num_output: 2 \
  weight_filler { type: 'gaussian' std: 1 } } } \
layer { name: 'drop' type: 'Dropout' bottom: 'a' top: 'a' } \
layer { name: 'b' type: 'InnerProduct' bottom: 'conv' top: 'b' inner_product_param { num_output: 2 \
  weight_filler { type: 'gaussian' std: 1 } } } \
layer { name: 's' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 's' } \
layer { name: 'l' type: 'SoftmaxWithLoss' bottom: 's' bottom: 't' top: 'l' } \
layer { name: 'acc' type: 'Accuracy' bottom: 's' bottom: 't' top: 'acc' include { phase: TEST } }";

fn run(debug: bool, display: usize) -> (Vec<String>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "net.prototxt", NET);
    let solver = format!(
        "net: 'net.prototxt' base_lr: 0.1 lr_policy: 'fixed' momentum: 0.9 max_iter: 4 display: {display} \
         test_iter: 1 test_interval: 2 random_seed: 2 snapshot_prefix: 's' debug_info: {debug}"
    );
    write(folder.path(), "solver.prototxt", &solver);
    let log = log(folder.path(), &["train", "--solver", "solver.prototxt"]);
    let bytes = std::fs::read(folder.path().join("s_iter_4.caffemodel")).unwrap();
    (log, bytes)
}

#[test]
fn splits_and_layers_in_place_have_caffes_names() {
    let (log, _) = run(true, 1);
    let shown = shown(&log);
    // Each value is printed before the layer behind it changes it.
    let heads = |kind: &str, n: usize| -> Vec<String> {
        let lines = shown.iter().filter_map(|l| l.strip_prefix(kind));
        let lines = lines.map(|l| l.rsplit_once(": ").unwrap().0.to_string());
        lines.take(n).collect()
    };
    // The first lines are the first test's.
    let start = shown.iter().position(|l| l.contains("[Backward]")).unwrap();
    let forward: Vec<&str> = shown[..start]
        .iter()
        .rev()
        .take_while(|l| !l.contains("acc, top"))
        .map(|l| l.rsplit_once(": ").unwrap().0)
        .collect();
    let forward: Vec<&str> = forward.into_iter().rev().collect();
    assert_eq!(
        forward,
        [
            "    [Forward] Layer d, top blob x data",
            "    [Forward] Layer d, top blob t data",
            "    [Forward] Layer conv, top blob conv data",
            "    [Forward] Layer conv, param blob w data",
            "    [Forward] Layer conv, param blob 1 data",
            "    [Forward] Layer relu, top blob conv data",
            "    [Forward] Layer conv_relu_0_split, top blob conv_relu_0_split_0 data",
            "    [Forward] Layer conv_relu_0_split, top blob conv_relu_0_split_1 data",
            "    [Forward] Layer a, top blob a data",
            "    [Forward] Layer a, param blob 0 data",
            "    [Forward] Layer a, param blob 1 data",
            "    [Forward] Layer drop, top blob a data",
            "    [Forward] Layer b, top blob b data",
            "    [Forward] Layer b, param blob 0 data",
            "    [Forward] Layer b, param blob 1 data",
            "    [Forward] Layer s, top blob s data",
            "    [Forward] Layer l, top blob l data",
        ]
    );
    assert_eq!(
        heads("    [Backward] ", 15),
        [
            "Layer l, bottom blob s diff",
            "Layer s, bottom blob a diff",
            "Layer s, bottom blob b diff",
            "Layer b, bottom blob conv_relu_0_split_1 diff",
            "Layer b, param blob 0 diff",
            "Layer b, param blob 1 diff",
            "Layer drop, bottom blob a diff",
            "Layer a, bottom blob conv_relu_0_split_0 diff",
            "Layer a, param blob 0 diff",
            "Layer a, param blob 1 diff",
            "Layer conv_relu_0_split, bottom blob conv diff",
            "Layer relu, bottom blob conv diff",
            "Layer conv, param blob 0 diff",
            "Layer conv, param blob 1 diff",
            "All net params (data, diff): L1 norm = (13.3398, 3.46487); L2 norm",
        ]
        .map(|h| match h.starts_with("All") {
            true => heads("    [Backward] ", 15)[14].clone(),
            false => h.to_string(),
        })
    );
}

#[test]
fn the_runs_own_numbers_stay_to_the_bit() {
    let ((_, with), (_, without)) = (run(true, 1), run(false, 1));
    assert!(with == without, "debug_info changes the run");
}

#[test]
fn lines_come_where_the_solver_displays() {
    let (log, _) = run(true, 2);
    let count = |words: &str| log.iter().filter(|l| l.contains(words)).count();
    // Iterations 0 and 2 of 4; tests before iterations 0 and 2, and after the last, show forward each.
    assert_eq!(count("All net params"), 2);
    assert_eq!(count("[Update] Layer conv, param w"), 2);
    assert_eq!(count("[Forward] Layer acc, top blob acc"), 3);
    assert_eq!(count("[Forward] Layer l, top blob l"), 2 + 3);
    let (log, _) = run(false, 1);
    assert!(shown(&log).is_empty());
}

#[test]
fn the_loss_shown_is_the_runs() {
    // Dropout draws the same numbers in the net that shows all.
    let (log, _) = run(true, 1);
    let value = |l: &String, head: &str| l.strip_prefix(head).map(str::to_string);
    let shown: Vec<String> = log
        .iter()
        .filter_map(|l| value(l, "    [Forward] Layer l, top blob l data: "))
        .collect();
    let trained: Vec<String> = log
        .iter()
        .filter_map(|l| value(l, "    Train net output #0: l = "))
        .map(|v| v.split(' ').next().unwrap().to_string())
        .collect();
    assert_eq!(trained.len(), 4);
    for loss in trained {
        assert!(shown.contains(&loss), "{loss} not in {shown:?}");
    }
}

//! How fast each layer is: its arithmetic over its median time, as a table and as JSON.
//!
//! The arithmetic is that of the layer's definition. A kernel that gets by with less of it, such as
//! Winograd's, can be above the machine's peak.

use super::times::{Measured, Times, median};

use crate::kernels::peak::Peak;
use crate::net::{MOVES, Net, Precision};
use crate::report::table::{Align, Table};
use serde_json::{Value, json};

/// A layer, or the whole net.
struct Speed {
    name: String,
    kind: String,
    kernel: String,
    forward: Pass,
    backward: Pass,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pass {
    ms: f64,
    /// Operations for the batch, two a multiply-add.
    operations: f64,
}

impl Pass {
    /// The speed of work that was done; `None` where there was none to do.
    fn gflops(self) -> Option<f64> {
        let done = self.ms > 0.0 && self.operations > 0.0;
        done.then(|| 1e-6 * self.operations / self.ms)
    }
}

impl Speed {
    fn of(times: &Times, [forward, backward]: [f64; 2]) -> Self {
        let pass = |ms: &[f64], operations| Pass {
            ms: median(ms),
            operations,
        };
        Self {
            name: "total".to_string(),
            kind: String::new(),
            kernel: String::new(),
            forward: pass(&times.forward, forward),
            backward: pass(&times.backward, backward),
        }
    }

    /// How much of the peak of all threads it gets, forward and backward together.
    fn percent(&self, peak: &Peak) -> Option<f64> {
        let mut both = Pass::default();
        for pass in [self.forward, self.backward] {
            // Backward of a layer that needs no gradient takes no time.
            if pass.gflops().is_some() {
                both.ms += pass.ms;
                both.operations += pass.operations;
            }
        }
        Some(100.0 * both.gflops()? / peak.all)
    }
}

/// The speeds of a net.
pub(super) struct Speeds {
    layers: Vec<Speed>,
    /// What moves numbers between layers, as far as it takes time.
    moves: Vec<Speed>,
    whole: Speed,
    backward: bool,
    batch: usize,
    precision: Precision,
    peak: Peak,
}

impl Speeds {
    /// What `measured` says of `net`, which ran backward too or not, on a machine of this peak.
    pub fn new(net: &Net, measured: &Measured, backward: bool, peak: Peak) -> Self {
        let work = operations(net);
        let layers: Vec<Speed> = net
            .graph()
            .nodes
            .iter()
            .enumerate()
            .map(|(i, node)| Speed {
                name: node.name().to_string(),
                kind: node.param.r#type().to_string(),
                kernel: net.kernel(i),
                ..Speed::of(&measured.layers[i], work[i])
            })
            .collect();
        let moves = measured.moves.iter().zip(MOVES).map(|(times, name)| Speed {
            name: String::new(),
            kind: name.to_string(),
            ..Speed::of(times, [0.0; 2])
        });
        let takes_time = |s: &Speed| s.forward.ms + s.backward.ms > 0.0;
        let moves = moves.filter(takes_time).collect();
        let done = |pass: fn(&Speed) -> Pass| {
            let passes = layers.iter().map(pass);
            let done = passes.filter(|p| p.gflops().is_some());
            done.map(|p| p.operations).sum::<f64>()
        };
        let all = [done(|s| s.forward), done(|s| s.backward)];
        // A direct kernel does every product that is counted: the processor was as fast as it, at that moment.
        let direct = layers.iter().filter(|s| s.kernel.starts_with("direct"));
        let reached = direct.flat_map(|s| [s.forward.gflops(), s.backward.gflops()]);
        let all_threads = reached.flatten().fold(peak.all, f64::max);
        let peak = Peak {
            all: all_threads,
            ..peak
        };
        Self {
            whole: Speed::of(&measured.whole, all),
            layers,
            moves,
            backward,
            batch: net.batch(),
            precision: net.precision(),
            peak,
        }
    }

    /// A row a layer, one for each kind of moving numbers between them, and one for the net. Without backward there are no columns for it.
    pub fn table(&self) -> Table {
        use Align::{Left, Right};
        let columns = [
            ("layer", Left, true),
            ("type", Left, true),
            ("forward ms", Right, true),
            ("backward ms", Right, self.backward),
            ("forward GFLOP/s", Right, true),
            ("backward GFLOP/s", Right, self.backward),
            ("% of peak", Right, true),
            ("kernel", Left, true),
        ];
        let shown = columns.iter().filter(|c| c.2);
        let mut table = Table::new(shown.map(|&(head, align, _)| (head, align)));
        for speed in self.layers.iter().chain(&self.moves).chain([&self.whole]) {
            let one = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.1}"));
            let ms = |ms: f64| match ms > 0.0 {
                true => format!("{ms:.3}"),
                false => String::new(),
            };
            let cells = [
                speed.name.clone(),
                speed.kind.clone(),
                ms(speed.forward.ms),
                ms(speed.backward.ms),
                one(speed.forward.gflops()),
                one(speed.backward.gflops()),
                one(speed.percent(&self.peak)),
                speed.kernel.clone(),
            ];
            let cells = cells.into_iter().zip(&columns);
            table.row(cells.filter(|(_, c)| c.2).map(|(cell, _)| cell));
        }
        table
    }

    /// The object of `--json`; a speed that a layer does not have is null.
    pub fn json(&self) -> Value {
        let numbers = |speed: &Speed| {
            json!({
                "forward_ms": speed.forward.ms,
                "backward_ms": speed.backward.ms,
                "gflops_forward": speed.forward.gflops(),
                "gflops_backward": speed.backward.gflops(),
                "percent_of_peak": speed.percent(&self.peak),
            })
        };
        let layer = |speed: &Speed| {
            let head = json!({"name": speed.name, "type": speed.kind});
            let tail = json!({"kernel": speed.kernel});
            joined([head, numbers(speed), tail])
        };
        let machine = json!({
            "batch": self.batch,
            "peak_gflops": self.peak.all,
            "isa": self.peak.isa.name(),
            "precision": self.precision,
            "threads": self.peak.threads,
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "moves": self.moves.iter().map(layer).collect::<Vec<_>>(),
        });
        joined([numbers(&self.whole), machine])
    }
}

/// One object of the members of several.
fn joined(objects: impl IntoIterator<Item = Value>) -> Value {
    let members = objects.into_iter().filter_map(|o| match o {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(members.flatten().collect())
}

/// The operations of every layer for a batch, forward and backward. The gradient of the weights is as much
/// work as forward, and so is that of the bottoms; a layer above which nothing learns has only the first.
fn operations(net: &Net) -> Vec<[f64; 2]> {
    let graph = net.graph();
    let mut learns = vec![false; graph.values.len()];
    let mut work = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let weights = net.layer_params(i).any(|id| net.learns(id));
        let flows = node.bottoms.iter().enumerate().any(|(k, &v)| {
            let down = node.param.propagate_down.get(k).copied();
            down.unwrap_or(learns[v] || graph.force_backward)
        });
        for &top in &node.tops {
            learns[top] = weights || flows;
        }
        let forward = 2.0 * net.macs(i) as f64 * net.batch() as f64;
        let gradients = u8::from(weights) + u8::from(flows);
        work.push([forward, forward * f64::from(gradients)]);
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Set;
    use crate::layers::Mode;
    use crate::net::Options;
    use crate::net::graph::{Graph, State};
    use crate::proto::parse;
    use crate::tensor::Shape;

    /// The speeds of two convolutions of 36 multiply-adds, 1 ms forward and 3 ms backward each.
    fn speeds(backward: bool) -> Speeds {
        let text = "
            layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 5 dim: 1 dim: 2 dim: 2 } } }
            layer { name: 'a' type: 'Convolution' bottom: 'data' top: 'a' convolution_param { num_output: 9 kernel_size: 1 } }
            layer { name: 'b' type: 'Convolution' bottom: 'a' top: 'b' convolution_param { num_output: 1 kernel_size: 1 } }
            layer { name: 'loss' type: 'Reduction' bottom: 'b' top: 'loss' loss_weight: 1 }";
        let parsed = parse(text, "net").unwrap();
        let graph = Graph::new(&parsed, &State::new(Mode::Train)).unwrap();
        let options = Options {
            backward,
            ..Options::default()
        };
        let net = Net::new(graph, &[Shape::new([5, 1, 2, 2])], &options).unwrap();
        let mut measured = Measured::new(4);
        let ms = [(0.0, 0.0), (1.0, 3.0), (1.0, 3.0), (0.5, 0.5), (2.5, 6.5)];
        let all = measured.layers.iter_mut().chain([&mut measured.whole]);
        for (times, (forward, back)) in all.zip(ms) {
            times.forward.push(forward);
            times.backward.push(if backward { back } else { 0.0 });
        }
        let peak = Peak {
            isa: Set::Portable,
            one: 1e-3,
            all: 2e-3,
            threads: 2,
        };
        Speeds::new(&net, &measured, backward, peak)
    }

    #[test]
    fn the_first_layer_has_no_gradient_below_it() {
        let speeds = speeds(true);
        let work = |i: usize| {
            let Speed {
                forward, backward, ..
            } = speeds.layers[i];
            [forward.operations, backward.operations]
        };
        // 2 · 36 · 5 samples.
        assert_eq!(work(0), [0.0, 0.0]);
        assert_eq!(work(1), [360.0, 360.0]);
        assert_eq!(work(2), [360.0, 720.0]);
        assert_eq!(work(3), [0.0, 0.0]);
        assert_eq!(speeds.whole.backward.operations, 1080.0);
        // 1080 operations in 4 ms are 0.27e-3 GFLOP/s.
        let percent = speeds.layers[2].percent(&speeds.peak).unwrap();
        assert!((percent - 13.5).abs() < 1e-9, "{percent}");
    }

    #[test]
    fn the_table_leaves_blank_what_is_not_there() {
        let table = speeds(true).table().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2 + 4 + 1);
        let words = |i: usize| lines[i].split_whitespace().collect::<Vec<_>>();
        assert!(lines[0].ends_with("% of peak  kernel"), "{table}");
        assert_eq!(words(2), ["data", "Input", "data"], "{table}");
        let total = ["total", "2.500", "6.500", "0.0", "0.0", "10.0"];
        assert_eq!(words(6), total, "{table}");
        assert!(!speeds(false).table().to_string().contains("backward"));
    }

    #[test]
    fn json_has_the_same_numbers() {
        let json = speeds(true).json();
        assert_eq!(json["forward_ms"], 2.5);
        assert_eq!(
            (&json["isa"], &json["threads"]),
            (&json!("portable"), &json!(2))
        );
        assert_eq!(json["precision"], "f32");
        assert_eq!(json["layers"][0]["gflops_forward"], Value::Null);
        let rate = json["layers"][1]["gflops_forward"].as_f64().unwrap();
        assert!((rate - 0.36e-3).abs() < 1e-12, "{rate}");
        assert_eq!(json["layers"][2]["name"], "b");
    }
}

//! Random nets: layers of any type on any blobs there are, in place or not.

use crate::layouts::elements::{INPUTS, all, wants_positive};
use crate::layouts::twins::{Written, build, compare};
use dsd::layers::Mode;
use dsd::random::{Purpose, Random};

/// Nets tried. A longer search: DSD_RANDOM_NETS=20000 cargo test --test all layouts::fuzz
const NETS: u64 = 300;

/// A net under construction, in both writings, and the names in both of the blobs that can be read.
#[derive(Clone)]
struct Growing {
    text: String,
    plain: String,
    blobs: Vec<(String, String)>,
}

/// Draws one whole number after the other.
struct Draw {
    random: Random,
    next: u64,
}

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.next += 1;
        self.random.below(self.next, n)
    }
}

impl Growing {
    fn new() -> Self {
        Self {
            text: INPUTS.into(),
            plain: INPUTS.into(),
            blobs: vec![("x".into(), "x".into())],
        }
    }

    /// Adds a layer, and gives the new blob's place among the blobs.
    fn add(&mut self, n: usize, element: &str, draw: &mut Draw) {
        let at = self.blobs.len().min(3);
        let b = self.blobs.len() - 1 - draw.below(at);
        let other = self.blobs[draw.below(self.blobs.len())].clone();
        let (bottom, plain_bottom) = self.blobs[b].clone();
        let (fresh, second) = (format!("t{n}"), format!("s{n}"));
        let in_place = draw.below(2) == 0;
        let top = if in_place { &bottom } else { &fresh };
        let write = |bottom: &str, other: &str, top: &str| {
            let own = element
                .replace("bottom: \"x\"", &format!("bottom: \"{other}\""))
                .replace("\"second\"", &format!("\"{second}\""));
            format!("layer {{ name: \"l{n}\" bottom: \"{bottom}\" top: \"{top}\" {own} }}\n")
        };
        self.text += &write(&bottom, &other.0, top);
        self.plain += &write(&plain_bottom, &other.1, &fresh);
        if in_place {
            self.blobs.retain(|blob| blob.0 != bottom);
        }
        if element.contains("\"second\"") {
            self.blobs.push((second.clone(), second));
        }
        self.blobs.push((top.clone(), fresh));
    }
}

#[test]
fn random_nets_equal_their_plain_twins() {
    let nets = std::env::var("DSD_RANDOM_NETS").ok();
    let nets = nets.and_then(|n| n.parse().ok()).unwrap_or(NETS);
    let mut elements = all();
    elements.retain(|e| !wants_positive(e));
    let (mut layers, mut compared, mut failures) = (0, 0, Vec::new());
    for seed in 0..nets {
        let random = Random::new(seed, Purpose::Transform, 77);
        let mut draw = Draw { random, next: 0 };
        let mut growing = Growing::new();
        for n in 0..3 + draw.below(8) {
            let mut longer = growing.clone();
            // A third convolutions: what lies channels last comes from them.
            let element = match draw.below(3) {
                0 => {
                    r#"type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"#
                }
                _ => elements[draw.below(elements.len())],
            };
            longer.add(n, element, &mut draw);
            if build(&longer.plain, Mode::Train, true).is_ok()
                && build(&longer.text, Mode::Train, false).is_ok()
            {
                growing = longer;
                layers += 1;
            }
        }
        let names: Vec<(&str, &str)> = growing
            .blobs
            .iter()
            .map(|(name, plain)| (&name[..], &plain[..]))
            .collect();
        let (net, plain) = (
            Written {
                text: &growing.text,
                names: &names,
            },
            Written {
                text: &growing.plain,
                names: &[],
            },
        );
        for mode in [Mode::Test, Mode::Train] {
            match compare(net, plain, mode) {
                Ok(runs) => compared += usize::from(runs),
                Err(e) => failures.push(format!("net {seed}: {e}")),
            }
        }
    }
    println!("{nets} random nets of {layers} layers: {compared} passes compared");
    failures.truncate(8);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared as u64 > nets);
}

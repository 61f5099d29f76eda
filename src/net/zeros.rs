//! Layers whose weights are all 0: without a `weight_filler` a layer starts so, computes its bias alone and passes
//! no gradient on.

use super::{Net, Weights};
use crate::filler;
use crate::proto::caffe::FillerParameter;
use crate::random::{Purpose, Random};
use anyhow::Result;
use std::collections::BTreeSet;

/// Names in a sentence at most; the others are counted.
const NAMES: usize = 6;

impl Net {
    /// The layers all of whose weights (what may be pruned: no biases, no statistics) are 0, in the order of the
    /// net. Those of `given`, whose weights come from a file, are as they shall be.
    pub fn zero_layers(&self, weights: &Weights, given: &BTreeSet<String>) -> Vec<&str> {
        let mut found: Vec<(&str, bool)> = Vec::new();
        for (p, w) in self.params.iter().zip(weights) {
            if !p.prunable || w.data.is_empty() || given.contains(&p.layer) {
                continue;
            }
            let zero = w.data.iter().all(|v| *v == 0.0);
            match found.iter_mut().find(|(name, _)| *name == p.layer) {
                Some((_, all)) => *all &= zero,
                None => found.push((&p.layer, zero)),
            }
        }
        found.iter().filter(|f| f.1).map(|f| f.0).collect()
    }

    /// Gives every weight array that is all 0 the numbers of an msra filler, as if the prototxt had one, but those
    /// of the layers `given`. Returns the layers that got some.
    pub fn noise_for_zeros(
        &self,
        weights: &mut Weights,
        given: &BTreeSet<String>,
        seed: u64,
    ) -> Result<Vec<&str>> {
        let msra = FillerParameter {
            r#type: Some("msra".into()),
            ..Default::default()
        };
        let mut names: Vec<&str> = Vec::new();
        for (id, p) in self.params.iter().enumerate() {
            let zero = weights[id].data.iter().all(|v| *v == 0.0);
            if !p.prunable || !zero || given.contains(&p.layer) {
                continue;
            }
            let random = Random::new(seed, Purpose::Filler, id as u64);
            weights[id].data = filler::fill(&msra, &p.shape, random)?;
            if names.last() != Some(&p.layer.as_str()) {
                names.push(&p.layer);
            }
        }
        Ok(names)
    }
}

/// `c1, c2 and 3 more`.
pub fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What a run says of [`Net::zero_layers`]; nothing where there are none.
pub fn said(names: &[&str]) -> Option<String> {
    let (layers, they) = match names.len() {
        0 => return None,
        1 => ("1 layer starts".to_string(), "it has"),
        n => (format!("{n} layers start"), "they have"),
    };
    Some(format!(
        "{layers} with all weights 0, since {they} no weight_filler (or a constant one of 0) and no --weights file \
         gives them any: {}",
        listed(names)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Mode;
    use crate::net::Options;
    use crate::net::graph::{Graph, State};
    use crate::proto::parse;
    use crate::tensor::Shape;

    const NET: &str = "
        layer { name: 'data' type: 'Input' top: 'data' }
        layer { name: 'none' type: 'Convolution' bottom: 'data' top: 'a'
          convolution_param { num_output: 8 kernel_size: 1 } }
        layer { name: 'norm' type: 'BatchNorm' bottom: 'a' top: 'b' }
        layer { name: 'bias' type: 'Bias' bottom: 'b' top: 'c' }
        layer { name: 'zero' type: 'InnerProduct' bottom: 'c' top: 'd'
          inner_product_param { num_output: 3 weight_filler { type: 'constant' value: 0 } bias_filler { value: 1 } } }
        layer { name: 'some' type: 'InnerProduct' bottom: 'd' top: 'e'
          inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }";

    fn net() -> Net {
        let graph = Graph::new(&parse(NET, "net").unwrap(), &State::new(Mode::Test)).unwrap();
        Net::new(graph, &[Shape::new([2, 4, 3, 3])], &Options::default()).unwrap()
    }

    #[test]
    fn layers_without_a_filler_start_at_zero_and_biases_and_statistics_may() {
        let net = net();
        let weights = net.fill(1).unwrap();
        assert_eq!(
            net.zero_layers(&weights, &BTreeSet::new()),
            ["none", "zero"]
        );
        let given = BTreeSet::from(["none".to_string()]);
        assert_eq!(net.zero_layers(&weights, &given), ["zero"]);
    }

    #[test]
    fn noise_takes_the_place_of_zeros_alone() {
        let net = net();
        let before = net.fill(1).unwrap();
        let given = BTreeSet::new();
        let noisy = |seed| {
            let mut weights = before.clone();
            let names = net.noise_for_zeros(&mut weights, &given, seed).unwrap();
            assert_eq!(names, ["none", "zero"]);
            weights
        };
        let (one, two) = (noisy(1), noisy(2));
        assert!(net.zero_layers(&one, &given).is_empty());
        for ((p, w), (other, old)) in net.params().iter().zip(&one).zip(two.iter().zip(&before)) {
            let changed = p.prunable && p.layer != "some";
            assert_eq!(w.data != old.data, changed, "{}", p.label());
            assert_eq!(w.data != other.data, changed, "{}", p.label());
            assert!(!changed || w.data.iter().all(|v| v.is_finite() && *v != 0.0));
        }
    }

    #[test]
    fn one_sentence_names_a_few() {
        assert_eq!(said(&[]), None);
        let one = said(&["a"]).unwrap();
        assert!(
            one.starts_with("1 layer starts with all weights 0, since it has no"),
            "{one}"
        );
        let many = said(&["a", "b", "c", "d", "e", "f", "g", "h"]).unwrap();
        assert!(many.starts_with("8 layers start"), "{many}");
        assert!(many.ends_with("any: a, b, c, d, e, f and 2 more"), "{many}");
    }
}

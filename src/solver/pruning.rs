//! Which weights go: rules for one layer by itself, and those that look at several at once.

use super::mask::{Mask, pruned_count};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use std::fmt;

/// What is pruned of one layer's weights. Where nothing else is said, those of smallest magnitude go, and of equals those
/// of smallest index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `0.3`: this fraction of them, in [0, 1).
    Fraction(f64),
    /// `std:0.5`: those with |w| < quality · the standard deviation of the layer's weights (Han et al. 2015,
    /// "Learning both Weights and Connections for Efficient Neural Networks", section 3.1). The deviation
    /// is NumPy's `std`: from the mean, over all values, the zeros of earlier pruning included.
    Quality(f64),
    /// `global:0.8`: this fraction of the weights of all layers with this rule together, by one threshold.
    Global(f64),
    /// `erk:0.8`: this fraction of all layers with this rule together, each layer by itself, with densities as in
    /// [`erk`].
    Erk(f64),
    /// `random:0.5`: this fraction, drawn by chance.
    Random(f64),
    /// `random:erk:0.8`: drawn by chance, with densities as in [`erk`].
    RandomErk(f64),
    /// `2:4`: of every `of` weights in a row along the input channels, the `keep` largest stay. These channels are the second
    /// size of a convolution's and an inner product's weights; a Deconvolution and a transposed inner product have their
    /// outputs there.
    Groups {
        /// The weights that stay …
        keep: usize,
        /// … of so many.
        of: usize,
    },
}

/// The largest group of [`Rule::Groups`].
const MOST: usize = 1 << 16;

impl Rule {
    /// Reads any of the forms that [`fmt::Display`] writes.
    ///
    /// # Errors
    /// No such form, or a number out of its range.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let rule = match text.split_once(':') {
            None => Self::Fraction(fraction(text)?),
            Some(("std", quality)) => Self::Quality(quality_of(quality)?),
            Some(("global", part)) => Self::Global(fraction(part)?),
            Some(("erk", part)) => Self::Erk(fraction(part)?),
            Some(("random", part)) => match part.trim().strip_prefix("erk:") {
                Some(part) => Self::RandomErk(fraction(part)?),
                None => Self::Random(fraction(part)?),
            },
            Some((keep, of)) => groups(keep, of)?,
        };
        Ok(rule)
    }

    /// The fraction that goes of every layer with this rule, where the rule alone tells it.
    pub fn fraction(self) -> Option<f64> {
        match self {
            Self::Fraction(f) | Self::Random(f) => Some(f),
            _ => None,
        }
    }

    /// Whether only magnitudes decide, so that a mask may grow one weight after the other.
    pub fn is_by_magnitude(self) -> bool {
        !matches!(
            self,
            Self::Random(_) | Self::RandomErk(_) | Self::Groups { .. }
        )
    }

    /// The number of `weights` that go by a rule for one layer by itself.
    pub fn pruned(self, weights: &[f32]) -> usize {
        match self {
            Self::Quality(quality) => {
                let threshold = quality * deviation(weights);
                let below = |w: &&f32| f64::from(w.abs()) < threshold;
                weights.iter().filter(below).count()
            }
            Self::Fraction(f)
            | Self::Global(f)
            | Self::Erk(f)
            | Self::Random(f)
            | Self::RandomErk(f) => pruned_count(f, weights.len()),
            Self::Groups { keep, of } => weights.len() - weights.len() * keep / of,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(part) => write!(f, "{part}"),
            Self::Quality(quality) => write!(f, "std:{quality}"),
            Self::Global(part) => write!(f, "global:{part}"),
            Self::Erk(part) => write!(f, "erk:{part}"),
            Self::Random(part) => write!(f, "random:{part}"),
            Self::RandomErk(part) => write!(f, "random:erk:{part}"),
            Self::Groups { keep, of } => write!(f, "{keep}:{of}"),
        }
    }
}

fn number(text: &str) -> Result<f64> {
    let text = text.trim();
    text.parse()
        .with_context(|| format!("'{text}' is not a number"))
}

fn fraction(text: &str) -> Result<f64> {
    let fraction = number(text)?;
    if !(0.0..1.0).contains(&fraction) {
        bail!("{fraction} must lie in [0, 1): it is the fraction of weights removed");
    }
    Ok(fraction)
}

fn quality_of(text: &str) -> Result<f64> {
    let quality = number(text)?;
    if !(0.0..f64::INFINITY).contains(&quality) {
        bail!(
            "{quality} must be 0 or more: weights below it times their layer's standard deviation go"
        );
    }
    Ok(quality)
}

fn groups(keep: &str, of: &str) -> Result<Rule> {
    let (Ok(n), Ok(m)) = (keep.trim().parse(), of.trim().parse()) else {
        bail!(
            "'{keep}:{of}' is no rule; expected a fraction such as 0.5, std:Q, global:S, erk:S, random:S, random:erk:S \
             or N:M such as 2:4"
        );
    };
    if !(1..=m).contains(&n) || m > MOST {
        bail!("{n}:{m} must have 1 to M of M weights stay, and M at most {MOST}");
    }
    Ok(Rule::Groups { keep: n, of: m })
}

/// The standard deviation of some weights about their mean, dividing by their number.
fn deviation(weights: &[f32]) -> f64 {
    let n = weights.len().max(1) as f64;
    let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
    let square = |w: &f32| (f64::from(*w) - mean).powi(2);
    (weights.iter().map(square).sum::<f64>() / n).sqrt()
}

/// A parameter that rules are for.
pub struct Subject<'a> {
    /// Its rule; without one, all its weights stay.
    pub rule: Option<Rule>,
    /// Its values.
    pub weights: &'a [f32],
    /// Its sizes, outputs first, then input channels.
    pub dims: &'a [usize],
    /// The numbers by which a rule of chance draws, of its own.
    pub random: Random,
}

/// The masks that the rules make of the weights as they are, one a subject.
pub fn masks(subjects: &[Subject]) -> Vec<Mask> {
    let mut masks: Vec<Mask> = subjects.iter().map(alone).collect();
    let mut done: Vec<Rule> = Vec::new();
    for rule in subjects.iter().filter_map(|s| s.rule) {
        let joint = matches!(rule, Rule::Global(_) | Rule::Erk(_) | Rule::RandomErk(_));
        if !joint || done.contains(&rule) {
            continue;
        }
        done.push(rule);
        let of_rule = |&i: &usize| subjects[i].rule == Some(rule);
        let ids: Vec<usize> = (0..subjects.len()).filter(of_rule).collect();
        let group: Vec<&Subject> = ids.iter().map(|&i| &subjects[i]).collect();
        for (i, mask) in ids.iter().zip(together(rule, &group)) {
            masks[*i] = mask;
        }
    }
    masks
}

/// The mask of a rule for one layer by itself; of one for several, all weights.
fn alone(subject: &Subject) -> Mask {
    let Subject { weights, dims, .. } = subject;
    match subject.rule {
        Some(rule @ (Rule::Fraction(_) | Rule::Quality(_))) => {
            Mask::prune_smallest(weights, rule.pruned(weights))
        }
        Some(Rule::Random(part)) => by_chance(subject, pruned_count(part, weights.len())),
        Some(Rule::Groups { keep, of }) => grouped(weights, dims, keep, of),
        _ => Mask::all(weights.len()),
    }
}

/// The masks of layers that share the fraction of one rule.
fn together(rule: Rule, group: &[&Subject]) -> Vec<Mask> {
    match rule {
        Rule::Global(part) => {
            let weights: Vec<&[f32]> = group.iter().map(|s| s.weights).collect();
            global(&weights, part)
        }
        Rule::Erk(part) | Rule::RandomErk(part) => {
            let dims: Vec<&[usize]> = group.iter().map(|s| s.dims).collect();
            let alive = erk(&dims, part);
            let each = group.iter().zip(alive).map(|(s, alive)| {
                let k = s.weights.len().saturating_sub(alive);
                match rule {
                    Rule::RandomErk(_) => by_chance(s, k),
                    _ => Mask::prune_smallest(s.weights, k),
                }
            });
            each.collect()
        }
        _ => group.iter().map(|s| alone(s)).collect(),
    }
}

/// Prunes `part` of all these weights by one threshold; among equals the first array's go first.
fn global(arrays: &[&[f32]], part: f64) -> Vec<Mask> {
    let all = arrays.concat();
    let mask = Mask::prune_smallest(&all, pruned_count(part, all.len()));
    let mut start = 0;
    let of = |a: &&[f32]| {
        let from = start;
        start += a.len();
        Mask::of(a.len(), |i| mask.get(from + i))
    };
    arrays.iter().map(of).collect()
}

/// How many weights stay of each array by the Erdős–Rényi-Kernel rule (Evci et al. 2020, "Rigging the Lottery",
/// section 3(1)): the density of an array is proportional to the sum of its sizes over their product, and `part` of all
/// weights goes, exactly. An array whose density would pass 1 stays whole and the others are computed again. What is lost
/// by rounding down goes to those that lost most, of equals to the first.
pub fn erk(dims: &[&[usize]], part: f64) -> Vec<usize> {
    let counts: Vec<usize> = dims.iter().map(|d| d.iter().product()).collect();
    let raw = |d: &&[usize]| {
        let product: usize = d.iter().product();
        d.iter().sum::<usize>() as f64 / product.max(1) as f64
    };
    let raw: Vec<f64> = dims.iter().map(raw).collect();
    let all: usize = counts.iter().sum();
    let wanted = all - pruned_count(part, all);
    let mut whole = vec![false; dims.len()];
    let densities: Vec<f64> = loop {
        let dense: usize = (0..dims.len())
            .filter(|&i| whole[i])
            .map(|i| counts[i])
            .sum();
        let open = (0..dims.len()).filter(|&i| !whole[i]);
        let weight: f64 = open.map(|i| raw[i] * counts[i] as f64).sum();
        let scale = if weight > 0.0 {
            wanted.saturating_sub(dense) as f64 / weight
        } else {
            0.0
        };
        let density = |i: usize| if whole[i] { 1.0 } else { scale * raw[i] };
        let now: Vec<f64> = (0..dims.len()).map(density).collect();
        let over: Vec<usize> = (0..dims.len()).filter(|&i| now[i] > 1.0).collect();
        if over.is_empty() {
            break now;
        }
        over.into_iter().for_each(|i| whole[i] = true);
    };
    let exact = |i: usize| densities[i] * counts[i] as f64;
    let mut alive: Vec<usize> = (0..dims.len())
        .map(|i| (exact(i).floor() as usize).min(counts[i]))
        .collect();
    let mut order: Vec<usize> = (0..dims.len()).collect();
    let lost = |i: usize| exact(i) - exact(i).floor();
    order.sort_by(|&a, &b| lost(b).total_cmp(&lost(a)).then(a.cmp(&b)));
    let mut left = wanted.saturating_sub(alive.iter().sum());
    while left > 0 {
        for &i in order
            .iter()
            .filter(|&&i| alive[i] < counts[i])
            .collect::<Vec<_>>()
        {
            if left > 0 {
                alive[i] += 1;
                left -= 1;
            }
        }
    }
    alive
}

/// Prunes `k` weights by chance; those that are 0 already go first, so that a sparse phase after another prunes further.
fn by_chance(subject: &Subject, k: usize) -> Mask {
    let (weights, random) = (subject.weights, subject.random);
    Mask::prune_first(weights.len(), k, |i| {
        (weights[i] != 0.0, random.bits(i as u64))
    })
}

/// Of every `of` weights in a row, the `keep` largest; of equals, those of smallest index go. Rows run along the input
/// channels, at each output and place of the kernel by itself, as NVIDIA's 2:4 sparsity has them; the weights
/// that are left at the end of a row are a group of their own, of which no more than `keep` stay.
fn grouped(weights: &[f32], dims: &[usize], keep: usize, of: usize) -> Mask {
    let channels = dims.get(1).copied().unwrap_or(1).max(1);
    // The kernel's places, over which neighbouring channels lie apart.
    let step = dims.iter().skip(2).product::<usize>().max(1);
    let mut alive = vec![false; weights.len()];
    let mut group: Vec<usize> = Vec::with_capacity(of.min(channels));
    for row in 0..weights.len() / channels.saturating_mul(step).max(1) {
        for place in 0..step {
            for first in (0..channels).step_by(of) {
                let at = |c: usize| (row * channels + c) * step + place;
                group.clear();
                group.extend((first..channels.min(first + of)).map(at));
                group.sort_by_key(|&i| (weights[i].abs().to_bits(), i));
                let lost = group.len().saturating_sub(keep);
                group[lost..].iter().for_each(|&i| alive[i] = true);
            }
        }
    }
    Mask::of(weights.len(), |i| alive[i])
}

#[cfg(test)]
#[path = "pruning_tests.rs"]
mod tests;

//! `dsd compress --max_loss`: bits, and pruning, by measured accuracy.

use super::forms::{bits_told, plain_bytes, shared_bytes, table};
use super::judge::{Judge, Measured};
use super::{Coded, Coder, prunable};
use crate::cli;
use crate::commands::{Settings, Usage, nets};
use crate::compress::codebook::MOST_BITS;
use crate::net::Net;
use crate::report::output;
use crate::solver::bits::{Bits, FEWEST_BITS};
use crate::solver::mask::{Mask, pruned_count};
use crate::statistics::{binomial_error, two_digits};
use crate::weights_file::Stored;
use crate::{files, info, outln, weights_file};
use anyhow::{Result, bail};

/// A way to make the file smaller.
struct Trial {
    /// In a few words.
    told: String,
    sparsity: f64,
    bits: Bits,
    coded: Coded,
    measured: Measured,
}

/// What all trials share.
struct Search {
    judge: Judge,
    coder: Coder,
    dense: Measured,
    points: f64,
    tried: usize,
    /// The smallest that holds.
    best: Option<Trial>,
    /// The one that loses least of those that do not hold.
    nearest: Option<(String, f64)>,
}

/// Runs the command.
pub fn run(
    args: &cli::Compress,
    settings: &Settings,
    bits: Option<Bits>,
    points: f64,
) -> Result<()> {
    let sparsities = sparsities(args, points)?;
    let (stored, net) = nets::stored(args.model.as_deref(), args.weights())?;
    super::warn_of_unmatched(bits.as_ref(), &stored);
    let coder = Coder::new(args, settings, net)?;
    let judge = Judge::open(args, settings)?;
    info!(
        "Measuring {} on {} pictures, each choice by itself",
        judge.measure.name,
        judge.pictures()
    );
    let dense = judge.measure(&stored)?;
    info!("As it is: {} = {:.4}", judge.measure.name, dense.accuracy);
    let mut search = Search {
        judge,
        coder,
        dense,
        points,
        tried: 0,
        best: None,
        nearest: None,
    };
    let mut pruned_rows = Vec::new();
    for sparsity in sparsities {
        let pruned = pruned(&stored, search.coder.net.as_ref(), sparsity);
        if sparsity > 0.0 {
            let measured = search.judge.measure(&pruned)?;
            let lost = measured.lost(&dense);
            info!(
                "{sparsity} pruned: {:.4}, loses {lost:.2}",
                measured.accuracy
            );
            pruned_rows.push((sparsity, measured));
            if lost > points {
                search.missed(format!("{sparsity} pruned alone"), lost);
                // What is pruned more loses more.
                break;
            }
        }
        let choices = match &bits {
            Some(bits) => vec![bits.clone()],
            None => every_bits()?,
        };
        let mut missed = 0;
        for bits in choices {
            let told = match bits.everywhere() {
                Some(n) => format!("{n} bits"),
                None => format!("bits {}", bits.text()),
            };
            missed = match search.try_out(&pruned, sparsity, bits, &told)? {
                true => 0,
                false => missed + 1,
            };
            // One miss may be chance: fewer bits now and then do better.
            if missed == 2 {
                break;
            }
        }
    }
    if args.per_layer {
        search.per_layer(&stored)?;
    }
    let Search {
        judge,
        dense,
        best,
        nearest,
        tried,
        coder,
        ..
    } = search;
    let Some(best) = best else {
        let (nearest, lost) = nearest.unwrap_or(("the one choice".into(), f64::NAN));
        bail!(
            "no choice loses at most {points} points of {} on these {} pictures: {nearest}, the nearest of {tried} tried, loses \
             {lost:.2}; nothing is written: allow more by --max_loss, or train with shared values (dsd quantize)",
            judge.measure.name,
            judge.pictures()
        );
    };
    files::write_atomic(args.out(), |w| Ok(w.write_all(&best.coded.bytes)?))?;
    info!("Wrote {}", args.out().display());
    let written = match &coder.net {
        Some(net) => weights_file::read(args.out(), net)?,
        None => weights_file::read_named(args.out(), &best.coded.bytes)?,
    };
    let file = judge.measure(&written)?;
    let mut rows = vec![("dense (float32)".to_string(), plain_bytes(&stored), dense)];
    if let Some((s, measured)) = pruned_rows.into_iter().find(|(s, _)| *s == best.sparsity) {
        let alone = pruned(&stored, coder.net.as_ref(), s);
        let (bytes, _) = weights_file::to_container(&alone, &[])?;
        rows.push((format!("pruned ({s})"), bytes.len(), measured));
    }
    let shared = shared_bytes(&best.coded.stored);
    rows.push((
        format!("shared values ({})", bits_told(&best.coded.parts)),
        shared,
        best.measured,
    ));
    rows.push(("coded (the file)".into(), best.coded.bytes.len(), file));
    output::text(format_args!("{}", table(&rows, &judge)))?;
    coder.tell_model(args.out());
    let n = judge.pictures() as u64;
    outln!(
        "{}: {} by --bits {} loses {:.2} of at most {points} points ({n} pictures: ± {:.2} by chance alone); {:.2} times \
         smaller, the smallest that holds of {tried} tried",
        args.out().display(),
        match best.sparsity {
            0.0 => "not pruned,".to_string(),
            s => format!("{s} pruned,"),
        },
        best.bits.text(),
        two_digits(file.lost(&dense)),
        100.0 * binomial_error(dense.accuracy, n),
        plain_bytes(&stored) as f64 / best.coded.bytes.len() as f64
    )?;
    Ok(())
}

/// None first, then those asked for, from few to many.
fn sparsities(args: &cli::Compress, points: f64) -> Result<Vec<f64>, Usage> {
    if !(0.0..=100.0).contains(&points) {
        return Err(Usage(format!(
            "--max_loss: {points} must lie in 0 to 100: it is how many percentage points of accuracy may be lost"
        )));
    }
    if let Some(bad) = args.sparsity.iter().find(|s| !(0.0..1.0).contains(*s)) {
        return Err(Usage(format!(
            "--sparsity: {bad} must lie in 0 to 1 (and not be 1): it is the fraction of a layer's weights that goes"
        )));
    }
    let mut all = args.sparsity.clone();
    all.push(0.0);
    all.sort_by(f64::total_cmp);
    all.dedup();
    Ok(all)
}

fn every_bits() -> Result<Vec<Bits>> {
    let each = (FEWEST_BITS..=MOST_BITS).rev();
    each.map(|n| Bits::parse(&n.to_string())).collect()
}

impl Search {
    fn missed(&mut self, told: String, lost: f64) {
        if self.nearest.as_ref().is_none_or(|(_, least)| lost < *least) {
            self.nearest = Some((told, lost));
        }
    }

    /// Measures a choice, `told` in a few words; whether it holds.
    fn try_out(&mut self, pruned: &Stored, sparsity: f64, bits: Bits, told: &str) -> Result<bool> {
        let coded = self.coder.code(pruned.clone(), Some(&bits))?;
        let trial = Trial {
            told: match sparsity {
                0.0 => told.to_string(),
                s => format!("{s} pruned, {told}"),
            },
            sparsity,
            bits,
            measured: self.judge.measure(&coded.stored)?,
            coded,
        };
        self.tried += 1;
        let lost = trial.measured.lost(&self.dense);
        info!(
            "{}: {} bytes, {} = {:.4}, loses {:.2}",
            trial.told,
            trial.coded.bytes.len(),
            self.judge.measure.name,
            trial.measured.accuracy,
            two_digits(lost)
        );
        if lost > self.points {
            self.missed(trial.told, lost);
            return Ok(false);
        }
        let smaller = |b: &Trial| trial.coded.bytes.len() < b.coded.bytes.len();
        if self.best.as_ref().is_none_or(smaller) {
            self.best = Some(trial);
        }
        Ok(true)
    }

    /// Takes a bit from one layer after the other, the largest first, where that holds.
    fn per_layer(&mut self, stored: &Stored) -> Result<()> {
        let Some(best) = &self.best else {
            return Ok(());
        };
        let sparsity = best.sparsity;
        let pruned = pruned(stored, self.coder.net.as_ref(), sparsity);
        let mut parts: Vec<(usize, String, u32)> = best
            .coded
            .parts
            .iter()
            .filter_map(|p| Some((p.bytes, p.name.clone(), p.bits?)))
            .collect();
        parts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for at in 0..parts.len() {
            if parts[at].2 <= FEWEST_BITS {
                continue;
            }
            let mut less = parts.clone();
            less[at].2 -= 1;
            let rules: Vec<String> = less.iter().map(|(_, n, b)| format!("{n}={b}")).collect();
            let told = format!("{} at {} bits", less[at].1, less[at].2);
            let bits = Bits::parse(&rules.join(","))?;
            if self.try_out(&pruned, sparsity, bits, &told)? {
                parts = less;
            }
        }
        Ok(())
    }
}

/// The weights with a fraction of each layer's gone.
fn pruned(stored: &Stored, net: Option<&Net>, sparsity: f64) -> Stored {
    let mut pruned = stored.clone();
    if sparsity == 0.0 {
        return pruned;
    }
    for layer in &mut pruned.layers {
        for k in 0..layer.blobs.len() {
            if prunable(net, layer, k) {
                let data = &mut layer.blobs[k].data;
                let k = pruned_count(sparsity, data.len());
                Mask::prune_smallest(data, k).apply(data);
            }
        }
    }
    pruned
}

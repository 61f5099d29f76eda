//! The weights of each layer before and after each phase, as histograms, and the densities of layers.

use super::gathered::{Gathered, kind, stored};
use crate::page::{Cell, Histogram, Page, Panel, Table};
use crate::phase::Phase;
use crate::report::output::sentence;
use crate::weights_file::{Stored, StoredLayer};
use anyhow::Result;

/// Bins of a histogram: even, so that small weights of either sign are not in one.
const BINS: usize = 48;
/// Histograms reach to the weight that so many weights, of a thousand, are below.
const WITHIN: f64 = 0.999;
/// Layers whose histograms are drawn, at most, over all runs: more would make the page large.
const LAYERS: usize = 60;

/// Weights at one time: from which file, and which of them.
struct Moment {
    name: String,
    /// The index of the file.
    file: usize,
    /// The file whose zeros are left out, if any are: what is pruned is no weight.
    under: Option<usize>,
    /// Whether zeros are counted by themselves: weights that come back from 0.
    zeros: bool,
}

/// The weights of a run at the ends of its phases, and what was done to them in between.
struct Weights {
    files: Vec<Stored>,
    moments: Vec<Moment>,
}

impl Weights {
    fn read(run: &Gathered) -> Result<Self> {
        let (mut files, mut moments): (Vec<Stored>, Vec<Moment>) = (Vec::new(), Vec::new());
        if let Some([first]) = run.phases.first().map(|r| &r.from[..]) {
            let path = run.path(first);
            if path.is_file() {
                files.push(stored(&path)?);
                moments.push(Moment::of("given".into(), 0));
            }
        }
        for record in &run.phases {
            let Some(path) = run.weights_of(record) else {
                break;
            };
            files.push(stored(&path)?);
            let file = files.len() - 1;
            let before = file.checked_sub(1);
            let kind = kind(&record.phase);
            let cut = (kind == Some(Phase::Sparse)).then_some(file);
            if let (Some(before), Some(_)) = (before, cut) {
                let name = format!("cut for {}", record.phase);
                moments.push(Moment {
                    under: cut,
                    ..Moment::of(name, before)
                });
            }
            if let (Some(before), Some(Phase::Redense)) = (before, kind) {
                let name = format!("revived for {}", record.phase);
                moments.push(Moment {
                    zeros: true,
                    ..Moment::of(name, before)
                });
            }
            moments.push(Moment {
                under: cut,
                ..Moment::of(record.phase.clone(), file)
            });
        }
        Ok(Self { files, moments })
    }

    /// The histogram of a layer.
    fn histogram(&self, layer: &str) -> Histogram {
        let reach = self.reach(layer);
        let panels = self.moments.iter().map(|m| self.panel(layer, m, reach));
        let count = self
            .files
            .iter()
            .find_map(|f| Some(weights(f.layer(layer)?).count()));
        Histogram {
            title: layer.to_owned(),
            note: format!("{} weights", count.unwrap_or(0)),
            reach,
            panels: panels.collect(),
        }
    }

    /// How far the weights of a layer lie from 0 at any time.
    fn reach(&self, layer: &str) -> f64 {
        let mut reach = 0.0f32;
        for stored in self.files.iter().filter_map(|f| f.layer(layer)) {
            let mut sizes: Vec<f32> = weights(stored)
                .map(f32::abs)
                .filter(|v| v.is_finite())
                .collect();
            if sizes.is_empty() {
                continue;
            }
            let at = ((sizes.len() - 1) as f64 * WITHIN) as usize;
            let (_, size, _) = sizes.select_nth_unstable_by(at, f32::total_cmp);
            reach = reach.max(*size);
        }
        f64::from(if reach > 0.0 { reach } else { 1.0 })
    }

    fn panel(&self, layer: &str, moment: &Moment, reach: f64) -> Panel {
        let own = self.files[moment.file].layer(layer);
        let under = moment.under.and_then(|k| self.files[k].layer(layer));
        let all = own.map_or(0, |l| weights(l).count());
        let mut bins = vec![0usize; BINS];
        let (mut zeros, mut removed, mut sum, mut counted) = (0usize, 0usize, 0.0f64, 0usize);
        let mut mask = under.into_iter().flat_map(weights);
        for value in own.into_iter().flat_map(weights) {
            let lives = under.is_none() || mask.next().is_none_or(|m| m != 0.0);
            if !lives {
                removed += 1;
                continue;
            }
            sum += f64::from(value.abs());
            counted += 1;
            if moment.zeros && value == 0.0 {
                zeros += 1;
                continue;
            }
            let place = (f64::from(value) / reach + 1.0) / 2.0 * BINS as f64;
            bins[(place.max(0.0) as usize).min(BINS - 1)] += 1;
        }
        let part = |n: usize| n as f64 / all.max(1) as f64;
        let mut note = match counted {
            0 => String::new(),
            n => format!("mean |w| {:.3}", sum / n as f64),
        };
        if moment.under.is_some() {
            note += &format!(", {:.0}% removed", 100.0 * part(removed));
        }
        if moment.zeros {
            note += &format!(", {:.0}% are 0", 100.0 * part(zeros));
        }
        Panel {
            name: moment.name.clone(),
            note,
            bins: bins.into_iter().map(part).collect(),
            zeros: part(zeros),
        }
    }
}

impl Moment {
    fn of(name: String, file: usize) -> Self {
        Self {
            name,
            file,
            under: None,
            zeros: false,
        }
    }
}

/// The weights of a layer that can be pruned: of its blobs those that are no vector.
fn weights(layer: &StoredLayer) -> impl Iterator<Item = f32> + '_ {
    let wide =
        |blob: &crate::tensor::Tensor| blob.shape.dims().iter().filter(|d| **d > 1).count() > 1;
    let own = layer.blobs.iter().enumerate();
    own.filter(move |(k, b)| *k == 0 || wide(b))
        .flat_map(|(_, b)| b.data.iter().copied())
}

/// The layers that can be pruned, in the order of the files, the largest `most` of them.
fn layers(run: &Gathered, files: &[Stored], most: usize) -> Vec<String> {
    let prunable = |name: &str| run.phases.iter().any(|r| r.densities.contains_key(name));
    let Some(stored) = files.last() else {
        return Vec::new();
    };
    let own = stored.layers.iter().filter(|l| prunable(&l.name));
    let all: Vec<(usize, &str)> = own.map(|l| (weights(l).count(), &l.name[..])).collect();
    let mut sizes: Vec<usize> = all.iter().map(|l| l.0).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let least = sizes.get(most.saturating_sub(1)).copied().unwrap_or(0);
    let large = all.into_iter().filter(|l| l.0 >= least).take(most);
    large.map(|l| l.1.to_owned()).collect()
}

/// The histograms.
pub fn weights_section(page: &mut Page, runs: &[Gathered]) {
    page.section("Weights");
    page.note(
        "How the weights of each layer lay at the end of each phase, and at the start of the next: cut by the sparse phase's \
         mask, revived at 0 for the re-dense one (the spike). The histograms of a layer share their axes; removed weights are \
         in none, and a few bins that tower above all others are cut at the upper edge.",
    );
    for run in runs {
        if runs.len() > 1 {
            page.heading(&run.name);
        }
        if let Err(why) = histograms(page, run, LAYERS / runs.len().max(1)) {
            page.text(&format!(
                "The weights could not be read: {}.",
                sentence(&why)
            ));
        }
    }
}

fn histograms(page: &mut Page, run: &Gathered, most: usize) -> Result<()> {
    let weights = Weights::read(run)?;
    let layers = layers(run, &weights.files, most);
    if layers.is_empty() {
        page.text("No phase has ended yet, so there are no weights to look at.");
        return Ok(());
    }
    let count = run.phases.last().map_or(0, |r| r.densities.len());
    if count > layers.len() {
        page.note(&format!(
            "The {} layers of most weights, of {count}.",
            layers.len()
        ));
    }
    // The first few say what there is to see.
    let (shown, folded) = layers.split_at(layers.len().min(6));
    for layer in shown {
        page.histogram(&weights.histogram(layer));
    }
    if !folded.is_empty() {
        page.fold(&format!("{} more layers", folded.len()), |page| {
            for layer in folded {
                page.histogram(&weights.histogram(layer));
            }
        });
    }
    Ok(())
}

/// The density of each layer at the end of each phase.
pub fn densities(page: &mut Page, runs: &[Gathered]) {
    page.section("Density by layer");
    page.beside(|page| {
        runs.iter()
            .for_each(|run| density_table(page, run, runs.len() == 1))
    });
}

/// The densities in a run; `alone` on the page, it need not be named.
fn density_table(page: &mut Page, run: &Gathered, alone: bool) {
    let order = run.weights_order();
    let caption = match alone {
        true => "The fraction of each layer's weights that are not 0".to_owned(),
        false => format!(
            "The fraction of each layer's weights that are not 0, in {}",
            run.name
        ),
    };
    let heads = std::iter::once("layer").chain(run.phases.iter().map(|r| &r.phase[..]));
    let mut table = Table::new(&caption, heads);
    let cell = |density: Option<f64>| match density {
        Some(d) => Cell::new(format!("{d:.4}")).bar(d),
        None => Cell::default(),
    };
    for layer in &order {
        let own = run
            .phases
            .iter()
            .map(|r| cell(r.densities.get(layer).copied()));
        table.row(std::iter::once(Cell::new(layer.clone())).chain(own));
    }
    let all = run.phases.iter().map(|r| cell(Some(r.density)));
    table.row(std::iter::once(Cell::new("all")).chain(all));
    page.table(&table);
}

impl Gathered {
    /// The prunable layers in the order of the net, where weights tell it; else by their names.
    fn weights_order(&self) -> Vec<String> {
        let file = self.phases.iter().rev().find_map(|r| self.weights_of(r));
        let stored = file.and_then(|path| stored(&path).ok());
        let known = stored.map_or_else(Vec::new, |s| layers(self, &[s], usize::MAX));
        let named = self.phases.iter().flat_map(|r| r.densities.keys());
        let mut order = known;
        for name in named {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
        order
    }
}

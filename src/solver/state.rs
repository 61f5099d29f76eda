//! A run's snapshots: written, and gone on from.

use super::Solver;
use super::mask::Mask;
use super::schedule::Schedule;
use super::shared::Shared;
use super::snapshot::{self, Format, OfNet, Own};
use super::test::TestNet;
use crate::report::nets;
use crate::tensor::Tensor;
use crate::{info, warn};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The note of a state whose run scales dropout with the density.
const SCALE_DROPOUT: &str = "scale_dropout";

/// The note of a state that the clock asked for: the next such one takes its place.
const TIMED: &str = "timed";

impl Solver {
    /// Goes on from a snapshot, Caffe's or ours.
    pub fn restore(&mut self, path: &Path) -> Result<()> {
        info!("Resuming from {}", path.display());
        info!("Restoring previous solver status from {}", path.display());
        let state = snapshot::read(path)?;
        let stored = snapshot::weights(path, &state)?;
        let plan = self.net.restore(&mut self.weights, &stored)?;
        nets::loaded(&plan, &stored.file);
        info!("SGDSolver: restoring history");
        if state.history.len() != self.history.len() {
            bail!(
                "{}: {} history blobs for a net of {} (solver type \"{}\"): it belongs to another net or solver",
                path.display(),
                state.history.len(),
                self.history.len(),
                self.config.param.r#type()
            );
        }
        for (k, (mine, given)) in self.history.iter_mut().zip(&state.history).enumerate() {
            let param = &self.net.params()[k % self.weights.len()];
            if param.shape.count() != given.data.len() {
                bail!(
                    "{}: history blob {k} has shape {}, parameter {} of layer '{}' has {}",
                    path.display(),
                    given.shape,
                    param.index,
                    param.layer,
                    param.shape
                );
            }
            mine.clone_from(&given.data);
        }
        self.iter = state.iter;
        self.start = state.iter;
        let own_file = snapshot::file_name(
            &self.prefix,
            self.iter,
            Format::of(&self.config.param).state(),
        );
        self.saved = (path == own_file).then_some(self.iter);
        let mut tested = Vec::new();
        match state.own {
            Some(mut own) => {
                tested = std::mem::take(&mut own.test_batches);
                self.restore_own(path, own)?;
            }
            None if self.phase.keeps_zeros() => {
                info!("The state holds no masks: weights that are 0 stay 0");
                for (id, _) in self
                    .net
                    .params()
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| p.prunable)
                {
                    self.masks[id] = Some(Mask::of_nonzero(&self.weights[id].data));
                }
            }
            None => {}
        }
        self.apply_masks();
        self.rescale_dropout();
        self.clock_iter = self.iter;
        let iter_size = u64::from(self.config.param.iter_size().max(1) as u32);
        self.batches.seek(self.iter * iter_size);
        for (test, batches) in self.tests.iter_mut().zip(tested) {
            test.seek(batches);
        }
        Ok(())
    }

    /// Takes over what Caffe's states do not have.
    fn restore_own(&mut self, path: &Path, own: Own) -> Result<()> {
        if own.phase != self.phase {
            bail!(
                "{}: this is a state of the {} phase, not {}",
                path.display(),
                own.phase,
                self.phase
            );
        }
        let (was, now) = (own.precision, self.net.precision());
        if was != now {
            bail!(
                "{}: this is a state of a run in {was}, not {now}; give --precision {was} to go on with it, or its \
                 weights as --weights to train on in {now}",
                path.display()
            );
        }
        if own.seed != self.seed {
            warn!("the snapshot's seed {} replaces {}", own.seed, self.seed);
            self.seed = own.seed;
        }
        for (layer, k, mask) in own.masks {
            match self.param_id(&layer, k) {
                Some(id) if self.weights[id].data.len() == mask.count() => {
                    self.masks[id] = Some(mask)
                }
                _ => bail!(
                    "{}: its mask of layer '{layer}' fits no layer of the net",
                    path.display()
                ),
            }
        }
        for (layer, k, shared) in own.codebooks {
            match self.param_id(&layer, k) {
                Some(id) if self.weights[id].data.len() == shared.codes().len() => {
                    self.restore_shared(path, id, shared)?;
                }
                _ => bail!(
                    "{}: its codebook of layer '{layer}' fits no layer of the net",
                    path.display()
                ),
            }
        }
        if let Some(Schedule::Cubic(cubic)) = &own.schedule
            && let Some(ramp) = cubic
                .ramps
                .iter()
                .find(|r| self.param_id(&r.layer, r.blob).is_none())
        {
            bail!(
                "{}: its schedule prunes layer '{}', which the net does not have",
                path.display(),
                ramp.layer
            );
        }
        if let Some(Schedule::SrSte(srste)) = &own.schedule {
            self.restore_through(path, srste, own.dense)?;
        }
        self.schedule = own.schedule;
        self.seen = own.seen;
        let timed = own.notes.iter().any(|(name, _)| name == TIMED);
        self.time.timed = timed.then_some(self.iter).filter(|_| self.saved.is_some());
        let scaled = own.notes.iter().any(|(name, _)| name == SCALE_DROPOUT);
        if scaled != self.scale_dropout {
            let does = |scales| if scales { "does" } else { "does not" };
            warn!(
                "the snapshot's run {} scale dropout with the density, so this one {} too",
                does(scaled),
                does(scaled)
            );
            self.scale_dropout = scaled;
        }
        self.restore_carried(own.carried)
            .with_context(|| path.display().to_string())?;
        self.losses = own.losses.into();
        self.smoothed = own.smoothed;
        // A damaged file may say more.
        self.start = own.start.min(self.iter);
        Ok(())
    }

    /// What the recurrent layers of all nets carry on: 0 the training net's, k test net number k - 1's.
    fn all_carried(&self) -> Vec<OfNet> {
        let own = self.net.name_carried(&self.carried);
        let tests = self.tests.iter().map(TestNet::carried);
        let all = std::iter::once(own).chain(tests);
        (0..).zip(all).filter(|(_, c)| !c.is_empty()).collect()
    }

    fn restore_carried(&mut self, carried: Vec<OfNet>) -> Result<()> {
        for (net, named) in carried {
            match (net as usize).checked_sub(1) {
                None => self.carried = self.net.find_carried(named)?,
                // With fewer test nets than before nobody asks for the others' states.
                Some(k) => {
                    if let Some(test) = self.tests.get_mut(k) {
                        test.carry(named)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the weights of parameter `id` share values again.
    fn restore_shared(&mut self, path: &Path, id: usize, shared: Shared) -> Result<()> {
        let mut values = vec![0.0; shared.codes().len()];
        shared.write(&mut values);
        let weights = &self.weights[id].data;
        if let Some(i) = (0..values.len()).find(|&i| values[i].to_bits() != weights[i].to_bits()) {
            bail!(
                "{}: by its codebook weight {i} of layer '{}' is {}, in the weights beside it {}: they are of \
                 different snapshots",
                path.display(),
                self.net.params()[id].layer,
                values[i],
                weights[i]
            );
        }
        for h in self.history.iter_mut().skip(id).step_by(self.weights.len()) {
            *h = shared.collect(h);
        }
        self.shared[id] = Some(shared);
        Ok(())
    }

    /// Writes the weights and the state; gives the path of the weights.
    pub fn snapshot(&mut self) -> Result<PathBuf> {
        self.write_snapshot(false)
    }

    /// The same, for the user or because the clock said so.
    pub(super) fn write_snapshot(&mut self, timed: bool) -> Result<PathBuf> {
        let format = Format::of(&self.config.param);
        let model = snapshot::file_name(&self.prefix, self.iter, format.weights());
        info!("Snapshotting to {} file {}", format.name(), model.display());
        // The files' messages are as large as the weights: they take the place of what passes have used.
        self.net.rest();
        if self.config.param.snapshot_diff() {
            for (g, shared) in self.gradients.iter_mut().zip(&self.shared) {
                if let Some(shared) = shared.as_ref().filter(|_| !g.is_empty()) {
                    *g = shared.spread(shared.gradient());
                }
            }
        }
        let diffs = self.config.param.snapshot_diff();
        let diffs = diffs.then_some(&self.gradients[..]);
        snapshot::write_weights(&model, format, &self.net, &self.weights, diffs)?;
        let path = snapshot::file_name(&self.prefix, self.iter, format.state());
        info!(
            "Snapshotting solver state to {} file {}",
            format.name(),
            path.display()
        );
        let state = snapshot::State {
            iter: self.iter,
            learned_net: crate::files::encoding::name(&model),
            history: self.whole_history(),
            current_step: self.policy.step(self.iter.saturating_sub(1)),
            own: Some(self.own(timed)),
        };
        snapshot::write(&path, format, state)?;
        self.saved = Some(self.iter);
        self.time.saved = Instant::now();
        if timed {
            self.time.timed = Some(self.iter);
        } else if self.time.timed == self.saved {
            self.time.timed = None;
        }
        Ok(model)
    }

    /// The histories in the shapes of the parameters, as Caffe's files have them: of weights that share values,
    /// each has its centroid's.
    fn whole_history(&self) -> Vec<Tensor> {
        let params = self.net.params();
        let tensor = |(k, h): (usize, &Vec<f32>)| {
            let id = k % params.len();
            Tensor {
                shape: params[id].shape.clone(),
                data: match &self.shared[id] {
                    Some(shared) => shared.spread(h),
                    None => h.clone(),
                },
            }
        };
        self.history.iter().enumerate().map(tensor).collect()
    }

    /// What Caffe's states do not have.
    fn own(&self, timed: bool) -> Own {
        let params = self.net.params();
        let named = |id: usize| (params[id].owner(), params[id].index);
        let masks = self.masks.iter().enumerate();
        let masks = masks.filter_map(|(id, m)| Some((named(id), m.clone()?)));
        let shared = self.shared.iter().enumerate();
        let shared = shared.filter_map(|(id, s)| Some((named(id), s.clone()?)));
        let notes = [(SCALE_DROPOUT, self.scale_dropout), (TIMED, timed)];
        let notes = notes.into_iter().filter(|(_, holds)| *holds);
        let note = |(name, _): (&str, bool)| (name.to_string(), "true".to_string());
        Own {
            phase: self.phase,
            seed: self.seed,
            precision: self.net.precision(),
            masks: masks.map(|((layer, k), m)| (layer, k, m)).collect(),
            codebooks: shared.map(|((layer, k), s)| (layer, k, s)).collect(),
            schedule: self.schedule.clone(),
            dense: self.dense_behind(),
            seen: self.seen,
            test_batches: self.tests.iter().map(TestNet::batches_done).collect(),
            carried: self.all_carried(),
            losses: self.losses.iter().copied().collect(),
            smoothed: self.smoothed,
            start: self.start,
            notes: notes.map(note).collect(),
        }
    }

    /// The parameter `blob` of a layer.
    pub(super) fn param_id(&self, layer: &str, blob: usize) -> Option<usize> {
        let params = self.net.params();
        params
            .iter()
            .position(|p| p.owner() == layer && p.index == blob)
    }
}

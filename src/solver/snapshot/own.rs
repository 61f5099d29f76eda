//! What only `dsd` stores in a solver state, as the message that both formats hold.

use super::super::converge::Seen;
use super::super::schedule::acdc::{AcDc, Side};
use super::super::schedule::{Cubic, Ramp, RigL, Schedule, SrSte};
use super::super::shared::Shared;
use super::super::sparsity::Sparsity;
use super::{Mask, OfNet, Own, State};
use crate::compress::codebook::Codebook;
use crate::layers::Precision;
use crate::net::carried::Named;
use crate::proto::caffe::{
    DsdCarried, DsdConvergence, DsdDense, DsdEntry, DsdFloats, DsdMask, DsdRamp, DsdSchedule,
    DsdShared, DsdState,
};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// What only `dsd` stores, as a message.
pub(super) fn own_message(state: &State) -> DsdState {
    let own = state.own.clone().unwrap_or_default();
    let mask = |(layer, k, mask): &(String, usize, Mask)| DsdMask {
        layer: Some(layer.clone()),
        blob: Some(*k as u32),
        count: Some(mask.count() as u64),
        bits: Some(mask.bits().to_vec()),
    };
    let codebook = |(layer, k, shared): &(String, usize, Shared)| DsdShared {
        layer: Some(layer.clone()),
        blob: Some(*k as u32),
        bits: Some(shared.book().bits()),
        values: shared.book().values().to_vec(),
        codes: Some(shared.codes().to_vec()),
    };
    let note = |(k, v)| DsdEntry {
        key: Some(k),
        value: Some(v),
    };
    DsdState {
        version: Some(1),
        phase: Some(own.phase.to_string()),
        masks: own.masks.iter().map(mask).collect(),
        shared: own.codebooks.iter().map(codebook).collect(),
        schedule: own.schedule.as_ref().map(schedule_message),
        seed: Some(own.seed),
        precision: Some(own.precision.to_string()),
        test_batches: own.test_batches,
        recent_losses: own.losses,
        smoothed_loss: Some(own.smoothed),
        phase_start: Some(own.start),
        extra: own.notes.into_iter().map(note).collect(),
        carried: own.carried.iter().flat_map(carried_messages).collect(),
        dense: own.dense.into_iter().map(dense).collect(),
        convergence: own.seen.best.map(|best| DsdConvergence {
            best: Some(best),
            waited: Some(own.seen.waited),
        }),
        ..Default::default()
    }
}

fn carried_messages((net, layers): &OfNet) -> Vec<DsdCarried> {
    let one = |(layer, states): &(String, Vec<Vec<f32>>)| DsdCarried {
        net: Some(*net),
        layer: Some(layer.clone()),
        states: states
            .iter()
            .map(|values| DsdFloats {
                values: values.clone(),
            })
            .collect(),
    };
    layers.iter().map(one).collect()
}

/// The reverse: the nets in the order of their numbers.
fn carried(messages: Vec<DsdCarried>) -> Vec<OfNet> {
    let mut nets: BTreeMap<u32, Named> = BTreeMap::new();
    for m in messages {
        let states = m.states.iter().map(|s| s.values.clone()).collect();
        let layer = m.layer().to_string();
        nets.entry(m.net()).or_default().push((layer, states));
    }
    nets.into_iter().collect()
}

fn dense((layer, k, values): (String, usize, Vec<f32>)) -> DsdDense {
    DsdDense {
        layer: Some(layer),
        blob: Some(k as u32),
        values,
    }
}

fn schedule_message(schedule: &Schedule) -> DsdSchedule {
    let ramp = |r: &Ramp| DsdRamp {
        layer: Some(r.layer.clone()),
        blob: Some(r.blob as u32),
        from: Some(r.from as u64),
        to: Some(r.to as u64),
    };
    match schedule {
        Schedule::Cubic(cubic) => DsdSchedule {
            every: Some(cubic.every),
            until: Some(cubic.until),
            ramps: cubic.ramps.iter().map(ramp).collect(),
            ..Default::default()
        },
        Schedule::AcDc(acdc) => DsdSchedule {
            kind: Some("acdc".to_string()),
            sparsity: Some(acdc.sparsity.clone()),
            switches: acdc.switches.clone(),
            starts: Some(acdc.starts.name().to_string()),
            ..Default::default()
        },
        Schedule::RigL(rigl) => DsdSchedule {
            kind: Some("rigl".to_string()),
            every: Some(rigl.every),
            until: Some(rigl.until),
            drop_fraction: Some(rigl.drop_fraction),
            ..Default::default()
        },
        Schedule::SrSte(srste) => DsdSchedule {
            kind: Some("srste".to_string()),
            sparsity: Some(srste.sparsity.clone()),
            decay: Some(srste.decay),
            ..Default::default()
        },
    }
}

/// What only `dsd` stores, from its message.
pub(super) fn own(d: DsdState) -> Result<Own> {
    let mut masks = Vec::new();
    for m in &d.masks {
        let (layer, k) = (m.layer().to_string(), m.blob() as usize);
        let mask = Mask::from_bits(m.count() as usize, m.bits())
            .with_context(|| format!("the mask of layer '{layer}' is damaged"))?;
        masks.push((layer, k, mask));
    }
    let mut codebooks = Vec::new();
    for c in &d.shared {
        let (layer, k) = (c.layer().to_string(), c.blob() as usize);
        let Some(book) = Codebook::new(c.bits(), c.values.clone()) else {
            bail!(
                "the codebook of layer '{layer}' is damaged: {} bits and {} values; expected 2^bits finite values, \
                 the first 0",
                c.bits(),
                c.values.len()
            );
        };
        let shared = Shared::new(book, c.codes().to_vec()).with_context(|| {
            format!(
                "the codebook of layer '{layer}' is damaged: a code is beyond its {} values",
                c.values.len()
            )
        })?;
        codebooks.push((layer, k, shared));
    }
    let precision = match d.precision() {
        // Of before there was another.
        "" => Precision::F32,
        name => Precision::of(name).with_context(|| {
            format!("its precision '{name}' is none that this version has: f32 and bf16")
        })?,
    };
    Ok(Own {
        precision,
        phase: d.phase().parse().context("the state is damaged")?,
        seed: d.seed(),
        masks,
        codebooks,
        schedule: d.schedule.as_ref().map(schedule).transpose()?,
        seen: d.convergence.as_ref().map_or(Seen::default(), |c| Seen {
            best: c.best,
            waited: c.waited(),
        }),
        losses: d.recent_losses.clone(),
        smoothed: d.smoothed_loss(),
        start: d.phase_start(),
        notes: d
            .extra
            .iter()
            .map(|e| (e.key().to_string(), e.value().to_string()))
            .collect(),
        carried: carried(d.carried),
        dense: d
            .dense
            .into_iter()
            .map(|m| (m.layer().to_string(), m.blob() as usize, m.values))
            .collect(),
        test_batches: d.test_batches,
    })
}

fn schedule(d: &DsdSchedule) -> Result<Schedule> {
    let ramp = |r: &DsdRamp| Ramp {
        layer: r.layer().to_string(),
        blob: r.blob() as usize,
        from: r.from() as usize,
        to: r.to() as usize,
    };
    Ok(match d.kind() {
        "" | "cubic" => Schedule::Cubic(Cubic {
            every: d.every(),
            until: d.until(),
            ramps: d.ramps.iter().map(ramp).collect(),
        }),
        "acdc" => {
            Sparsity::parse(d.sparsity()).context("the schedule is damaged")?;
            Schedule::AcDc(AcDc {
                sparsity: d.sparsity().to_string(),
                starts: match d.starts() {
                    "dense" => Side::Dense,
                    _ => Side::Sparse,
                },
                switches: d.switches.clone(),
            })
        }
        "rigl" => Schedule::RigL(RigL {
            every: d.every(),
            until: d.until(),
            drop_fraction: d.drop_fraction(),
        }),
        "srste" => {
            Sparsity::parse(d.sparsity()).context("the schedule is damaged")?;
            Schedule::SrSte(SrSte {
                sparsity: d.sparsity().to_string(),
                decay: d.decay(),
            })
        }
        other => bail!("its schedule '{other}' is none that this version has"),
    })
}

//! The parameters of a net while it is built: which layers share which.

use super::graph::Graph;
use super::{Param, ParamUse};
use crate::layers;
use crate::proto::caffe::{ParamSpec as ProtoParamSpec, param_spec::DimCheckMode};
use anyhow::{Context, Result, bail};
use std::collections::HashMap;

/// Collects parameters and lets layers share them by name.
#[derive(Default)]
pub(super) struct Registry {
    pub params: Vec<Param>,
    /// The names of the layers with parameters.
    names: Vec<String>,
    /// Name in the prototxt → parameter, whether lr_mult and decay_mult were given.
    named: HashMap<String, (usize, bool, bool)>,
}

impl Registry {
    /// Takes in the parameters of layer `i`; how it uses them.
    pub fn add(
        &mut self,
        graph: &Graph,
        i: usize,
        specs: Vec<layers::ParamSpec>,
    ) -> Result<Vec<ParamUse>> {
        let node = &graph.nodes[i];
        let place = || graph.place(i);
        if node.param.param.len() > specs.len() {
            bail!(
                "{}: {} param blocks for {} learnable blobs",
                place(),
                node.param.param.len(),
                specs.len()
            );
        }
        let twin = match specs.is_empty() {
            true => 0,
            false => self.names.iter().filter(|n| *n == node.name()).count(),
        };
        if !specs.is_empty() {
            self.names.push(node.name().to_string());
        }
        let blocks = fixed_multipliers(&node.param.param, &specs).with_context(place)?;
        let mut uses = Vec::new();
        for (k, spec) in specs.into_iter().enumerate() {
            let default = ProtoParamSpec::default();
            let given = blocks.get(k).unwrap_or(&default);
            let shape = spec.shape.clone();
            let known = self
                .named
                .get(given.name())
                .copied()
                .filter(|_| !given.name().is_empty());
            let id = match known {
                Some((id, has_lr, has_decay)) => {
                    self.share(id, has_lr, has_decay, given, &spec)
                        .with_context(place)?;
                    id
                }
                None => {
                    self.params.push(Param {
                        layer: node.name().to_string(),
                        twin,
                        index: k,
                        shape: spec.shape,
                        filler: spec.filler,
                        lr_mult: given.lr_mult(),
                        decay_mult: given.decay_mult(),
                        prunable: spec.prunable,
                        learnable: spec.learnable,
                    });
                    let id = self.params.len() - 1;
                    if !given.name().is_empty() {
                        let entry = (id, given.lr_mult.is_some(), given.decay_mult.is_some());
                        self.named.insert(given.name().to_string(), entry);
                    }
                    id
                }
            };
            let own = known.is_none();
            uses.push(ParamUse { id, shape, own });
        }
        Ok(uses)
    }

    /// Checks that parameter `id` can be shared and merges the multipliers.
    fn share(
        &mut self,
        id: usize,
        has_lr: bool,
        has_decay: bool,
        given: &ProtoParamSpec,
        spec: &layers::ParamSpec,
    ) -> Result<()> {
        let owner = &mut self.params[id];
        let name = given.name();
        let permissive = given.share_mode() == DimCheckMode::Permissive;
        let fits = if permissive {
            owner.shape.count() == spec.shape.count()
        } else {
            owner.shape == spec.shape
        };
        if !fits {
            bail!(
                "cannot share param '{name}' of layer '{}': its shape is {}, here it would be {}{}",
                owner.layer,
                owner.shape,
                spec.shape,
                if permissive {
                    ""
                } else {
                    "; share_mode: PERMISSIVE asks only for equal counts"
                }
            );
        }
        if let Some(lr) = given.lr_mult {
            if has_lr && lr != owner.lr_mult {
                bail!(
                    "shared param '{name}' has lr_mult {lr} here and {} in layer '{}'",
                    owner.lr_mult,
                    owner.layer
                );
            }
            owner.lr_mult = lr;
        }
        if let Some(decay) = given.decay_mult {
            if has_decay && decay != owner.decay_mult {
                bail!(
                    "shared param '{name}' has decay_mult {decay} here and {} in layer '{}'",
                    owner.decay_mult,
                    owner.layer
                );
            }
            owner.decay_mult = decay;
        }
        self.named.insert(
            name.to_string(),
            (
                id,
                has_lr || given.lr_mult.is_some(),
                has_decay || given.decay_mult.is_some(),
            ),
        );
        Ok(())
    }
}

/// The param blocks of a layer, with rates of 0 for what nobody learns (BatchNorm's statistics). A rate
/// given to such a blob is an error, except in old nets, which have a block for each blob of the layer
/// and mean nothing by it.
fn fixed_multipliers(
    given: &[ProtoParamSpec],
    specs: &[layers::ParamSpec],
) -> Result<Vec<ProtoParamSpec>> {
    let mut blocks = given.to_vec();
    blocks.resize(specs.len().max(given.len()), ProtoParamSpec::default());
    let old = given.len() == specs.len();
    for (k, (block, _)) in blocks
        .iter_mut()
        .zip(specs)
        .enumerate()
        .filter(|(_, (_, s))| !s.learnable)
    {
        if k < given.len() && !old && block.lr_mult() != 0.0 {
            bail!(
                "param block {} has lr_mult {}, but that blob is a statistic which the layer computes: \
                 its lr_mult must be 0",
                k + 1,
                block.lr_mult()
            );
        }
        block.lr_mult = Some(0.0);
        block.decay_mult = Some(0.0);
    }
    Ok(blocks)
}

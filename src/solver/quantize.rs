//! The start of a quantize phase: every layer's weights get a codebook.

use super::Solver;
use super::bits::Bits;
use super::mask::Mask;
use super::patterns::never_decides;
use super::shared::Shared;
use crate::info;
use crate::report::number::G;
use anyhow::{Context, Result, bail};

impl Solver {
    /// Gives the weights of every prunable layer that `bits` names a codebook (Han, Mao, Dally 2015): the values
    /// that they have, where these are few enough, else those of k-means. Weights that are 0 stay 0, also in the
    /// layers that `bits` does not name. Histories start at 0.
    ///
    /// # Errors
    /// A rule that matches no layer, or a weight that is not finite.
    pub fn quantize(&mut self, bits: &Bits) -> Result<()> {
        let prunable = |p: &&crate::net::Param| p.prunable;
        let params = self.net.params();
        let layers: Vec<&str> = params
            .iter()
            .filter(prunable)
            .map(|p| p.layer.as_str())
            .collect();
        let idle = bits.unmatched(&layers);
        if !idle.is_empty() {
            bail!(
                "--bits {}: '{}' matches no layer with weights; the net has {}",
                bits.text(),
                idle.join("', '"),
                layers.join(", ")
            );
        }
        if let Some((pattern, earlier)) = bits.shadowed(&layers) {
            bail!(
                "--bits {}: {}",
                bits.text(),
                never_decides(pattern, earlier)
            );
        }
        for (id, p) in params.iter().enumerate().filter(|(_, p)| p.prunable) {
            let weights = &mut self.weights[id].data;
            let Some(bits) = bits.of(&p.layer) else {
                info!(
                    "Quantizing: no bits for {}, its weights stay apart",
                    p.layer
                );
                self.masks[id] = Some(Mask::of_nonzero(weights));
                continue;
            };
            let shared = Shared::of(weights, bits).with_context(|| {
                format!(
                    "layer '{}': a weight is not finite, so there is nothing to quantize; start from weights of a \
                     run that did not diverge",
                    p.layer
                )
            })?;
            let before = weights.clone();
            shared.write(weights);
            let square = |(a, b): (&f32, &f32)| f64::from(a - b) * f64::from(a - b);
            let squares: f64 = before.iter().zip(weights.iter()).map(square).sum();
            info!(
                "Quantizing {}: {bits} bits, {} values for {} weights that are not 0, RMS error {}",
                p.layer,
                shared.counts()[1..].iter().filter(|n| **n > 0).count(),
                shared.alive(),
                G((squares / weights.len().max(1) as f64).sqrt() as f32)
            );
            for h in self.history.iter_mut().skip(id).step_by(params.len()) {
                *h = vec![0.0; shared.counts().len()];
            }
            self.masks[id] = None;
            self.shared[id] = Some(shared);
        }
        self.apply_masks();
        self.rescale_dropout();
        Ok(())
    }

    /// Whether a layer's weights share values.
    pub fn is_quantized(&self) -> bool {
        self.shared.iter().any(Option::is_some)
    }
}

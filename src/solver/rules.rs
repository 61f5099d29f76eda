//! The update rules: from a gradient to the change of the weights, with Caffe's formulas.
//!
//! All of them leave a value whose gradient, history and weight are zero at zero, so a mask that is
//! applied to the gradient, the history and the weight keeps a pruned weight at exactly 0.

use crate::proto::SolverParameter;
use anyhow::{Result, bail};

/// An update rule with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// v ← μ·v + η·g; w ← w − v.
    Sgd {
        /// μ
        momentum: f32,
    },
    /// As SGD, with the gradient's step seen from where momentum leads (Nesterov 1983).
    Nesterov {
        /// μ
        momentum: f32,
    },
    /// h ← h + g²; w ← w − η·g/(√h + δ) (Duchi et al. 2011).
    AdaGrad {
        /// δ
        delta: f32,
    },
    /// h ← ρ·h + (1−ρ)·g²; w ← w − η·g/(√h + δ) (Tieleman and Hinton 2012).
    RmsProp {
        /// δ
        delta: f32,
        /// ρ
        decay: f32,
    },
    /// Steps scaled by the ratio of the RMS of past steps and past gradients (Zeiler 2012).
    AdaDelta {
        /// δ
        delta: f32,
        /// The decay of both means.
        momentum: f32,
    },
    /// Bias-corrected first and second moments (Kingma and Ba 2015).
    Adam {
        /// β₁
        beta1: f32,
        /// β₂
        beta2: f32,
        /// ε
        delta: f32,
    },
}

impl Rule {
    /// The rule that `solver.type` names.
    ///
    /// # Errors
    /// An unknown type, or a number that the rule does not admit.
    pub fn new(solver: &SolverParameter) -> Result<Self> {
        let (momentum, delta) = (solver.momentum(), solver.delta());
        let without_momentum = |rule: Self| match momentum {
            0.0 => Ok(rule),
            m => bail!(
                "solver type \"{}\" has no momentum, but momentum is {m}",
                solver.r#type()
            ),
        };
        Ok(match solver.r#type() {
            "SGD" => Self::Sgd { momentum },
            "Nesterov" => Self::Nesterov { momentum },
            "AdaGrad" => without_momentum(Self::AdaGrad { delta })?,
            "RMSProp" => {
                let decay = solver.rms_decay();
                if !(0.0..1.0).contains(&decay) {
                    bail!("rms_decay must lie in [0, 1), not {decay}");
                }
                without_momentum(Self::RmsProp { delta, decay })?
            }
            "AdaDelta" => Self::AdaDelta { delta, momentum },
            "Adam" => Self::Adam {
                beta1: momentum,
                beta2: solver.momentum2(),
                delta,
            },
            other => bail!(
                "unknown solver type \"{other}\"; Caffe has SGD, Nesterov, AdaGrad, RMSProp, AdaDelta and Adam"
            ),
        })
    }

    /// How many history arrays a parameter has. In Caffe's files the first ones of all parameters come
    /// before the second ones.
    pub fn histories(&self) -> usize {
        match self {
            Self::AdaDelta { .. } | Self::Adam { .. } => 2,
            _ => 1,
        }
    }

    /// Turns gradients `g` into what is subtracted from the weights and updates the histories.
    /// `rate` is the parameter's own learning rate, `iter` counts from 0.
    pub fn step(&self, rate: f32, iter: u64, g: &mut [f32], h: &mut [f32], h2: &mut [f32]) {
        match *self {
            Self::Sgd { momentum } => {
                for (g, h) in g.iter_mut().zip(h) {
                    *h = rate * *g + momentum * *h;
                    *g = *h;
                }
            }
            Self::Nesterov { momentum } => {
                for (g, h) in g.iter_mut().zip(h) {
                    let before = *h;
                    *h = rate * *g + momentum * *h;
                    *g = (1.0 + momentum) * *h - momentum * before;
                }
            }
            Self::AdaGrad { delta } => {
                for (g, h) in g.iter_mut().zip(h) {
                    *h += *g * *g;
                    *g = rate * (*g / (h.sqrt() + delta));
                }
            }
            Self::RmsProp { delta, decay } => {
                for (g, h) in g.iter_mut().zip(h) {
                    *h = (1.0 - decay) * (*g * *g) + decay * *h;
                    *g = rate * (*g / (h.sqrt() + delta));
                }
            }
            Self::AdaDelta { delta, momentum } => {
                for ((g, h), h2) in g.iter_mut().zip(h).zip(h2) {
                    *h = (1.0 - momentum) * (*g * *g) + momentum * *h;
                    *g *= ((delta + *h2) / (delta + *h)).sqrt();
                    *h2 = (1.0 - momentum) * (*g * *g) + momentum * *h2;
                    *g *= rate;
                }
            }
            Self::Adam {
                beta1,
                beta2,
                delta,
            } => {
                let t = (iter + 1) as f64;
                let second = (1.0 - f64::from(beta2).powf(t)).sqrt();
                let correction = (second / (1.0 - f64::from(beta1).powf(t))) as f32;
                for ((g, h), h2) in g.iter_mut().zip(h).zip(h2) {
                    *h = (1.0 - beta1) * *g + beta1 * *h;
                    *h2 = (1.0 - beta2) * (*g * *g) + beta2 * *h2;
                    *g = rate * correction * (*h / (h2.sqrt() + delta));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_where_all_is_zero() {
        for kind in ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"] {
            let momentum = Some(if matches!(kind, "AdaGrad" | "RMSProp") {
                0.0
            } else {
                0.9
            });
            let solver = SolverParameter {
                r#type: Some(kind.into()),
                momentum,
                ..Default::default()
            };
            let rule = Rule::new(&solver).unwrap();
            let (mut g, mut h, mut h2) = ([0.0f32; 3], [0.0; 3], [0.0; 3]);
            rule.step(0.1, 4, &mut g, &mut h, &mut h2);
            assert_eq!((g, h, h2), ([0.0; 3], [0.0; 3], [0.0; 3]), "{kind}");
        }
    }

    #[test]
    fn an_unknown_type_is_named() {
        let solver = SolverParameter {
            r#type: Some("SDG".into()),
            ..Default::default()
        };
        assert!(Rule::new(&solver).unwrap_err().to_string().contains("SDG"));
    }
}

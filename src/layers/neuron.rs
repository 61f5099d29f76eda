//! The layers that compute each element from itself alone: a table of their functions and derivatives.
//!
//! **To add one**: write its arm in [`Neuron::new`] and its name in [`create`](super::create).

use super::{Backward, Facts, Forward, Layer, Layouts, Role, take, types};
use crate::kernels::crew::Crew;
use crate::kernels::elementwise::{relu, relu_backward};
use crate::kernels::{CHUNK, each_chunk};
use crate::proto::caffe::LayerParameter;
use crate::tensor::Shape;
use anyhow::{Context, Result, bail};

/// A neuron layer: any bottom, and a top of its shape.
pub struct Neuron {
    forward: Map,
    gradient: Gradient,
    role: Role,
}

/// v ← f(v) for all v of a piece of an array.
type Map = Box<dyn Fn(&mut [f32]) + Send + Sync>;

/// d ← f(d, v) for all d of a piece of an array, v being another's element in the same place.
type Map2 = Box<dyn Fn(&mut [f32], &[f32]) + Send + Sync>;

/// How dx follows from dy.
enum Gradient {
    /// There is none.
    None,
    /// From dy alone.
    Alone(Map),
    /// From dy and x.
    X(Map2),
    /// From dy and y.
    Y(Map2),
    /// From dy and x; in place, where x is gone, y stands for it.
    Sign(Map2),
}

fn map(f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Map {
    Box::new(move |part| part.iter_mut().for_each(|v| *v = f(*v)))
}

fn map2(f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static) -> Map2 {
    Box::new(move |part, values| {
        for (d, v) in part.iter_mut().zip(values) {
            *d = f(*d, *v);
        }
    })
}

/// dx = `f`(dy, x).
fn of_x(f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static) -> Gradient {
    Gradient::X(map2(f))
}

/// dx = `f`(dy, y).
fn of_y(f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static) -> Gradient {
    Gradient::Y(map2(f))
}

/// 1 / (1 + exp(−x)).
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(`base`), where −1 stands for e; `None` if it is not a finite number.
fn ln_base(base: f32) -> Option<f32> {
    let ln = if base == -1.0 { 1.0 } else { base.ln() };
    ln.is_finite().then_some(ln)
}

impl Neuron {
    /// The layer that `param` describes.
    pub fn new(param: &LayerParameter) -> Result<Self> {
        let (forward, gradient) = match param.r#type() {
            // y = |x|; dx is 0 where x is 0.
            "AbsVal" => (
                map(f32::abs),
                of_x(|dy, x| dy * (f32::from(x > 0.0) - f32::from(x < 0.0))),
            ),
            // The binomial normal log likelihood y = ln(1 + exp(x)). The exponential of a positive number is never
            // taken, so that none overflows.
            "BNLL" => (
                map(|x| {
                    let positive = if x > 0.0 { x } else { 0.0 };
                    positive + (-x.abs()).exp().ln_1p()
                }),
                of_x(|dy, x| dy * sigmoid(x)),
            ),
            // y = x, but at least min and at most max. Where max is below min, min wins; a NaN becomes min, as in Caffe.
            "Clip" => {
                let p = param.clip_param.context("clip_param needs min and max")?;
                let (min, max) = (p.min, p.max);
                (
                    map(move |x| {
                        let x = if x > max { max } else { x };
                        if x > min { x } else { min }
                    }),
                    of_x(move |dy, x| dy * f32::from(x >= min && x <= max)),
                )
            }
            // Clevert et al. 2015: y = x where x > 0, alpha·(exp(x) − 1) elsewhere. With a negative alpha y's sign does
            // not tell x's.
            "ELU" => {
                let alpha = param.elu_param.unwrap_or_default().alpha();
                (
                    map(move |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
                    match alpha < 0.0 {
                        true => of_x(move |dy, x| dy * if x > 0.0 { 1.0 } else { alpha * x.exp() }),
                        false => of_y(move |dy, y| dy * if y > 0.0 { 1.0 } else { y + alpha }),
                    },
                )
            }
            // y = base^(shift + scale·x) = outer·exp(inner·x); base −1, the default, stands for e.
            "Exp" => {
                let p = param.exp_param.unwrap_or_default();
                let Some(ln) = ln_base(p.base()) else {
                    bail!(
                        "exp_param has base {}: it must be above 0, or −1 for e",
                        p.base()
                    );
                };
                let (inner, outer) = (ln * p.scale(), (ln * p.shift()).exp());
                (
                    map(move |x| outer * (inner * x).exp()),
                    of_y(move |dy, y| dy * y * inner),
                )
            }
            // y = log(shift + scale·x) to the base, = outer·ln(shift + scale·x); base −1, the default, stands for e.
            "Log" => {
                let p = param.log_param.unwrap_or_default();
                let outer = ln_base(p.base()).map(f32::recip);
                let Some(outer) = outer.filter(|o| o.is_finite()) else {
                    bail!(
                        "log_param has base {}: it must be above 0 and not 1, or −1 for e",
                        p.base()
                    );
                };
                let (scale, shift, factor) = (p.scale(), p.shift(), outer * p.scale());
                (
                    map(move |x| outer * (scale * x + shift).ln()),
                    of_x(move |dy, x| dy * (factor / (scale * x + shift))),
                )
            }
            "Power" => {
                let p = param.power_param.unwrap_or_default();
                power(p.power(), p.scale(), p.shift())
            }
            // y = max(x, 0) + negative_slope·min(x, 0). In place y's sign stands for x's, as in Caffe (which is wrong for a
            // negative slope, there as here).
            "ReLU" => {
                let slope = param.relu_param.unwrap_or_default().negative_slope();
                return Ok(Self {
                    forward: Box::new(move |x| relu(&Crew::alone(), slope, x)),
                    gradient: Gradient::Sign(Box::new(move |d, x| {
                        relu_backward(&Crew::alone(), slope, x, d);
                    })),
                    role: match slope == 0.0 {
                        true => Role::Relu,
                        false => Role::Other,
                    },
                });
            }
            // y = 1 / (1 + exp(−x)).
            "Sigmoid" => (map(sigmoid), of_y(|dy, y| dy * y * (1.0 - y))),
            // Ramachandran et al. 2017: y = x·s with s = sigmoid(beta·x).
            "Swish" => {
                let beta = param.swish_param.unwrap_or_default().beta();
                (
                    map(move |x| x * sigmoid(beta * x)),
                    of_x(move |dy, x| {
                        let s = sigmoid(beta * x);
                        dy * (s + beta * x * s * (1.0 - s))
                    }),
                )
            }
            // y = tanh(x).
            "TanH" => (map(f32::tanh), of_y(|dy, y| dy * (1.0 - y * y))),
            // y = 1 where x > threshold, 0 elsewhere.
            "Threshold" => {
                let threshold = param.threshold_param.unwrap_or_default().threshold();
                (map(move |x| f32::from(x > threshold)), Gradient::None)
            }
            other => bail!("{}", types::unknown(other)),
        };
        Ok(Self {
            forward,
            gradient,
            role: Role::Other,
        })
    }
}

/// y = (shift + scale·x)^power, dx = dy·power·scale·(shift + scale·x)^(power − 1). (Where shift is 0 and x is 0 Caffe
/// divides 0 by 0.)
fn power(power: f32, scale: f32, shift: f32) -> (Map, Gradient) {
    let factor = power * scale;
    let base = move |x: f32| scale * x + shift;
    if factor == 0.0 {
        // y does not depend on x, which may then be NaN.
        let y = shift.powf(power);
        return (map(move |_| y), Gradient::Alone(map(|_| 0.0)));
    }
    if power == 1.0 {
        return (map(base), Gradient::Alone(map(move |dy| dy * factor)));
    }
    if power == 2.0 {
        let square = move |x| base(x) * base(x);
        return (map(square), of_x(move |dy, x| dy * (factor * base(x))));
    }
    (
        map(move |x| base(x).powf(power)),
        of_x(move |dy, x| dy * (factor * base(x).powf(power - 1.0))),
    )
}

impl Layer for Neuron {
    fn shapes(&self, bottoms: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = take(bottoms)?;
        Ok(vec![x.clone()])
    }

    fn facts(&self, _bottoms: &[Shape]) -> Facts {
        let flows = !matches!(self.gradient, Gradient::None);
        Facts {
            role: self.role,
            layouts: Layouts::Either,
            in_place: true,
            reads_bottom: matches!(self.gradient, Gradient::X(_)),
            reads_tops: matches!(self.gradient, Gradient::Y(_) | Gradient::Sign(_)),
            has_backward: flows,
            flows: vec![flows],
            ..Facts::default()
        }
    }

    fn forward(&self, f: &mut Forward) -> Result<()> {
        let crew = f.crew;
        each_chunk(crew, CHUNK, f.carry(), |_, part| (self.forward)(part));
        Ok(())
    }

    fn backward(&self, b: &mut Backward) -> Result<()> {
        let (crew, x, y) = (b.crew, b.bottoms[0].data, b.tops[0].data);
        let (map, values) = match &self.gradient {
            Gradient::None => return Ok(()),
            Gradient::Alone(map) => {
                if let Some(diff) = b.carry() {
                    each_chunk(crew, CHUNK, diff, |_, part| map(part));
                }
                return Ok(());
            }
            Gradient::X(map) => (map, x),
            Gradient::Y(map) => (map, y),
            Gradient::Sign(map) => (map, if x.is_empty() { y } else { x }),
        };
        if let Some(diff) = b.carry() {
            each_chunk(crew, CHUNK, diff, |start, part| {
                map(part, &values[start..][..part.len()]);
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

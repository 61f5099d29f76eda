//! What the layers share that compute each element from itself alone.

use super::{Backward, Forward, take};
use crate::kernels::{CHUNK, each_chunk};
use crate::tensor::Shape;
use anyhow::Result;

/// One bottom, and one top of its shape.
pub(super) fn shapes(bottoms: &[Shape]) -> Result<Vec<Shape>> {
    let [x] = take(bottoms)?;
    Ok(vec![x.clone()])
}

/// y ← `op`(x).
pub(super) fn forward(f: &mut Forward, op: impl Fn(f32) -> f32 + Sync) {
    let crew = f.crew;
    each_chunk(crew, CHUNK, f.carry(), |_, part| {
        part.iter_mut().for_each(|v| *v = op(*v));
    });
}

/// dx ← `op`(dy, v), v being `values`' element: the bottom's or the top's.
pub(super) fn backward(b: &mut Backward, values: &[f32], op: impl Fn(f32, f32) -> f32 + Sync) {
    let crew = b.crew;
    let Some(diff) = b.carry() else { return };
    each_chunk(crew, CHUNK, diff, |start, part| {
        for (d, v) in part.iter_mut().zip(&values[start..]) {
            *d = op(*d, *v);
        }
    });
}

/// dx ← `factor`·dy.
pub(super) fn scale(b: &mut Backward, factor: f32) {
    let crew = b.crew;
    let Some(diff) = b.carry() else { return };
    each_chunk(crew, CHUNK, diff, |_, part| {
        part.iter_mut().for_each(|d| *d *= factor);
    });
}

/// 1 / (1 + exp(−x)).
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(`base`), where −1 stands for e; `None` if it is not a finite number.
pub(super) fn ln_base(base: f32) -> Option<f32> {
    let ln = if base == -1.0 { 1.0 } else { base.ln() };
    ln.is_finite().then_some(ln)
}

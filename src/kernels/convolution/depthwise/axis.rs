//! Which elements of what is read come into which results along an axis, forward and backward alike.

use crate::kernels::convolution::im2col::Axis;
use std::ops::Range;

/// An element of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// What it meets for the first result; negative or too large in the padding.
    at: isize,
    /// That in floats.
    pub x: isize,
    /// Floats to its weights.
    pub w: usize,
}

/// Results `first`, `first + apart`, …, `count` of them, that come from the same elements of the kernel. Forward all
/// are one phase; backward there are as many as the stride.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub first: usize,
    pub apart: usize,
    pub count: usize,
    /// By how many elements what is read moves on from result to result.
    pub step: usize,
    /// How many there are.
    size: usize,
    /// In the order of what they meet.
    taps: Vec<Tap>,
    /// Results that have all their elements inside.
    pub whole: Range<usize>,
    /// Whether the elements that are met are neighbours.
    pub dense: bool,
}

impl Phase {
    /// The phases of Y, which reads X, whose elements are `x` floats apart, those of the weights `w`.
    pub fn forward(a: &Axis, x: usize, w: usize) -> Vec<Self> {
        let met = |k: usize| (k, (k * a.dilation) as isize - a.pad as isize);
        let met = (0..a.kernel).map(met);
        vec![Self::new((0, 1, a.output), a.stride, a.input, met, (x, w))]
    }

    /// The phases of dX, which reads dY, whose elements are `x` floats apart, those of the weights `w`.
    pub fn backward(a: &Axis, x: usize, w: usize) -> Vec<Self> {
        let phase = |first: usize| {
            let stride = a.stride as isize;
            let met = |k: usize| {
                let at = (first + a.pad) as isize - (k * a.dilation) as isize;
                (at % stride == 0).then_some((k, at / stride))
            };
            let met = (0..a.kernel).rev().filter_map(met);
            let count = (a.input - first).div_ceil(a.stride);
            Self::new((first, a.stride, count), 1, a.output, met, (x, w))
        };
        (0..a.stride.min(a.input)).map(phase).collect()
    }

    fn new(
        (first, apart, count): (usize, usize, usize),
        step: usize,
        size: usize,
        met: impl Iterator<Item = (usize, isize)>,
        (x, w): (usize, usize),
    ) -> Self {
        let tap = |(k, at): (usize, isize)| Tap {
            at,
            x: at * x as isize,
            w: k * w,
        };
        let taps: Vec<Tap> = met.map(tap).collect();
        let mut phase = Self {
            first,
            apart,
            count,
            step,
            size,
            dense: taps.windows(2).all(|t| t[1].at == t[0].at + 1),
            taps,
            whole: 0..0,
        };
        let whole = |i: &usize| phase.taps(*i).len() == phase.taps.len();
        let start = (0..count).find(whole).unwrap_or(count);
        let end = (start..count).rev().find(whole).map_or(start, |i| i + 1);
        phase.whole = start..end;
        phase
    }

    /// All elements of the kernel that there are.
    #[inline(always)]
    pub fn all(&self) -> &[Tap] {
        &self.taps
    }

    /// Those that meet something for result i.
    #[inline(always)]
    pub fn taps(&self, i: usize) -> &[Tap] {
        let moved = (i * self.step) as isize;
        let before = |end: isize| move |t: &&Tap| t.at + moved < end;
        let from = self.taps.iter().take_while(before(0)).count();
        let to = self.taps.iter().take_while(before(self.size as isize));
        &self.taps[from..to.count()]
    }
}

//! Shapes and views: what every array of a net is described by.
//!
//! Arrays are float32, outermost axis first; pictures are NCHW (sample, channel, row, column). Files and
//! users have them in C order; inside a net a picture may lie channels last ([`Layout`]), whatever its
//! shape says. A view borrows its numbers from a buffer that the net owns, so that one buffer can serve
//! several blobs in turn.

use smallvec::SmallVec;
use std::fmt;

/// The sizes of an array, outermost axis first. A scalar has no axes and one element.
/// Up to six axes need no allocation.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Shape(SmallVec<[usize; 6]>);

impl Shape {
    /// A shape of the given sizes.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self(SmallVec::from_vec(dims.into()))
    }

    /// The sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of axes.
    pub fn axes(&self) -> usize {
        self.0.len()
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether there are at most `most` elements, also where their number is beyond `usize`.
    pub fn is_at_most(&self, most: usize) -> bool {
        let count = self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        count.is_some_and(|n| n <= most)
    }

    /// The number of elements spanned by the axes from `axis` on (1 past the last axis).
    pub fn count_from(&self, axis: usize) -> usize {
        self.0[axis.min(self.0.len())..].iter().product()
    }

    /// The number of elements spanned by the axes before `axis`.
    pub fn count_to(&self, axis: usize) -> usize {
        self.0[..axis.min(self.0.len())].iter().product()
    }

    /// The size of `axis`; 1 where the shape has no such axis, as Caffe's `num()`, `channels()` … say.
    pub fn dim(&self, axis: usize) -> usize {
        self.0.get(axis).copied().unwrap_or(1)
    }

    /// Caffe's axis index (negative counts from the end) as an index from the front, if in range.
    pub fn axis(&self, axis: i32) -> Option<usize> {
        let n = self.0.len() as i64;
        let i = i64::from(axis);
        let i = if i < 0 { i + n } else { i };
        (0..n).contains(&i).then_some(i as usize)
    }

    /// The same shape with another size of the outermost axis (a scalar stays a scalar).
    pub fn with_rows(&self, rows: usize) -> Self {
        let mut dims = self.0.clone();
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        Self(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(SmallVec::from_slice(dims))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(SmallVec::from_vec(dims))
    }
}

/// Caffe's way of writing a shape: `32 3 227 227 (4946784)`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.0 {
            write!(f, "{d} ")?;
        }
        write!(f, "({})", self.count())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_slice())
    }
}

/// How an array lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// C order of the shape: a picture is channel planes (NCHW).
    #[default]
    Planes,
    /// Channels last (NHWC): the channels of a pixel side by side, `pitch` floats from one pixel to the
    /// next, which is more than the channels where the array is a slice of a wider one.
    Pixels {
        /// Floats from pixel to pixel.
        pitch: usize,
    },
    /// As `Pixels`, in bfloat16: two numbers lie in each float. Channels, `pitch` and where a slice starts are even.
    Halves {
        /// Numbers from pixel to pixel.
        pitch: usize,
    },
}

impl Layout {
    /// Channels last, all channels of `shape` and no others.
    pub fn pixels(shape: &Shape) -> Self {
        Self::Pixels {
            pitch: shape.dim(1),
        }
    }

    /// Whether channels come last.
    pub fn is_pixels(self) -> bool {
        self != Self::Planes
    }

    /// Whether the numbers are bfloat16.
    pub fn is_halves(self) -> bool {
        matches!(self, Self::Halves { .. })
    }

    /// Floats that an array of `shape` spans, with those between the parts of a slice.
    pub fn extent(self, shape: &Shape) -> usize {
        match self {
            Self::Planes => shape.count(),
            Self::Pixels { pitch } => {
                let pixels = shape.dim(0) * shape.count_from(2);
                (pixels * pitch).saturating_sub(pitch - shape.dim(1))
            }
            Self::Halves { pitch } => Self::Pixels { pitch }.extent(shape).div_ceil(2),
        }
    }
}

/// An array that owns its numbers, in C order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// The sizes.
    pub shape: Shape,
    /// The numbers in C order, `shape.count()` of them.
    pub data: Vec<f32>,
}

impl Tensor {
    /// An array of zeros.
    pub fn zeros(shape: Shape) -> Self {
        let data = vec![0.0; shape.count()];
        Self { shape, data }
    }

    /// Gives the array another shape; its numbers are to be overwritten.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn reshape(&mut self, shape: Shape) -> anyhow::Result<()> {
        let count = shape.count();
        if count > self.data.capacity() {
            self.data = Vec::new();
            let what = || format!("an array of shape {shape}");
            self.data = crate::memory::zeros(count, what, "lower the batch size")?;
        }
        self.data.resize(count, 0.0);
        self.shape = shape;
        Ok(())
    }

    /// An array of the given numbers; `None` if their number does not fit the shape.
    pub fn new(shape: Shape, data: Vec<f32>) -> Option<Self> {
        (shape.count() == data.len()).then_some(Self { shape, data })
    }

    /// A view of the whole array.
    pub fn view(&self) -> View<'_> {
        View::planes(self.shape.clone(), &self.data)
    }
}

/// Numbers to read, with their shape.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The sizes.
    pub shape: Shape,
    /// How the numbers lie.
    pub layout: Layout,
    /// The numbers. Empty where the array is not at hand (see `layers::Forward`).
    pub data: &'a [f32],
}

impl<'a> View<'a> {
    /// An array in C order.
    pub fn planes(shape: Shape, data: &'a [f32]) -> Self {
        Self {
            shape,
            layout: Layout::Planes,
            data,
        }
    }

    /// Floats from one pixel to the next, channels last.
    pub fn pitch(&self) -> usize {
        pitch(self.layout, &self.shape)
    }
}

/// Numbers to write, with their shape.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// The sizes.
    pub shape: Shape,
    /// How the numbers lie.
    pub layout: Layout,
    /// The numbers.
    pub data: &'a mut [f32],
}

impl<'a> ViewMut<'a> {
    /// An array in C order.
    pub fn planes(shape: Shape, data: &'a mut [f32]) -> Self {
        Self {
            shape,
            layout: Layout::Planes,
            data,
        }
    }

    /// The numbers, without what lies between the parts of a slice.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        let (run, step) = self.runs();
        self.data
            .chunks(step)
            .flat_map(move |r| r[..run.min(r.len())].iter().copied())
    }

    /// The stretches without gaps: all numbers, or the pixels of a slice.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (run, step) = self.runs();
        self.data
            .chunks_mut(step)
            .map(move |r| r.split_at_mut(run.min(r.len())).0)
    }

    /// An array like this one in other memory.
    pub fn like<'b>(&self, data: &'b mut [f32]) -> ViewMut<'b> {
        ViewMut {
            shape: self.shape.clone(),
            layout: self.layout,
            data,
        }
    }

    /// The length of a stretch without gaps, and the distance to the next.
    pub fn runs(&self) -> (usize, usize) {
        match self.layout {
            Layout::Pixels { pitch } if pitch != self.shape.dim(1) => (self.shape.dim(1), pitch),
            _ => (self.data.len().max(1), self.data.len().max(1)),
        }
    }

    /// Floats from one pixel to the next, channels last.
    pub fn pitch(&self) -> usize {
        pitch(self.layout, &self.shape)
    }
}

fn pitch(layout: Layout, shape: &Shape) -> usize {
    match layout {
        Layout::Planes => shape.dim(1),
        Layout::Pixels { pitch } | Layout::Halves { pitch } => pitch,
    }
}

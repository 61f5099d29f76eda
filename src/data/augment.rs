//! What the SSD family's forks of Caffe do to a picture before crop, mirror and mean: `distort_param`,
//! `expand_param`, `resize_param` and `noise_param`, in this order, in TRAIN and TEST alike. Every random number
//! follows from the picture's number in the run.

use anyhow::{Result, ensure};

use super::colours;
use super::datum::{Picture, Pixels, SMALLER, of_size};
use super::interpolate::interpolate;
use super::noise;
use crate::memory;
use crate::proto::caffe::resize_parameter::{InterpMode, PadMode, ResizeMode};
use crate::proto::caffe::{
    DistortionParameter, ExpansionParameter, NoiseParameter, ResizeParameter,
    TransformationParameter,
};
use crate::random::Random;

/// The random numbers of one picture, one after the other.
pub struct Draws {
    random: Random,
    next: u64,
}

impl Draws {
    /// The numbers of `random` from the first.
    pub fn new(random: Random) -> Self {
        Self { random, next: 0 }
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        self.next += 1;
        low + (high - low) * self.random.unit(self.next)
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        self.next += 1;
        self.random.below(self.next, n)
    }
}

/// These transforms of a layer, checked.
#[derive(Clone, Debug, Default)]
pub struct Augment {
    distort: Option<DistortionParameter>,
    expand: Option<ExpansionParameter>,
    resize: Option<ResizeParameter>,
    noise: Option<NoiseParameter>,
    /// The colour around an expanded picture.
    means: Vec<f32>,
}

impl Augment {
    /// What `param` has of them.
    pub fn new(param: &TransformationParameter) -> Result<Self> {
        ensure!(
            param.resize_param.len() <= 1,
            "transform_param has {} resize_param blocks (MobileNet-YOLO's fork changes the size from batch to batch), \
             which is not supported; keep one",
            param.resize_param.len()
        );
        let resize = param.resize_param.first().cloned();
        if let Some(p) = &resize {
            ensure!(
                p.height() > 0 && p.width() > 0,
                "resize_param needs height and width, at least 1 each, found {} and {}",
                p.height(),
                p.width()
            );
        }
        if let Some(p) = &param.expand_param {
            ensure!(
                p.max_expand_ratio() >= 1.0,
                "expand_param.max_expand_ratio must be at least 1, but is {}",
                p.max_expand_ratio()
            );
            ensure!(
                resize.is_some(),
                "expand_param makes pictures of all sizes; a resize_param must follow it"
            );
        }
        if let Some(p) = &param.distort_param {
            check_distortion(p)?;
        }
        if let Some(p) = &param.noise_param {
            noise::check(p)?;
        }
        Ok(Self {
            distort: param.distort_param,
            expand: param.expand_param,
            resize,
            noise: param.noise_param.clone(),
            means: param.mean_value.clone(),
        })
    }

    /// Whether pictures stay as they are.
    pub fn is_none(&self) -> bool {
        self.distort.is_none()
            && self.expand.is_none()
            && self.resize.is_none()
            && self.noise.is_none()
    }

    /// Channels, height and width of what comes out for a picture of `dims`.
    pub fn output(&self, [c, h, w]: [usize; 3]) -> [usize; 3] {
        let Some(p) = &self.resize else {
            return [c, h, w];
        };
        let [height, width] = match p.resize_mode() {
            ResizeMode::FitSmallSize => fit_small(p, h, w),
            _ => [p.height() as usize, p.width() as usize],
        };
        [c, height, width]
    }

    /// The changed picture: its size and bytes. `random` is of this picture alone.
    pub fn apply(&self, picture: &Picture, random: Random) -> Result<([usize; 3], Vec<u8>)> {
        let Pixels::Bytes(bytes) = picture.pixels else {
            anyhow::bail!(
                "resize_param, distort_param, expand_param and noise_param need pictures of bytes, but the record \
                 holds float_data"
            );
        };
        self.room(picture.dims)?;
        let (mut dims, mut planes) = (picture.dims, bytes.to_vec());
        let mut draws = Draws::new(random);
        if let Some(p) = &self.distort {
            distort(p, &mut planes, dims, &mut draws)?;
        }
        if let Some(p) = &self.expand {
            (dims, planes) = expand(p, &self.means, planes, dims, &mut draws);
        }
        if let Some(p) = &self.resize {
            (dims, planes) = resize(p, &planes, dims, &mut draws)?;
        }
        if let Some(p) = &self.noise {
            noise::apply(p, &mut planes, dims, &mut draws)?;
        }
        Ok((dims, planes))
    }
}

impl Augment {
    /// Checks that there is memory for what becomes of a picture of `dims`, and for the steps between.
    fn room(&self, dims: [usize; 3]) -> Result<()> {
        let bytes = |dims: [usize; 3]| dims.iter().fold(1u128, |n, &d| n.saturating_mul(d as u128));
        let ratio = self
            .expand
            .map_or(1.0, |p| f64::from(p.max_expand_ratio().clamp(1.0, 64.0)));
        let between = (bytes(dims) as f64 * ratio * ratio) as u128;
        // Copies before and behind each, and sums of 8 bytes for a channel that is resized.
        let [_, h, _] = dims;
        let out = self.output(dims);
        let sums = bytes([8, (h as f64 * ratio) as usize, out[2]]);
        let all = between.saturating_add(bytes(out)).saturating_mul(3);
        memory::room(all.saturating_add(sums), || of_size(out), SMALLER)
    }
}

fn check_distortion(p: &DistortionParameter) -> Result<()> {
    for (name, value) in [
        ("brightness_delta", p.brightness_delta()),
        ("hue_delta", p.hue_delta()),
        ("contrast_lower", p.contrast_lower()),
        ("saturation_lower", p.saturation_lower()),
    ] {
        ensure!(
            value >= 0.0,
            "distort_param.{name} must not be negative, but is {value}"
        );
    }
    for (name, lower, upper) in [
        ("contrast", p.contrast_lower(), p.contrast_upper()),
        ("saturation", p.saturation_lower(), p.saturation_upper()),
    ] {
        ensure!(
            lower <= upper,
            "distort_param.{name}_upper ({upper}) must not be below {name}_lower ({lower})"
        );
    }
    Ok(())
}

/// v ← v·scale + shift, rounded, for the numbers of a plane.
fn linear(plane: &mut [u8], scale: f32, shift: f32) {
    for v in plane {
        let new = (f32::from(*v) * scale + shift).round_ties_even();
        *v = new.clamp(0.0, 255.0) as u8;
    }
}

fn distort(
    p: &DistortionParameter,
    planes: &mut [u8],
    dims: [usize; 3],
    draws: &mut Draws,
) -> Result<()> {
    let [channels, h, w] = dims;
    let pixels = h * w;
    let contrast = |planes: &mut [u8], draws: &mut Draws| {
        if draws.uniform(0.0, 1.0) < p.contrast_prob() {
            let scale = draws.uniform(p.contrast_lower(), p.contrast_upper());
            linear(planes, scale, 0.0);
        }
    };
    let first = draws.uniform(0.0, 1.0) > 0.5;
    if draws.uniform(0.0, 1.0) < p.brightness_prob() {
        let shift = draws.uniform(-p.brightness_delta(), p.brightness_delta());
        linear(planes, 1.0, shift);
    }
    if first {
        contrast(planes, draws);
    }
    let colours = p.saturation_prob() > 0.0 || p.hue_prob() > 0.0 || p.random_order_prob() > 0.0;
    ensure!(
        !colours || channels == 3,
        "distort_param changes colours, but the picture has {channels} channels; expected 3"
    );
    if draws.uniform(0.0, 1.0) < p.saturation_prob() {
        let scale = draws.uniform(p.saturation_lower(), p.saturation_upper());
        colours::to_hsv(planes, pixels);
        linear(&mut planes[pixels..2 * pixels], scale, 0.0);
        colours::from_hsv(planes, pixels);
    }
    if draws.uniform(0.0, 1.0) < p.hue_prob() {
        let shift = draws.uniform(-p.hue_delta(), p.hue_delta());
        colours::to_hsv(planes, pixels);
        linear(&mut planes[..pixels], 1.0, shift);
        colours::from_hsv(planes, pixels);
    }
    if !first {
        contrast(planes, draws);
    }
    if draws.uniform(0.0, 1.0) < p.random_order_prob() {
        let old = planes.to_vec();
        let mut order = [0, 1, 2];
        order.swap(2, draws.below(3));
        order.swap(1, draws.below(2));
        for (plane, from) in planes.chunks_exact_mut(pixels).zip(order) {
            plane.copy_from_slice(&old[from * pixels..][..pixels]);
        }
    }
    Ok(())
}

fn expand(
    p: &ExpansionParameter,
    means: &[f32],
    planes: Vec<u8>,
    dims: [usize; 3],
    draws: &mut Draws,
) -> ([usize; 3], Vec<u8>) {
    let [channels, h, w] = dims;
    if draws.uniform(0.0, 1.0) > p.prob() || p.max_expand_ratio() - 1.0 < 1e-2 {
        return (dims, planes);
    }
    let ratio = draws.uniform(1.0, p.max_expand_ratio().min(64.0));
    let (rows, columns) = ((h as f32 * ratio) as usize, (w as f32 * ratio) as usize);
    let (rows, columns) = (rows.max(h), columns.max(w));
    let top = draws.uniform(0.0, (rows - h) as f32) as usize;
    let left = draws.uniform(0.0, (columns - w) as f32) as usize;
    let mut out = Vec::with_capacity(channels * rows * columns);
    for (c, plane) in planes.chunks_exact(h * w).enumerate() {
        let mean = means.get(c.min(means.len().saturating_sub(1)));
        let around = mean.map_or(0.0, |m| m.round_ties_even()).clamp(0.0, 255.0) as u8;
        let start = out.len();
        out.resize(start + rows * columns, around);
        for (y, row) in plane.chunks_exact(w).enumerate() {
            out[start + (top + y) * columns + left..][..w].copy_from_slice(row);
        }
    }
    ([channels, rows, columns], out)
}

/// Height and width that cover those of `p` and keep the picture's form.
fn fit_small(p: &ResizeParameter, h: usize, w: usize) -> [usize; 2] {
    let (height, width) = (p.height() as f32, p.width() as f32);
    let form = w as f32 / h as f32;
    let [rows, columns] = if form < width / height {
        [width / form, width]
    } else {
        [height, form * height]
    };
    [rows, columns].map(|n| (n as usize).max(1))
}

/// Height and width that lie within those of `p` and keep the picture's form.
fn fit_large(p: &ResizeParameter, h: usize, w: usize) -> [usize; 2] {
    let (height, width) = (p.height() as f32, p.width() as f32);
    let form = w as f32 / h as f32;
    let [rows, columns] = if form > width / height {
        [width / form, width]
    } else {
        [height, form * height]
    };
    let within = |n: f32, most: u32| (n as usize).clamp(1, most as usize);
    [within(rows, p.height()), within(columns, p.width())]
}

fn resize(
    p: &ResizeParameter,
    planes: &[u8],
    dims: [usize; 3],
    draws: &mut Draws,
) -> Result<([usize; 3], Vec<u8>)> {
    let [c, h, w] = dims;
    let modes: Vec<InterpMode> = p.interp_mode().collect();
    let mode = match modes.len() {
        0 => InterpMode::Linear,
        n => modes[draws.below(n)],
    };
    let [height, width] = [p.height() as usize, p.width() as usize];
    let to = match p.resize_mode() {
        ResizeMode::Warp => [height, width],
        ResizeMode::FitSmallSize => fit_small(p, h, w),
        ResizeMode::FitLargeSizeAndPad => fit_large(p, h, w),
    };
    let values = c.saturating_mul(to[0]).saturating_mul(to[1]);
    ensure!(
        values <= isize::MAX as usize / 4,
        "resize_param makes pictures of {c} x {} x {} (channels, height, width), too large for this machine's memory",
        to[0],
        to[1]
    );
    let resized = interpolate(planes, dims, to, mode);
    if p.resize_mode() != ResizeMode::FitLargeSizeAndPad || to == [height, width] {
        return Ok(([c, to[0], to[1]], resized));
    }
    Ok(([c, height, width], pad(p, &resized, [c, to[0], to[1]])?))
}

/// Puts a picture into the middle of one of the size of `p`.
fn pad(p: &ResizeParameter, planes: &[u8], [c, h, w]: [usize; 3]) -> Result<Vec<u8>> {
    let given = p.pad_value.len();
    ensure!(
        given <= 1 || given == c,
        "resize_param takes 1 pad_value or one for each of {c} channels, found {given}"
    );
    let [height, width] = [p.height() as usize, p.width() as usize];
    let (top, left) = ((height - h) / 2, (width - w) / 2);
    let place = |at: usize, before: usize, n: usize| -> Option<usize> {
        let i = at as i64 - before as i64;
        let inside = (0..n as i64).contains(&i);
        match p.pad_mode() {
            _ if inside => Some(i as usize),
            PadMode::Constant => None,
            PadMode::RepeatNearest => Some(i.clamp(0, n as i64 - 1) as usize),
            PadMode::Mirrored if n == 1 => Some(0),
            PadMode::Mirrored => {
                let i = i.rem_euclid(2 * n as i64 - 2);
                Some(i.min(2 * n as i64 - 2 - i) as usize)
            }
        }
    };
    let mut out = Vec::with_capacity(c * height * width);
    for (channel, plane) in planes.chunks_exact(h * w).enumerate() {
        let value = p.pad_value.get(channel.min(given.saturating_sub(1)));
        let value = value.map_or(0.0, |v| v.round_ties_even()).clamp(0.0, 255.0) as u8;
        for y in 0..height {
            let row = place(y, top, h);
            out.extend((0..width).map(|x| match (row, place(x, left, w)) {
                (Some(y), Some(x)) => plane[y * w + x],
                _ => value,
            }));
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;

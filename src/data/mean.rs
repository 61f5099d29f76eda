//! The mean picture of a database, summed as Caffe's `compute_image_mean` does: in f32, record after
//! record, so that the bits are its.

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::datum::{Channels, Pixels, SMALLER, picture};
use super::records::Records;
use crate::memory;
use crate::proto::caffe::{BlobProto, Datum};

/// Records that are read at a time.
const CHUNK: u64 = 256;
/// Numbers of a picture that one thread sums.
const SPAN: usize = 4096;

/// The mean of all records, with the number that was read told to `progress` now and then. One shape and
/// the order of the records hold, so the result is the same for any number of threads.
pub fn mean(records: &mut dyn Records, progress: &mut dyn FnMut(u64)) -> Result<BlobProto> {
    let count = records.count();
    let mut dims = None;
    let mut sums: Vec<f32> = Vec::new();
    let mut datums: Vec<(Datum, String)> = Vec::new();
    for first in (0..count).step_by(CHUNK as usize) {
        let size = CHUNK.min(count - first) as usize;
        datums.resize_with(size, Default::default);
        for (number, (datum, key)) in (first..).zip(&mut datums) {
            records.read(number, datum)?;
            *key = records.key();
        }
        let name = records.name();
        let place = |key: &str| format!("record '{key}' of {name}");
        // Encoded pictures become pixels.
        let decoded: Result<Vec<(Vec<u8>, [usize; 3])>> = datums
            .par_iter()
            .map(|(datum, key)| {
                let mut bytes = Vec::new();
                let picture = picture(datum, Channels::AsStored, &mut bytes);
                let dims = picture.with_context(|| place(key))?.dims;
                Ok((bytes, dims))
            })
            .collect();
        let decoded = decoded?;
        for ((_, key), (_, found)) in datums.iter().zip(&decoded) {
            let expected = *dims.get_or_insert(*found);
            if *found != expected {
                bail!(
                    "{}: expected {} (channels, height, width) like the first record, found {}; resize \
                     them to one size with convert_imageset",
                    place(key),
                    shown(expected),
                    shown(*found)
                );
            }
        }
        let count: usize = dims.map_or(0, |d| d.iter().product());
        let more = count - sums.len();
        memory::reserve(&mut sums, more, || "the mean picture".into(), SMALLER)?;
        sums.resize(count, 0.0);
        sums.par_chunks_mut(SPAN).enumerate().for_each(|(i, sums)| {
            for ((datum, _), (bytes, _)) in datums.iter().zip(&decoded) {
                let pixels = match (datum.encoded(), datum.data()) {
                    (true, _) => Pixels::Bytes(bytes),
                    (false, []) => Pixels::Floats(&datum.float_data),
                    (false, bytes) => Pixels::Bytes(bytes),
                };
                add(sums, pixels, i * SPAN);
            }
        });
        progress(first + size as u64);
    }
    let Some([channels, height, width]) = dims else {
        bail!("{} has no records", records.name());
    };
    let axes = [channels, height, width].map(|d| i32::try_from(d).ok());
    ensure!(!axes.contains(&None), "the pictures are too large");
    sums.iter_mut().for_each(|sum| *sum /= count as f32);
    Ok(BlobProto {
        num: Some(1),
        channels: axes[0],
        height: axes[1],
        width: axes[2],
        data: sums,
        ..BlobProto::default()
    })
}

/// Adds a picture's numbers from `first` on.
fn add(sums: &mut [f32], pixels: Pixels, first: usize) {
    match pixels {
        Pixels::Bytes(bytes) => {
            let own = sums.iter_mut().zip(&bytes[first..]);
            own.for_each(|(sum, v)| *sum += f32::from(*v));
        }
        Pixels::Floats(floats) => {
            let own = sums.iter_mut().zip(&floats[first..]);
            own.for_each(|(sum, v)| *sum += v);
        }
    }
}

/// The mean of each channel of a mean picture, summed in f32 as Caffe does.
pub fn channel_means(mean: &BlobProto) -> Vec<f32> {
    let pixels = (mean.height() as usize) * (mean.width() as usize);
    let channels = mean.data.chunks_exact(pixels.max(1));
    channels
        .map(|c| c.iter().fold(0.0f32, |sum, v| sum + v) / pixels as f32)
        .collect()
}

fn shown([c, h, w]: [usize; 3]) -> String {
    format!("{c} x {h} x {w}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records in memory.
    struct Given(Vec<Datum>, u64);

    impl Records for Given {
        fn name(&self) -> String {
            "given".into()
        }
        fn count(&self) -> u64 {
            self.0.len() as u64
        }
        fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
            self.1 = number;
            *datum = self.0[number as usize].clone();
            Ok(())
        }
        fn key(&self) -> String {
            self.1.to_string()
        }
    }

    fn datum(height: i32, bytes: &[u8], floats: &[f32]) -> Datum {
        Datum {
            channels: Some(2),
            height: Some(height),
            width: Some(1),
            data: Some(bytes.to_vec()),
            float_data: floats.to_vec(),
            ..Datum::default()
        }
    }

    #[test]
    fn bytes_and_floats_are_averaged() {
        let mut all = vec![datum(2, &[0, 255, 2, 4], &[]); 299];
        all.push(datum(2, &[], &[300.0, 0.5, -598.0, 4.0]));
        let mut told = Vec::new();
        let mean = mean(&mut Given(all, 0), &mut |n| told.push(n)).unwrap();
        assert_eq!(mean.data, [1.0, 76245.5 / 300.0, 0.0, 4.0]);
        let axes = (mean.num(), mean.channels(), mean.height(), mean.width());
        assert_eq!(axes, (1, 2, 2, 1));
        assert_eq!(channel_means(&mean)[1], 2.0);
        assert_eq!(told, [256, 300]);
    }

    #[test]
    fn a_record_of_another_size_is_named() {
        let all = vec![datum(2, &[0; 4], &[]), datum(1, &[0; 2], &[])];
        let error = mean(&mut Given(all, 0), &mut |_| ()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("record '1' of given: expected 2 x 2 x 1"),
            "{text}"
        );
    }
}

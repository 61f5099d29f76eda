//! The embedded digits: 1,797 handwritten digits of 8 x 8 pixels, so that a first run needs no files.
//! `digits/README.md` tells their origin and licence.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::records::Records;
use crate::proto::caffe::Datum;

/// The names that a Data layer's `source` may have.
pub const NAMES: [&str; 2] = ["builtin:digits_train", "builtin:digits_test"];

const COUNT: usize = 1797;
/// The first of them are for training.
const TRAIN: usize = 1437;
const SIDE: usize = 8;
/// Digits in a row of the mosaic.
const COLUMNS: usize = 43;
/// A pixel of a picture of the digits is this times the value.
pub const LEVEL: u8 = 15;

const MOSAIC: &[u8] = include_bytes!("digits/mosaic.png");
const LABELS: &str = include_str!("digits/labels.txt");

/// One of the two sets, 1,437 digits for training or 360 for testing. A record's picture is 1 x 8 x 8
/// bytes from 0 (paper) to 16 (ink).
pub struct Digits {
    name: &'static str,
    first: usize,
    count: usize,
    place: usize,
    all: &'static All,
}

/// Values (8 x 8 a digit, digit after digit) and labels.
struct All {
    values: Vec<u8>,
    labels: Vec<u8>,
}

impl Digits {
    /// Opens one of [`NAMES`].
    pub fn open(name: &str) -> Result<Self> {
        let all = all().context("the embedded digits are broken")?;
        let (name, first, count) = match NAMES.iter().position(|n| *n == name) {
            Some(0) => (NAMES[0], 0, TRAIN),
            Some(1) => (NAMES[1], TRAIN, COUNT - TRAIN),
            _ => bail!(
                "there is no built-in data set '{name}'; there are {}",
                NAMES.join(" and ")
            ),
        };
        Ok(Self {
            name,
            first,
            count,
            place: 0,
            all,
        })
    }
}

impl Records for Digits {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn count(&self) -> u64 {
        self.count as u64
    }

    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
        self.place = usize::try_from(number)?.min(self.count - 1);
        let digit = self.first + self.place;
        let mut data = datum.data.take().unwrap_or_default();
        data.clear();
        data.extend_from_slice(&self.all.values[digit * SIDE * SIDE..][..SIDE * SIDE]);
        *datum = Datum {
            channels: Some(1),
            height: Some(SIDE as i32),
            width: Some(SIDE as i32),
            data: Some(data),
            label: Some(i32::from(self.all.labels[digit])),
            ..Datum::default()
        };
        Ok(())
    }

    fn key(&self) -> String {
        self.place.to_string()
    }
}

/// The digits, decoded once.
fn all() -> Result<&'static All> {
    static ALL: OnceLock<All> = OnceLock::new();
    if let Some(all) = ALL.get() {
        return Ok(all);
    }
    let mosaic = image::load_from_memory(MOSAIC)?.into_luma8();
    let width = COLUMNS * SIDE;
    let mosaic = mosaic.as_raw();
    if mosaic.len() != width * COUNT.div_ceil(COLUMNS) * SIDE {
        bail!("the mosaic has {} pixels", mosaic.len());
    }
    let rows = (0..COUNT).flat_map(|digit| (0..SIDE).map(move |row| (digit, row)));
    let starts =
        rows.map(|(digit, row)| (digit / COLUMNS * SIDE + row) * width + digit % COLUMNS * SIDE);
    let values = starts
        .flat_map(|start| mosaic[start..start + SIDE].iter().map(|v| v / LEVEL))
        .collect();
    let labels: Vec<u8> = LABELS
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|b| b - b'0')
        .collect();
    if labels.len() != COUNT {
        bail!("there are {} labels", labels.len());
    }
    Ok(ALL.get_or_init(|| All { values, labels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_there() {
        let (mut sum, mut classes) = (0u64, [[0; 10]; 2]);
        for (set, name) in NAMES.iter().enumerate() {
            let mut digits = Digits::open(name).unwrap();
            assert_eq!(digits.count(), [1437, 360][set]);
            let mut datum = Datum::default();
            for i in 0..digits.count() {
                digits.read(i, &mut datum).unwrap();
                assert!(datum.data().iter().all(|v| *v <= 16));
                assert_eq!(datum.data().len(), 64);
                sum += datum.data().iter().map(|v| u64::from(*v)).sum::<u64>();
                classes[set][datum.label() as usize] += 1;
            }
        }
        // Of digits.csv.gz: the sum of all pixels and the number of each digit.
        assert_eq!(sum, SUM);
        let totals: Vec<i32> = (0..10).map(|c| classes[0][c] + classes[1][c]).collect();
        assert_eq!(totals, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert!(
            classes[1].iter().all(|n| (35..=37).contains(n)),
            "{:?}",
            classes[1]
        );
    }
    const SUM: u64 = 561718;

    #[test]
    fn other_names_are_told() {
        let error = Digits::open("builtin:letters").err().unwrap().to_string();
        assert!(
            error.contains("'builtin:letters'") && error.contains("builtin:digits_train"),
            "{error}"
        );
    }
}

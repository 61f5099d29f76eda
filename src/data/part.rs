//! A part of a database's records, and labels that are wrong on purpose: `data_param`'s `first_record`, `records` and
//! `label_noise`, so that splits and experiments need no databases of their own.

use anyhow::{Result, ensure};

use super::records::Records;
use crate::proto::caffe::{DataParameter, Datum, LabelNoise};
use crate::random::{Purpose, Random};

/// Records of another source from number `first` on, `count` of them.
pub struct Part {
    records: Box<dyn Records>,
    first: u64,
    count: u64,
    noise: Option<Noise>,
}

/// Which labels are wrong. It follows from the record's number in the whole database and the noise's own seed, so that
/// every run sees the same mistakes.
struct Noise {
    fraction: f32,
    classes: u32,
    random: Random,
}

/// The random numbers of a record: whether its label is wrong, and by how much.
const DRAWS: u64 = 2;

impl Part {
    /// Whether `data` asks for all records as they are.
    pub fn is_whole(data: &DataParameter) -> bool {
        data.first_record() == 0 && data.records() == 0 && data.label_noise.is_none()
    }

    /// The part of `records` that `data` asks for.
    ///
    /// # Errors
    /// There are not so many records, or the noise is none.
    pub fn of(records: Box<dyn Records>, data: &DataParameter) -> Result<Self> {
        let (all, first) = (records.count(), data.first_record());
        ensure!(
            first < all,
            "data_param.first_record is {first}, but {} has {all} records, numbered from 0",
            records.name()
        );
        let count = match data.records() {
            0 => all - first,
            n => n,
        };
        ensure!(
            count <= all - first,
            "data_param asks for {count} records from number {first} on, but {} has {all}: at most {} follow",
            records.name(),
            all - first
        );
        let noise = data.label_noise.as_ref().map(Noise::new).transpose()?;
        Ok(Self {
            records,
            first,
            count,
            noise,
        })
    }
}

impl Noise {
    fn new(param: &LabelNoise) -> Result<Self> {
        let (fraction, classes) = (param.fraction(), param.classes());
        ensure!(
            (0.0..=1.0).contains(&fraction),
            "label_noise.fraction must lie in [0, 1], but is {fraction}"
        );
        ensure!(
            classes >= 2,
            "label_noise.classes must be at least 2, for a wrong label is another class; found {classes}"
        );
        Ok(Self {
            fraction,
            classes,
            random: Random::new(param.seed(), Purpose::Labels, 0),
        })
    }

    /// The label of record `number` that has `label`.
    fn label(&self, number: u64, label: i32) -> Result<i32> {
        let known = u32::try_from(label).is_ok_and(|l| l < self.classes);
        ensure!(
            known,
            "the label is {label}, but label_noise.classes is {}",
            self.classes
        );
        let draw = number.wrapping_mul(DRAWS);
        if self.random.unit(draw) >= self.fraction {
            return Ok(label);
        }
        let classes = self.classes as usize;
        let other = 1 + self.random.below(draw + 1, classes - 1);
        Ok(((label as usize + other) % classes) as i32)
    }
}

impl Records for Part {
    fn name(&self) -> String {
        self.records.name()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn read(&mut self, number: u64, datum: &mut Datum) -> Result<()> {
        let number = self.first + number;
        self.records.read(number, datum)?;
        if let Some(noise) = &self.noise {
            datum.label = Some(noise.label(number, datum.label())?);
        }
        Ok(())
    }

    fn key(&self) -> String {
        self.records.key()
    }
}

//! Records that cannot be read, and what takes their places with `--skip_bad_records`.

use anyhow::{Result, anyhow};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Who hears of each bad record, where this process leaves them out.
static LEFT_OUT: OnceLock<fn(&str)> = OnceLock::new();

/// Leaves bad records out from now on, in layers that are opened later; `warn` takes a line for each.
pub fn leave_out(warn: fn(&str)) {
    LEFT_OUT.get_or_init(|| warn);
}

/// Whether they are left out.
pub fn left_out() -> bool {
    LEFT_OUT.get().is_some()
}

/// The records of a layer that are known to be bad. In the place of one comes the next good one of the database or list,
/// whatever was read before, so that a run which is resumed sees the same.
#[derive(Debug, Default)]
pub struct BadRecords {
    leave_out: bool,
    known: BTreeSet<u64>,
}

impl BadRecords {
    /// None are known yet.
    pub fn new(leave_out: bool) -> Self {
        Self {
            leave_out,
            known: BTreeSet::new(),
        }
    }

    /// The shape that the pictures of a batch must have: that of its first, as in Caffe; but where bad ones are left out that of
    /// the layer, `own`, so that one of another size does not decide for its batch.
    pub fn shape_of(&self, batch: usize, first: Option<[usize; 3]>, own: [usize; 3]) -> [usize; 3] {
        match first {
            Some(first) if !self.leave_out || batch == 1 => first,
            _ => own,
        }
    }

    /// Record `record` of `count`, or the next one that is not known to be bad.
    pub fn good(&self, record: u64, count: u64) -> u64 {
        let mut record = record;
        while self.known.contains(&record) {
            record = (record + 1) % count.max(1);
        }
        record
    }

    /// Notes that a record is bad.
    ///
    /// # Errors
    /// Bad records are not left out, or all are bad.
    pub fn note(&mut self, record: u64, count: u64, error: anyhow::Error) -> Result<()> {
        if !self.leave_out {
            return Err(error);
        }
        self.known.insert(record);
        if self.known.len() as u64 >= count {
            return Err(anyhow!(
                "none of the {count} records can be read; the last: {error:#}"
            ));
        }
        if let Some(warn) = LEFT_OUT.get() {
            warn(&format!(
                "A bad record is left out, the next takes its place: {error:#}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_good_record_takes_the_place_of_a_bad_one() {
        let mut bad = BadRecords::new(true);
        for record in [3, 4, 9] {
            bad.note(record, 10, anyhow!("it is broken")).unwrap();
        }
        assert_eq!([2, 3, 4, 5, 9].map(|r| bad.good(r, 10)), [2, 5, 5, 5, 0]);
        let error = |record: u64, bad: &mut BadRecords| {
            let noted = bad.note(record, 4, anyhow!("it is broken"));
            noted.unwrap_err().to_string()
        };
        assert!(error(1, &mut bad).starts_with("none of the 4 records"));
        assert_eq!(error(1, &mut BadRecords::new(false)), "it is broken");
    }
}

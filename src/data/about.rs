//! What is known of a net's data before the first batch, so that what would be silently wrong is said: labels of
//! another order than in training, a test set that is counted twice, batches of one class.

use anyhow::{Result, bail};

use super::class_list;
use crate::tensor::Tensor;

/// Samples that must be of one class in a row before it is said, so that chance is no cause.
const IN_A_ROW: usize = 8;

/// What a data layer knows of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The layer's name.
    pub layer: String,
    /// Its database, list or folder.
    pub source: String,
    /// Samples of a batch.
    pub batch: usize,
    /// Different samples.
    pub samples: u64,
    /// The names of the classes in the order of their labels; empty where nobody has said.
    pub classes: Vec<String>,
    /// The place of the labels among the arrays of a batch, if it gives any.
    pub labels: Option<usize>,
}

/// Compares the classes of what is trained on with those of what is tested on.
///
/// # Errors
/// Both are known, and they differ: a label would mean another class in testing.
pub fn same_classes(train: &[About], test: &[About]) -> Result<()> {
    for test in test.iter().filter(|a| !a.classes.is_empty()) {
        let Some(train) = train.iter().find(|a| !a.classes.is_empty()) else {
            continue;
        };
        if let Some(difference) = class_list::difference(&train.classes, &test.classes) {
            bail!(
                "the training data {} and the test data {} have {difference}; make the test data with the training \
                 data's classes: dsd convert_imageset --classes CLASSES, or a copy of the class list as {} in the \
                 folder of pictures",
                train.source,
                test.source,
                class_list::CLASSES
            );
        }
    }
    Ok(())
}

/// What to say where a test counts some samples more often than others; `iterations` batches are tested.
pub fn wraps(about: &About, iterations: u64) -> Option<String> {
    let tested = iterations.checked_mul(about.batch as u64)?;
    if about.samples == 0 || tested <= about.samples {
        return None;
    }
    let fits = about.samples / about.batch as u64;
    let even = about.samples.is_multiple_of(about.batch as u64);
    Some(format!(
        "A test takes {tested} samples ({iterations} batches of {}), but {} has {}: it begins again at the start, and \
         some count twice; {}",
        about.batch,
        about.source,
        about.samples,
        match (even, fits) {
            (true, _) => format!("with {fits} iterations each counts once"),
            (false, 0) => "take a smaller batch_size".to_string(),
            (false, _) => format!("with {fits} iterations none counts twice"),
        }
    ))
}

/// Looks for batches of one class, and says it once.
#[derive(Debug, Default)]
pub struct OneClass {
    /// The class of the samples so far, and how many they are.
    run: Option<(f32, usize)>,
    told: bool,
}

impl OneClass {
    /// Looks at a batch; gives the line to say, at most once.
    pub fn look(&mut self, about: &[About], batch: &[Tensor]) -> Option<String> {
        self.look_in(about, |at| batch.get(at))
    }

    /// Looks at a batch whose array of a place `array` gives.
    pub fn look_in<'a>(
        &mut self,
        about: &[About],
        array: impl Fn(usize) -> Option<&'a Tensor>,
    ) -> Option<String> {
        if self.told {
            return None;
        }
        // A batch of all samples, and a class list of one, can be nothing else.
        let about = about.iter().find(|a| a.labels.is_some())?;
        if about.samples <= about.batch as u64 || about.classes.len() == 1 {
            return None;
        }
        let labels = &array(about.labels?)?.data;
        let first = *labels.first()?;
        if labels.iter().any(|l| *l != first) {
            self.run = None;
            return None;
        }
        let before = self
            .run
            .filter(|(class, _)| *class == first)
            .map_or(0, |(_, n)| n);
        let count = before + labels.len();
        self.run = Some((first, count));
        if count < IN_A_ROW {
            return None;
        }
        self.told = true;
        let name = about
            .classes
            .get(first as usize)
            .map_or(String::new(), |n| format!(" ({n})"));
        Some(format!(
            "All {count} samples of the batch from {} are of class {first}{name}; training goes badly when the data \
             are in the order of the classes: shuffle them (convert_imageset --shuffle, image_data_param shuffle)",
            about.source
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn about(batch: usize, samples: u64, classes: &str) -> About {
        About {
            layer: "data".into(),
            source: "db".into(),
            batch,
            samples,
            classes: classes.split_terminator(' ').map(String::from).collect(),
            labels: Some(0),
        }
    }

    fn labels(labels: &[f32]) -> Vec<Tensor> {
        vec![Tensor {
            shape: Shape::new([labels.len()]),
            data: labels.to_vec(),
        }]
    }

    #[test]
    fn batches_of_one_class_are_said_once() {
        let mut look = OneClass::default();
        let sorted = [about(8, 100, "a b")];
        let text = look.look(&sorted, &labels(&[1.0; 8])).unwrap();
        assert!(
            text.starts_with("All 8 samples of the batch from db are of class 1 (b);"),
            "{text}"
        );
        assert_eq!(look.look(&sorted, &labels(&[1.0; 8])), None);
        // Small batches: several in a row.
        let mut look = OneClass::default();
        let small = [about(3, 100, "")];
        assert_eq!(look.look(&small, &labels(&[0.0; 3])), None);
        assert_eq!(look.look(&small, &labels(&[0.0, 0.0, 1.0])), None);
        assert_eq!(look.look(&small, &labels(&[2.0; 3])), None);
        assert_eq!(look.look(&small, &labels(&[2.0; 3])), None);
        assert!(
            look.look(&small, &labels(&[2.0; 3]))
                .unwrap()
                .contains("All 9 samples")
        );
        // All there is, or one class alone.
        for about in [about(8, 8, ""), about(8, 100, "a")] {
            assert_eq!(OneClass::default().look(&[about], &labels(&[0.0; 8])), None);
        }
    }

    #[test]
    fn tests_that_begin_again_are_said() {
        assert_eq!(wraps(&about(50, 100, ""), 2), None);
        let text = wraps(&about(50, 100, ""), 3).unwrap();
        assert!(
            text.contains("takes 150 samples (3 batches of 50), but db has 100"),
            "{text}"
        );
        assert!(
            text.ends_with("with 2 iterations each counts once"),
            "{text}"
        );
        let text = wraps(&about(30, 100, ""), 4).unwrap();
        assert!(
            text.ends_with("with 3 iterations none counts twice"),
            "{text}"
        );
        assert!(
            wraps(&about(300, 100, ""), 1)
                .unwrap()
                .ends_with("take a smaller batch_size")
        );
    }

    #[test]
    fn other_classes_are_an_error() {
        let train = [about(1, 9, "a b c")];
        assert!(same_classes(&train, &[about(1, 9, "")]).is_ok());
        assert!(same_classes(&train, &[about(1, 9, "a b c")]).is_ok());
        let error = same_classes(&train, &[about(1, 9, "a c")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("3 and 2 classes; label 1 is 'b' in one and 'c' in the other"),
            "{error}"
        );
    }
}

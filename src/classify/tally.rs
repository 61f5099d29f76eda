//! How right the answers to pictures of known classes are.

use super::best;
use std::collections::BTreeMap;

/// What a net says of a picture whose class is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The picture's name.
    pub file: String,
    /// Its class.
    pub class: usize,
    /// The class that the net says.
    pub said: usize,
    /// The probability of what is said.
    pub probability: f32,
    /// The probability of its class.
    pub own: f32,
    /// How many classes are before its own, by probability.
    pub rank: usize,
}

impl Answer {
    /// The answer that `probabilities`, one a class, give for a picture of `class`.
    pub fn new(file: &str, class: usize, probabilities: &[f32]) -> Self {
        let (said, probability) = best(probabilities, 1).first().copied().unwrap_or_default();
        let own = probabilities.get(class).copied().unwrap_or(0.0);
        // Of equal ones the first class comes first.
        let before = |(i, p): (usize, &f32)| *p > own || (*p == own && i < class);
        let rank = probabilities.iter().enumerate().filter(|x| before(*x));
        Self {
            file: file.to_string(),
            class,
            said,
            probability,
            own,
            rank: rank.count(),
        }
    }

    /// Whether it is right.
    pub fn right(&self) -> bool {
        self.said == self.class
    }
}

/// The answers to many pictures.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The classes' names.
    pub classes: Vec<String>,
    /// The answers, in the order of the pictures.
    pub answers: Vec<Answer>,
}

/// The pictures of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct OfClass {
    /// The class.
    pub class: usize,
    /// How many pictures it has.
    pub pictures: u64,
    /// How many of them are taken for it.
    pub right: u64,
    /// For how many its class is among the five most probable.
    pub top5: u64,
    /// How many pictures of any class are taken for it.
    pub said: u64,
    /// The class that its pictures are mistaken for most, and how often.
    pub mistaken: Option<(usize, u64)>,
}

impl Tally {
    /// How many answers hold under a condition.
    pub fn count(&self, holds: impl Fn(&Answer) -> bool) -> u64 {
        self.answers.iter().filter(|a| holds(a)).count() as u64
    }

    /// How many are right.
    pub fn right(&self) -> u64 {
        self.count(Answer::right)
    }

    /// For how many the class is among the `n` most probable.
    pub fn within(&self, n: usize) -> u64 {
        self.count(|a| a.rank < n)
    }

    /// How often pictures of one class are taken for another (or the same): (what they are, what is said).
    pub fn confusion(&self) -> BTreeMap<(usize, usize), u64> {
        let mut counts = BTreeMap::new();
        for answer in &self.answers {
            *counts.entry((answer.class, answer.said)).or_default() += 1;
        }
        counts
    }

    /// The classes that have pictures, in turn.
    pub fn by_class(&self) -> Vec<OfClass> {
        let counts = self.confusion();
        let mut all: BTreeMap<usize, OfClass> = BTreeMap::new();
        for answer in &self.answers {
            let of = all.entry(answer.class).or_insert(OfClass {
                class: answer.class,
                pictures: 0,
                right: 0,
                top5: 0,
                said: 0,
                mistaken: None,
            });
            of.pictures += 1;
            of.right += u64::from(answer.right());
            of.top5 += u64::from(answer.rank < 5);
        }
        for (&(class, said), &n) in &counts {
            if let Some(of) = all.get_mut(&said) {
                of.said += n;
            }
            let of = all.get_mut(&class).filter(|_| class != said);
            if let Some(of) = of.filter(|of| of.mistaken.is_none_or(|(_, most)| n > most)) {
                of.mistaken = Some((said, n));
            }
        }
        all.into_values().collect()
    }

    /// The wrong answers, the surest first.
    pub fn mistakes(&self) -> Vec<&Answer> {
        let mut wrong: Vec<&Answer> = self.answers.iter().filter(|a| !a.right()).collect();
        wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        wrong
    }

    /// A class's name.
    pub fn name(&self, class: usize) -> String {
        let name = self.classes.get(class).filter(|n| !n.is_empty());
        name.cloned().unwrap_or_else(|| class.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let answers = [
            ("a", 0, [0.7, 0.2, 0.1]),
            ("b", 0, [0.1, 0.6, 0.3]),
            ("c", 2, [0.1, 0.8, 0.1]),
            ("d", 2, [0.0, 0.5, 0.5]),
        ];
        Tally {
            classes: vec!["cat".into(), "dog".into()],
            answers: answers.map(|(f, c, p)| Answer::new(f, c, &p)).to_vec(),
        }
    }

    #[test]
    fn answers_are_counted_by_class_and_rank() {
        let tally = tally();
        assert_eq!((tally.right(), tally.within(2), tally.within(3)), (1, 2, 4));
        assert_eq!(tally.confusion()[&(2, 1)], 2);
        let classes = tally.by_class();
        assert_eq!(classes.len(), 2);
        assert_eq!(
            (classes[0].pictures, classes[0].right, classes[0].said),
            (2, 1, 1)
        );
        assert_eq!(classes[0].mistaken, Some((1, 1)));
        assert_eq!((classes[1].class, classes[1].mistaken), (2, Some((1, 2))));
        assert_eq!((tally.name(1), tally.name(2)), ("dog".into(), "2".into()));
    }

    #[test]
    fn the_surest_mistakes_come_first_and_equals_go_to_the_first_class() {
        let tally = tally();
        let files: Vec<&str> = tally.mistakes().iter().map(|a| &*a.file).collect();
        assert_eq!(files, ["c", "b", "d"]);
        assert_eq!((tally.answers[3].said, tally.answers[3].rank), (1, 1));
    }
}

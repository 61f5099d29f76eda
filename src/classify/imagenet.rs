//! The names of ImageNet's 1000 classes, in the order of ILSVRC 2012, which nets of 1000 classes are trained in: sorted by
//! their WordNet numbers.

/// A line a class: the WordNet number, a space, the name.
const TEXT: &str = include_str!("../../models/imagenet_classes.txt");

/// How many there are.
pub const CLASSES: usize = 1000;

/// What messages call the list.
pub const LIST: &str = "ImageNet's 1000 classes";

/// The lines, as in `synset_words.txt`: `n01440764 tench`.
pub fn lines() -> Vec<String> {
    TEXT.lines().map(String::from).collect()
}

/// The names alone.
pub fn names() -> Vec<String> {
    let name = |line: &str| line.split_once(' ').map_or(line, |(_, n)| n).to_string();
    TEXT.lines().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_is_a_name_a_class_in_the_order_of_the_numbers() {
        let lines = lines();
        assert_eq!(lines.len(), CLASSES);
        assert!(lines.is_sorted());
        assert!(lines.iter().all(|l| l.starts_with('n') && l.is_ascii()));
        let names = names();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), CLASSES);
        assert_eq!((&*names[0], &*names[281]), ("tench", "tabby"));
        assert_eq!(names[999], "toilet tissue");
    }
}

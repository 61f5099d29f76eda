//! The patterns of `--sparsity` and `--bits`: which layers they name, and which of them can never decide.

/// The patterns that match none of `layers`: probably misspelt.
pub fn unmatched<'a>(patterns: impl Iterator<Item = &'a str>, layers: &[&str]) -> Vec<&'a str> {
    patterns
        .filter(|p| !layers.iter().any(|l| wildcard(p, l)))
        .collect()
}

/// The first pattern that matches layers of `layers`, all of which earlier ones match too, and one of these; the first
/// match wins, so it never decides. A last `*` stands for the rest, of which there may be none.
pub fn shadowed<'a>(
    patterns: impl Iterator<Item = &'a str>,
    layers: &[&str],
) -> Option<(&'a str, &'a str)> {
    let patterns: Vec<&str> = patterns.collect();
    let earlier = |k: usize, layer: &str| patterns[..k].iter().find(|p| wildcard(p, layer));
    for (k, pattern) in patterns.iter().enumerate() {
        let repeated = patterns[..k].contains(pattern);
        if *pattern == "*" && k + 1 == patterns.len() && !repeated {
            continue;
        }
        let own: Vec<&&str> = layers.iter().filter(|l| wildcard(pattern, l)).collect();
        if let Some(first) = own.first()
            && own.iter().all(|l| earlier(k, l).is_some())
        {
            return Some((pattern, earlier(k, first)?));
        }
    }
    None
}

/// Whether `name` fits `pattern`, in which `*` stands for any run and `?` for any one character.
pub(crate) fn wildcard(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < n.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == n[j]) {
            (i, j) = (i + 1, j + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (i, j) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    p[i..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_behind_one_that_takes_all_its_layers_never_decides() {
        let layers = ["conv1", "conv2", "fc6"];
        let of = |text: &'static str| shadowed(text.split(','), &layers);
        assert_eq!(of("*,conv1"), Some(("conv1", "*")));
        assert_eq!(of("conv*,conv2,*"), Some(("conv2", "conv*")));
        assert_eq!(of("conv1,conv?,conv2"), Some(("conv2", "conv?")));
        assert_eq!(of("conv1,conv2,conv*,*"), Some(("conv*", "conv1")));
        assert_eq!(of("conv1,conv1"), Some(("conv1", "conv1")));
        assert_eq!(of("*,*"), Some(("*", "*")));
        for well in [
            "*",
            "conv1,*",
            "conv1,conv*,*",
            "conv1,conv2,fc6,*",
            "none,conv1",
        ] {
            assert_eq!(of(well), None, "{well}");
        }
    }
}

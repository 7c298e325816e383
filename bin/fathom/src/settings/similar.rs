//! The word somebody may have meant.

/// `; did you mean …?` for the closest of some words, or nothing if none is close.
pub(super) fn hint<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let closest = known.map(|word| (distance(given, word), word)).min();
    match closest {
        Some((distance, word)) if distance <= 1 + given.chars().count() / 4 => {
            format!("; did you mean {word}?")
        }
        _ => String::new(),
    }
}

/// Insertions, deletions and replacements between two words (Levenshtein). Words longer than
/// any key are not compared.
fn distance(one: &str, other: &str) -> usize {
    if one.len().max(other.len()) > LONGEST {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, sign) in one.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(sign != *wanted);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::{distance, hint};

    #[test]
    fn edits_are_counted() {
        for (one, other, edits) in [("", "abc", 3), ("flow", "flow", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
            assert_eq!(distance(other, one), edits, "{other} {one}");
        }
    }

    #[test]
    fn only_close_words_are_suggested() {
        let known = || ["metrics_port", "collection_interval"].into_iter();
        assert_eq!(hint("colection_intervall", known()), "; did you mean collection_interval?");
        assert_eq!(hint("colour", known()), "");
        assert_eq!(hint(&"x".repeat(100_000), known()), "");
    }
}

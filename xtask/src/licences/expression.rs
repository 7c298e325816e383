//! SPDX licence expressions, as far as manifests use them.

/// Whether the licences that `permits` says yes to are enough, or nothing if the text is
/// not an expression. The slash of old manifests means OR.
pub(super) fn permitted(text: &str, permits: impl Fn(&str) -> bool) -> Option<bool> {
    let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, permits: &permits };
    let answer = reader.either()?;
    reader.words.is_empty().then_some(answer)
}

struct Reader<'a, P> {
    words: &'a [&'a str],
    permits: &'a P,
}

impl<'a, P: Fn(&str) -> bool> Reader<'a, P> {
    fn either(&mut self) -> Option<bool> {
        let mut answer = self.both()?;
        while self.takes("OR") {
            answer |= self.both()?;
        }
        Some(answer)
    }

    fn both(&mut self) -> Option<bool> {
        let mut answer = self.one()?;
        while self.takes("AND") {
            answer &= self.one()?;
        }
        Some(answer)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let answer = self.either()?;
            return self.takes(")").then_some(answer);
        }
        let id = self.id()?;
        if !self.takes("WITH") {
            return Some((self.permits)(id));
        }
        let exception = self.id()?;
        Some((self.permits)(&format!("{id} WITH {exception}")))
    }

    fn id(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        let is_id = !["AND", "OR", "WITH", "(", ")"].contains(first);
        self.words = rest;
        is_id.then_some(first)
    }

    fn takes(&mut self, word: &str) -> bool {
        let rest = self.words.split_first().filter(|(first, _)| **first == word);
        self.words = rest.map_or(self.words, |(_, rest)| rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::permitted;

    fn answer(text: &str) -> Option<bool> {
        permitted(text, |id| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&id))
    }

    #[test]
    fn one_of_several_is_enough_and_all_of_a_conjunction_are_needed() {
        assert_eq!(answer("GPL-2.0 OR MIT"), Some(true));
        assert_eq!(answer("GPL-2.0/MIT"), Some(true));
        assert_eq!(answer("GPL-2.0 AND MIT"), Some(false));
        assert_eq!(answer("MIT AND ISC"), Some(true));
    }

    #[test]
    fn and_binds_more_than_or() {
        assert_eq!(answer("MIT OR GPL-2.0 AND GPL-3.0"), Some(true));
        assert_eq!(answer("(MIT OR GPL-2.0) AND GPL-3.0"), Some(false));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert_eq!(answer("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(answer("MIT WITH LLVM-exception"), Some(false));
    }

    #[test]
    fn what_is_no_expression_is_not_guessed_at() {
        for text in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert_eq!(answer(text), None, "{text:?}");
        }
    }
}

//! Short texts of fixed size, as records hold them.

use std::fmt;

/// Up to 63 bytes of UTF-8 in eight words: a length octet, then the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text {
    octets: [u8; 64],
}

impl Text {
    /// No text.
    pub const EMPTY: Self = Self { octets: [0; 64] };

    /// Longest text, in bytes: the limit of a Kubernetes label value.
    pub const MAX: usize = 63;

    /// Words of a text in a record.
    pub(crate) const WORDS: usize = 8;

    /// Takes a text that fits.
    pub fn new(text: &str) -> Result<Self, TextTooLong> {
        let mut octets = [0; 64];
        let (length, room) = octets.split_at_mut(1);
        let too_long = TextTooLong { length: text.len() };
        room.get_mut(..text.len()).ok_or(too_long)?.copy_from_slice(text.as_bytes());
        length.fill(u8::try_from(text.len()).map_err(|_| too_long)?);
        Ok(Self { octets })
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        let [length, text @ ..] = &self.octets;
        let text = text.get(..usize::from(*length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Whether there is no text.
    pub const fn is_empty(&self) -> bool {
        self.octets[0] == 0
    }

    /// The words of the record.
    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        let (chunks, _) = self.octets.as_chunks::<8>();
        std::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
    }

    /// Reads the words of a record; `None` unless [`Text::to_words`] could have written
    /// them, so that equal texts are equal words.
    pub(crate) fn from_words(words: &[u64; Self::WORDS]) -> Option<Self> {
        let mut octets = [0; 64];
        for (chunk, word) in octets.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let [length, text @ ..] = &octets;
        let (text, rest) = text.split_at_checked(usize::from(*length))?;
        let sound = std::str::from_utf8(text).is_ok() && rest.iter().all(|octet| *octet == 0);
        sound.then_some(Self { octets })
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A text does not fit into its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes are too long for a name; at most {max} can be kept", max = Text::MAX)]
pub struct TextTooLong {
    /// Length of the text in bytes.
    pub length: usize,
}

#[cfg(test)]
mod tests {
    use super::{Text, TextTooLong};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn sixty_three_bytes_fit_and_sixty_four_do_not() {
        let longest = "n".repeat(63);
        assert_eq!(Text::new(&longest).unwrap().as_str(), longest);
        assert_eq!(Text::new(&"n".repeat(64)), Err(TextTooLong { length: 64 }));
        assert_eq!(Text::new(&"n".repeat(500)), Err(TextTooLong { length: 500 }));
    }

    proptest! {
        #[test]
        fn every_text_survives_its_words(text in "\\PC{0,15}") {
            let text = Text::new(&text).unwrap();
            prop_assert_eq!(Text::from_words(&text.to_words()), Some(text));
        }

        #[test]
        fn words_that_are_read_are_written_the_same(words in any::<[u64; 8]>(), keep in 0_usize..8) {
            let mut words = words;
            words[keep..].fill(0);
            words[0] = words[0] & !0xff | 7;
            if let Some(text) = Text::from_words(&words) {
                prop_assert_eq!(text.to_words(), words);
                prop_assert_eq!(text.as_str().len(), 7);
            } else {
                prop_assert!(keep > 1 || std::str::from_utf8(&words[0].to_le_bytes()[1..]).is_err());
            }
        }
    }
}

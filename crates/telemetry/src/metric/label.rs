//! Label values that are cheap to copy ten thousand times.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The value of a label: a literal or a shared text.
#[derive(Clone)]
pub struct LabelValue(Text);

#[derive(Clone)]
enum Text {
    Literal(&'static str),
    Shared(Arc<str>),
}

impl LabelValue {
    /// Takes octets from outside; what is not UTF-8 becomes U+FFFD.
    pub fn from_utf8_lossy(octets: &[u8]) -> Self {
        match String::from_utf8_lossy(octets) {
            Cow::Borrowed(text) => Self(Text::Shared(text.into())),
            Cow::Owned(text) => text.into(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Literal(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl From<&'static str> for LabelValue {
    fn from(text: &'static str) -> Self {
        Self(Text::Literal(text))
    }
}

impl From<Arc<str>> for LabelValue {
    fn from(text: Arc<str>) -> Self {
        Self(Text::Shared(text))
    }
}

impl From<&Arc<str>> for LabelValue {
    fn from(text: &Arc<str>) -> Self {
        Self(Text::Shared(Arc::clone(text)))
    }
}

impl From<String> for LabelValue {
    fn from(text: String) -> Self {
        Self(Text::Shared(text.into()))
    }
}

impl PartialEq for LabelValue {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for LabelValue {}

impl PartialOrd for LabelValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for LabelValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::LabelValue;

    #[test]
    fn a_literal_equals_the_same_shared_text() {
        let shared: Arc<str> = "pod-a".into();
        assert_eq!(LabelValue::from("pod-a"), LabelValue::from(&shared));
    }

    #[test]
    fn octets_that_are_not_utf8_are_replaced() {
        assert_eq!(LabelValue::from_utf8_lossy(b"a\xffb").as_str(), "a\u{fffd}b");
    }
}

//! What is wrong with a YAML file, told without a word of it.
//!
//! Files that operators write hold tokens and password hashes, and messages end in logs that
//! others read. So a fault names its place and its kind, and never the text around it.

use std::fmt;

use serde_saphyr::Error;

/// A fault of a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    place: Option<(u64, u64)>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Duplicate,
    Type,
    Encoding,
    Size,
    Anchor,
    Syntax,
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let place = error.location().map(|at| (at.line(), at.column()));
        Self { place, kind: Kind::of(error.without_snippet()) }
    }
}

impl Kind {
    fn of(error: &Error) -> Self {
        match error {
            Error::DuplicateMappingKey { .. } => Self::Duplicate,
            Error::Message { .. }
            | Error::Unexpected { .. }
            | Error::InvalidScalar { .. }
            | Error::InvalidBooleanStrict { .. }
            | Error::NullIntoString { .. }
            | Error::NonFiniteFloat { .. }
            | Error::SerdeInvalidType { .. }
            | Error::SerdeInvalidValue { .. }
            | Error::SerdeInvalidLength { .. }
            | Error::SerdeMissingField { .. } => Self::Type,
            Error::InvalidUtf8Input => Self::Encoding,
            Error::Budget { .. } => Self::Size,
            Error::UnknownAnchor { .. } => Self::Anchor,
            _ => Self::Syntax,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Duplicate => "a key stands there twice; remove one of the two",
            Self::Type => "a value has another type than its key takes; correct it",
            Self::Encoding => "the file is not UTF-8; save it as UTF-8",
            Self::Size => "the file is larger or deeper than any real one; check the path",
            Self::Anchor => "an alias names no anchor; define the anchor before it",
            Self::Syntax => "this is not YAML; check indentation, quotes and brackets",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(self.kind.text())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Fault;

    fn told(text: &str) -> String {
        let read = serde_saphyr::from_str::<BTreeMap<String, BTreeMap<String, bool>>>(text);
        Fault::from(&read.unwrap_err()).to_string()
    }

    #[test]
    fn a_fault_has_a_place_and_a_kind_and_no_text_of_the_file() {
        for (text, place, kind) in [
            ("a: {SECRET: true, SECRET: true}", "line 1, column 19: ", "twice"),
            ("a:\n  b: SECRET", "line 2, column 6: ", "type"),
            ("a: SECRET", "line 1, column 4: ", "type"),
            ("a: ]SECRET", "line 1", "not YAML"),
            ("a: *SECRET", "line 1", "alias"),
            ("SECRET: \"SECRET\n", "line ", "not YAML"),
            ("- SECRET", "line 1", "type"),
        ] {
            let told = told(text);
            assert!(told.contains(place) && told.contains(kind), "{text:?} gave: {told}");
            assert!(!told.contains("SECRET"), "{text:?} gave: {told}");
        }
    }
}

//! Spellings of `--log-level` and `--log-format`.

use tracing::Level;

use super::Format;

/// Reads a level: trace, debug, info, warn or warning, error.
pub fn parse_level(text: &str) -> Result<Level, LevelError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" | "warning" => Level::WARN,
        "error" => Level::ERROR,
        _ => return Err(LevelError { given: text.into() }),
    })
}

/// Reads a format: json or console.
pub fn parse_format(text: &str) -> Result<Format, FormatError> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(Format::Json),
        "console" => Ok(Format::Console),
        _ => Err(FormatError { given: text.into() }),
    }
}

/// A level that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no log level; use trace, debug, info, warn or error")]
pub struct LevelError {
    given: Box<str>,
}

/// A log format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no log format; use json or console")]
pub struct FormatError {
    given: Box<str>,
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::{Format, parse_format, parse_level};

    #[test]
    fn warning_is_another_spelling_of_warn() {
        assert_eq!(parse_level("warning"), Ok(Level::WARN));
        assert_eq!(parse_level("WARN"), Ok(Level::WARN));
    }

    #[test]
    fn unknown_spellings_are_refused_with_the_known_ones() {
        let error = parse_level("verbose").unwrap_err().to_string();
        assert!(error.contains("trace, debug, info"), "{error}");
        assert!(parse_format("text").unwrap_err().to_string().contains("json or console"));
        assert_eq!(parse_format("console"), Ok(Format::Console));
    }
}

//! Arguments as the replaced commands had them, brought into the form of ours.

use std::ffi::OsString;

use crate::parse::Refused;

/// A value that a chart rendered with the wrong verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{argument}: value mangled by a chart template (number formatted with the wrong verb)")]
pub struct Mangled {
    /// The argument as it came.
    pub argument: String,
}

/// What followed `--hist`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram(Option<(usize, f64, f64)>);

impl Histogram {
    /// Whether nothing followed.
    pub(crate) const fn is_bare(self) -> bool {
        self.0.is_none()
    }

    pub(super) const fn limits(self) -> Option<(usize, f64, f64)> {
        self.0
    }
}

/// Joins up to three unsigned integers behind `--hist` to it: the old form has no mark
/// of where they end.
///
/// # Errors
///
/// When a chart left the mark of its template in a value.
pub fn expand(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, Mangled> {
    let mut expanded: Vec<OsString> = Vec::new();
    let mut wanted = 0;
    for argument in arguments {
        let text = argument.to_string_lossy();
        if ["%!d(", "%!f(", "%!s("].iter().any(|mark| text.contains(mark)) {
            return Err(Mangled { argument: text.into_owned() });
        }
        let number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        match expanded.last_mut() {
            Some(hist) if wanted > 0 && number => {
                hist.push(if wanted == 3 { "=" } else { "," });
                hist.push(&argument);
                wanted -= 1;
            }
            _ => {
                wanted = if text == "--hist" { 3 } else { 0 };
                expanded.push(argument);
            }
        }
    }
    Ok(expanded)
}

/// All three numbers or none, the limits in milliseconds.
pub(super) fn histogram(text: &str) -> Result<Histogram, HistogramRefused> {
    if text.is_empty() {
        return Ok(Histogram(None));
    }
    let numbers: Vec<&str> = text.split(',').collect();
    let [bins, floor, ceiling] = numbers[..] else { return Err(HistogramRefused::Incomplete) };
    let bins = bins.parse().map_err(|_| HistogramRefused::Incomplete)?;
    Ok(Histogram(Some((
        bins,
        super::parse::milliseconds(floor)?,
        super::parse::milliseconds(ceiling)?,
    ))))
}

/// Why the numbers behind `--hist` make no histogram.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HistogramRefused {
    #[error("must be followed by BINS FLOOR CEILING, or by nothing")]
    Incomplete,
    #[error(transparent)]
    Limit(#[from] Refused),
}

#[cfg(test)]
mod tests {
    use super::{Histogram, HistogramRefused, Mangled, expand, histogram};

    fn expanded(line: &str) -> Vec<String> {
        let arguments = line.split(' ').map(Into::into);
        expand(arguments)
            .unwrap()
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn numbers_behind_hist_belong_to_it_three_at_most() {
        assert_eq!(
            expanded("--hist 28 100 200 --histpath /x"),
            ["--hist=28,100,200", "--histpath", "/x"]
        );
        assert_eq!(expanded("eth0 --hist 28 100 200 5"), ["eth0", "--hist=28,100,200", "5"]);
        assert_eq!(expanded("--hist --bins=30"), ["--hist", "--bins=30"]);
        assert_eq!(expanded("--hist 28 eth0 10.0.0.1"), ["--hist=28", "eth0", "10.0.0.1"]);
        assert_eq!(expanded("-c 28 --hist=3,1,2 5"), ["-c", "28", "--hist=3,1,2", "5"]);
    }

    #[test]
    fn a_value_that_a_template_spoiled_is_told() {
        for spoiled in ["--bins=%!d(float64=30)", "-i=%!f(string=0.5)"] {
            let told = expand(["eth0".into(), spoiled.into()]).unwrap_err();
            assert_eq!(told, Mangled { argument: spoiled.to_owned() });
            assert!(told.to_string().contains("mangled by a chart template"));
        }
    }

    #[test]
    fn a_histogram_has_three_numbers_or_none() {
        assert_eq!(histogram(""), Ok(Histogram(None)));
        assert_eq!(histogram("28,100,200"), Ok(Histogram(Some((28, 100e6, 200e6)))));
        for wrong in ["28", "28,100", "28,100,200,300"] {
            assert_eq!(histogram(wrong), Err(HistogramRefused::Incomplete), "{wrong}");
        }
    }
}

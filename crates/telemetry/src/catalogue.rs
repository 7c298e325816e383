//! The list of every metric that a system can show.
//!
//! Registration checks a catalogue against all others, so that two systems never claim one
//! name, and the reference documentation is written from it.

use std::collections::HashMap;

use crate::metric::{Kind, Metric};

/// All metrics of one system.
///
/// ```
/// use telemetry::catalogue::Catalogue;
/// use telemetry::metric::{Metric, Unit};
///
/// static SEEN: Metric =
///     Metric::counter("demo_packets_total", Unit::Packets, "Packets seen.", &["direction"]);
///
/// const CATALOGUE: Catalogue = Catalogue { title: "Demo", metrics: &[&SEEN] };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Catalogue {
    /// Heading in the reference documentation.
    pub title: &'static str,
    /// The metrics, in the order in which they are explained.
    pub metrics: &'static [&'static Metric],
}

impl Catalogue {
    /// A catalogue without metrics, for a collector that only has a state.
    pub const EMPTY: Self = Self { title: "", metrics: &[] };

    /// Every fault of this catalogue, on its own and against the names already `taken`.
    pub(crate) fn faults(&self, taken: &HashMap<&'static str, &'static str>) -> Vec<Fault> {
        let mut seen = HashMap::new();
        let mut faults = Vec::new();
        for metric in self.metrics {
            faults.extend(faults_of(metric));
            for name in sample_names(metric) {
                if seen.insert(name, metric.name).is_some() || taken.contains_key(name) {
                    faults.push(Fault::Duplicate { metric: metric.name, name });
                }
            }
        }
        faults
    }

    /// The names that this catalogue occupies, each with the metric it stands for.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<'_> {
        self.metrics.iter().flat_map(|metric| sample_names(metric).map(|name| (name, metric.name)))
    }
}

/// Writes the reference of `catalogues` as Markdown tables.
pub fn markdown(catalogues: &[Catalogue]) -> String {
    let mut out = String::new();
    for catalogue in catalogues.iter().filter(|catalogue| !catalogue.metrics.is_empty()) {
        out.push_str(&format!("## {}\n\n", catalogue.title));
        out.push_str("| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
        for metric in catalogue.metrics {
            out.push_str(&row(metric));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// One thing that is wrong with a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Two metrics would write samples of one name.
    #[error("{metric}: the name {name} is taken; rename the metric")]
    Duplicate {
        /// The later metric.
        metric: &'static str,
        /// The name that both would use.
        name: &'static str,
    },
    /// A name that Prometheus does not accept.
    #[error("{metric}: {name:?} is not a legal name; use letters, digits and underscores")]
    Name {
        /// The metric.
        metric: &'static str,
        /// The metric or label name.
        name: &'static str,
    },
    /// No explanation.
    #[error("{metric}: the help text is empty; write one sentence")]
    Help {
        /// The metric.
        metric: &'static str,
    },
    /// An info metric whose name does not say so.
    #[error("{metric}: an info metric ends in _info; rename it or make it a gauge")]
    Info {
        /// The metric.
        metric: &'static str,
    },
    /// A label given twice.
    #[error("{metric}: the label {label} is listed twice; remove one")]
    Label {
        /// The metric.
        metric: &'static str,
        /// The label.
        label: &'static str,
    },
}

fn faults_of(metric: &'static Metric) -> Vec<Fault> {
    let name = metric.name;
    let mut faults = Vec::new();
    if !is_name(name, true) {
        faults.push(Fault::Name { metric: name, name });
    }
    if metric.help.trim().is_empty() {
        faults.push(Fault::Help { metric: name });
    }
    if metric.kind == Kind::Info && !name.ends_with("_info") {
        faults.push(Fault::Info { metric: name });
    }
    for (position, label) in metric.labels.iter().copied().enumerate() {
        let reserved = label.starts_with("__") || (label == "le" && metric.kind == Kind::Histogram);
        if !is_name(label, false) || reserved {
            faults.push(Fault::Name { metric: name, name: label });
        }
        if metric.labels[..position].contains(&label) {
            faults.push(Fault::Label { metric: name, label });
        }
    }
    faults
}

fn is_name(name: &str, colon: bool) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !name.is_empty() && name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The family name in either format; a clash of any of them spoils a scrape.
fn sample_names(metric: &'static Metric) -> impl Iterator<Item = &'static str> + use<> {
    let stem = (metric.stem() != metric.name).then_some(metric.stem());
    std::iter::once(metric.name).chain(stem)
}

fn row(metric: &Metric) -> String {
    let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
    let kind = match metric.kind {
        Kind::Info => "info",
        kind => kind.text(),
    };
    let help = metric.help.replace('|', "\\|").replace('\n', " ");
    format!("| `{}` | {kind} | `{}` | {labels} | {help} |\n", metric.name, metric.unit.ucum())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Catalogue, Fault, markdown};
    use crate::metric::{Metric, Unit};

    static BYTES: Metric =
        Metric::counter("t_bytes_total", Unit::Bytes, "Octets | all.", &["pod", "direction"]);
    static STEM: Metric = Metric::gauge("t_bytes", Unit::Bytes, "Same stem.", &[]);
    static BAD: Metric = Metric::info("1bad", "", &["a", "a", "__x", "é"]);
    static UP: Metric = Metric::gauge("t_up", Unit::None, "Whether it runs.", &[]);

    #[test]
    fn a_gauge_must_not_take_the_stem_of_a_counter() {
        const CLASH: Catalogue = Catalogue { title: "t", metrics: &[&BYTES, &STEM] };
        let faults = CLASH.faults(&HashMap::new());
        assert_eq!(faults, [Fault::Duplicate { metric: "t_bytes", name: "t_bytes" }]);
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        const FAULTY: Catalogue = Catalogue { title: "t", metrics: &[&BAD] };
        let faults = FAULTY.faults(&HashMap::new());
        assert_eq!(faults.len(), 6, "{faults:?}");
    }

    #[test]
    fn the_reference_is_a_table_for_each_system() {
        const GOOD: Catalogue = Catalogue { title: "Test", metrics: &[&BYTES, &UP] };
        let text = markdown(&[GOOD, Catalogue::EMPTY]);
        assert_eq!(
            text,
            "## Test\n\n\
             | name | type | unit | labels | meaning |\n\
             |---|---|---|---|---|\n\
             | `t_bytes_total` | counter | `By` | `pod`, `direction` | Octets \\| all. |\n\
             | `t_up` | gauge | `1` | – | Whether it runs. |\n"
        );
    }
}

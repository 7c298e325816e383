//! The text format of Prometheus, read strictly enough to compare numbers.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// Type of each family.
    pub types: BTreeMap<String, String>,
    /// All samples.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name, with the suffix of a histogram's parts.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Panics
    ///
    /// If a line is neither a comment nor a sample.
    pub fn parse(text: &str) -> Self {
        let mut made = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                if let Some((name, kind)) = kind.split_once(' ') {
                    made.types.insert(name.to_owned(), kind.to_owned());
                }
            } else if !line.starts_with('#') && !line.is_empty() {
                let sample = Sample::parse(line);
                let sample = sample.unwrap_or_else(|| panic!("`{line}` is no sample"));
                made.samples.push(sample);
            }
        }
        made
    }

    /// Samples called `name` whose labels include `labels`.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let fits = move |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.get(*label).is_some_and(|found| found == value)
                })
        };
        self.samples.iter().filter(fits)
    }

    /// Sum of those samples; nothing if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let mut found = self.matching(name, labels).peekable();
        found.peek()?;
        Some(found.map(Sample::whole).sum())
    }

    /// Counters called by one of `names` that an `earlier` scrape showed higher, or that are gone.
    pub fn fallen(&self, earlier: &Self, names: &[&str]) -> Vec<String> {
        let now: BTreeMap<_, _> = self.samples.iter().map(|s| (s.key(), s.value)).collect();
        let lasting = |sample: &&Sample| names.contains(&sample.name.as_str());
        let before = earlier.samples.iter().filter(lasting);
        before
            .filter(|sample| now.get(&sample.key()).is_none_or(|now| *now < sample.value))
            .map(|sample| format!("{sample:?} became {:?}", now.get(&sample.key())))
            .collect()
    }

    /// The only sample called `name`.
    ///
    /// # Panics
    ///
    /// If there is not exactly one.
    pub fn value(&self, name: &str) -> u64 {
        let mut found = self.matching(name, &[]);
        match (found.next(), found.next()) {
            (Some(sample), None) => sample.whole(),
            _ => panic!("exactly one sample of {name}"),
        }
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}')?),
            None => (head, ""),
        };
        Some(Self {
            name: name.to_owned(),
            labels: parse_labels(labels)?,
            value: value.parse().ok()?,
        })
    }

    /// Name and labels in one text, to compare samples by.
    pub fn key(&self) -> String {
        key(&self.name, &self.labels)
    }

    /// The value of a counter. Amounts of a test stay far below the limit of exact floats.
    ///
    /// # Panics
    ///
    /// If it is not a whole number.
    pub fn whole(&self) -> u64 {
        let text = format!("{}", self.value);
        let parsed = text.parse();
        parsed.unwrap_or_else(|_| panic!("{} is a whole number, not {text}", self.name))
    }
}

/// A name and labels in one text, to compare samples by.
pub fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    format!("{name}{labels:?}")
}

/// `a="x",b="y"`; no test here makes labels with escapes.
fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = rest.split_once('"')?;
        labels.insert(name.to_owned(), value.to_owned());
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text =
            "# HELP a x\n# TYPE a counter\na{x=\"1\",y=\"b c\"} 5\na{x=\"2\",y=\"\"} 7\nb 1.5\n";
        let read = Exposition::parse(text);
        assert_eq!(read.types["a"], "counter");
        assert_eq!(read.sum("a", &[]), Some(12));
        assert_eq!(read.sum("a", &[("y", "b c")]), Some(5));
        assert_eq!(read.sum("a", &[("z", "")]), None);
        assert_eq!(read.matching("b", &[]).next().unwrap().value, 1.5);
    }

    #[test]
    fn a_counter_falls_by_its_value_or_by_going_away() {
        let read = Exposition::parse;
        let earlier = read("a{x=\"1\"} 5\na{x=\"2\"} 7\na{x=\"3\"} 1\nb 9\n");
        let now = read("a{x=\"1\"} 5\na{x=\"2\"} 6\nb 1\n");
        let fallen = now.fallen(&earlier, &["a"]);
        assert!(fallen[0].contains("\"2\"") && fallen[1].contains("None"), "{fallen:?}");
        assert_eq!(fallen.len(), 2, "{fallen:?}");
        assert!(earlier.fallen(&now, &["a", "b"]).is_empty());
    }

    #[test]
    #[should_panic(expected = "no sample")]
    fn a_line_without_a_value_is_refused() {
        Exposition::parse("a{x=\"1\"}");
    }
}

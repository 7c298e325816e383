//! A small reader that refuses whatever the two formats do not allow.

use std::collections::HashSet;

use crate::expose::Format;

#[derive(Debug)]
pub(super) struct Sample {
    labels: Vec<(String, String)>,
    pub(super) value: String,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn read(text: &str, format: Format) -> Result<Vec<Sample>, String> {
    let mut body = text.strip_suffix('\n').ok_or("the last line does not end")?;
    if format == Format::OpenMetrics {
        body = match body {
            "# EOF" => "",
            body => body.strip_suffix("\n# EOF").ok_or("no # EOF at the end")?,
        };
    }
    let mut state = State { format, ..State::default() };
    for line in body.split('\n').filter(|_| !body.is_empty()) {
        state.line(line).map_err(|fault| format!("{fault}: {line:?}"))?;
    }
    Ok(state.samples)
}

struct State {
    format: Format,
    family: String,
    kind: String,
    families: HashSet<String>,
    series: HashSet<String>,
    samples: Vec<Sample>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: Format::Text,
            family: String::new(),
            kind: String::new(),
            families: HashSet::new(),
            series: HashSet::new(),
            samples: Vec::new(),
        }
    }
}

impl State {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        match line.strip_prefix("# ") {
            Some(comment) => self.comment(comment),
            None => self.sample(line),
        }
    }

    fn comment(&mut self, comment: &str) -> Result<(), &'static str> {
        let mut words = comment.splitn(3, ' ');
        let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            return Err("a comment without three words");
        };
        match word {
            "HELP" => self.open(name, rest),
            "TYPE" if name == self.family => {
                self.kind = rest.to_owned();
                let known = ["counter", "gauge", "histogram"].contains(&rest)
                    || (self.format == Format::OpenMetrics && ["info", "unknown"].contains(&rest));
                known.then_some(()).ok_or("an unknown type")
            }
            "UNIT" if name == self.family && self.format == Format::OpenMetrics => {
                name.ends_with(&format!("_{rest}")).then_some(()).ok_or("unit is not in the name")
            }
            _ => Err("a stray comment"),
        }
    }

    fn open(&mut self, name: &str, help: &str) -> Result<(), &'static str> {
        self.family = name.to_owned();
        self.kind.clear();
        unescape(help, self.format == Format::OpenMetrics)?;
        self.families.insert(name.to_owned()).then_some(()).ok_or("a family twice")
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        if !self.series.insert(series.to_owned()) {
            return Err("a series twice");
        }
        value.parse::<f64>().map_err(|_| "a value that is no number")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest)?),
            None => (series, Vec::new()),
        };
        self.check_name(name)?;
        self.samples.push(Sample { labels, value: value.to_owned() });
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), &'static str> {
        let suffix = name.strip_prefix(self.family.as_str()).ok_or("a sample of no family")?;
        let allowed: &[&str] = match (self.format, self.kind.as_str()) {
            (Format::OpenMetrics, "counter") => &["_total", "_created"],
            (Format::OpenMetrics, "info") => &["_info"],
            (Format::OpenMetrics, "histogram") => &["_bucket", "_sum", "_count", "_created"],
            (_, "histogram") => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        allowed.contains(&suffix).then_some(()).ok_or("a suffix that the type does not allow")
    }
}

fn labels(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut rest = text;
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let end = closing_quote(after).ok_or("a value without an end")?;
        let (value, after) = after.split_at(end);
        if labels.iter().any(|(key, _)| key == name) {
            return Err("a label twice");
        }
        labels.push((name.to_owned(), unescape(value, true)?));
        match after.strip_prefix('"').unwrap_or(after) {
            "}" => return Ok(labels),
            more => rest = more.strip_prefix(',').ok_or("no comma between labels")?,
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|octet| {
        let end = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        end
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                _ => return Err("an unknown escape"),
            }),
            '"' if quotes => return Err("a bare quote"),
            c => out.push(c),
        }
    }
    Ok(out)
}

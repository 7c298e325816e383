//! As much of JSON Schema 2020-12 as the published schema uses.

use serde_json::Value;

/// Where a document breaks the published schema, and how.
pub(super) fn faults(document: &Value) -> Vec<String> {
    let root = published();
    Check::of(&root, document).faults
}

/// Properties that the published schema does not describe.
pub(super) fn unknown(document: &Value) -> Vec<String> {
    let root = published();
    Check::of(&root, document).unknown
}

fn published() -> Value {
    let text = include_str!("../../../../../docs/spec/flows.schema.json");
    serde_json::from_str(text).unwrap()
}

struct Check<'a> {
    root: &'a Value,
    faults: Vec<String>,
    unknown: Vec<String>,
}

impl<'a> Check<'a> {
    fn of(root: &'a Value, document: &Value) -> Self {
        let mut check = Self { root, faults: Vec::new(), unknown: Vec::new() };
        check.value(root, document, "");
        check
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        for (keyword, told) in schema.as_object().unwrap() {
            if !self.holds(keyword, told, value, at) {
                self.faults.push(format!("{at}: {keyword} {told}"));
            }
        }
    }

    fn holds(&mut self, keyword: &str, told: &Value, value: &Value, at: &str) -> bool {
        match keyword {
            "type" => is_of_type(told.as_str().unwrap(), value),
            "const" => told == value,
            "enum" => told.as_array().unwrap().contains(value),
            "minimum" => value.as_f64() >= told.as_f64(),
            "maximum" => value.as_f64() <= told.as_f64(),
            // Times are the only texts with a pattern.
            "pattern" => value.as_str().is_some_and(is_time),
            "oneOf" => self.matching(told, value) == 1,
            "required" => has_all(told, value),
            _ => {
                self.descend(keyword, told, value, at);
                true
            }
        }
    }

    fn descend(&mut self, keyword: &str, told: &Value, value: &Value, at: &str) {
        match keyword {
            "$ref" => {
                let path = told.as_str().unwrap().trim_start_matches('#');
                self.value(self.root.pointer(path).unwrap(), value, at);
            }
            "properties" => self.properties(told, value, at),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.value(told, item, &format!("{at}/{index}"));
                }
            }
            "$schema" | "$defs" | "title" | "description" => {}
            other => panic!("the schema uses {other}, which this test can't check"),
        }
    }

    fn properties(&mut self, described: &Value, value: &Value, at: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            match described.get(name) {
                Some(schema) => self.value(schema, value, &at),
                None => self.unknown.push(at),
            }
        }
    }

    fn matching(&self, schemas: &Value, value: &Value) -> usize {
        let fits = |schema: &&Value| {
            let mut check = Check { root: self.root, faults: Vec::new(), unknown: Vec::new() };
            check.value(schema, value, "");
            check.faults.is_empty()
        };
        schemas.as_array().unwrap().iter().filter(fits).count()
    }
}

/// RFC 3339 in UTC with nine digits of the fraction.
fn is_time(text: &str) -> bool {
    text.len() == 30 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the schema uses type {other}, which this test can't check"),
    }
}

fn has_all(names: &Value, value: &Value) -> bool {
    names.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
}

//! Variables of the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::Arg;

use super::check::{Problems, refusal};
use super::layer::{Given, Layer, Source};

/// The environment as it was at the start. An empty variable is one that is not set, as
/// charts and service files write those they leave out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value of a variable if it is text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.to_str().map(str::to_owned)
    }

    /// What the environment says about some arguments; what is wrong goes to the problems.
    pub(super) fn layer<'a>(
        &self,
        args: impl Iterator<Item = &'a Arg>,
        problems: &mut Problems,
    ) -> Layer {
        let mut layer = Layer::default();
        for arg in args {
            let Some(name) = arg.get_env().and_then(OsStr::to_str) else { continue };
            let Some(value) = self.value(name) else { continue };
            match texts(arg, value) {
                Ok(texts) => {
                    let source = Source::Environment(name.to_owned());
                    layer.insert(arg.get_id().as_str(), Given { texts, source });
                }
                Err(refusals) => refusals
                    .into_iter()
                    .for_each(|why| problems.add("", format_args!("{name}: {why}"))),
            }
        }
        layer
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let filled = variables.into_iter().filter(|(_, value)| !value.is_empty());
        Self(filled.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

fn texts(arg: &Arg, value: &OsStr) -> Result<Vec<String>, Vec<String>> {
    let Some(value) = value.to_str() else { return Err(vec!["is not UTF-8".to_owned()]) };
    let texts: Vec<String> = match arg.get_value_delimiter() {
        Some(delimiter) => value.split(delimiter).map(str::to_owned).collect(),
        None => vec![value.to_owned()],
    };
    let texts = match texts.as_slice() {
        [number] if is_milliseconds(arg, number) => vec![format!("{number}ms")],
        _ => texts,
    };
    let refusals: Vec<_> = texts.iter().filter_map(|text| refusal(arg, text)).collect();
    if refusals.is_empty() { Ok(texts) } else { Err(refusals) }
}

/// OpenTelemetry has its own unit for this variable; nothing else here takes a bare number
/// for a duration.
fn is_milliseconds(arg: &Arg, text: &str) -> bool {
    arg.get_id() == "otlp_interval" && text.bytes().all(|sign| sign.is_ascii_digit())
}

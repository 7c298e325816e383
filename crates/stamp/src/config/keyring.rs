//! Keys by their numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::{Fault, Problem};
use super::part::Part;
use super::tree::Mapping;
use crate::keys::KeyFile;

/// Files of current and of previous keys, as the flags take them.
pub(super) type KeyFiles = (Vec<KeyFile>, Vec<KeyFile>);

/// All keys that the section names.
#[derive(Debug, Default)]
pub(super) struct Keyring(BTreeMap<u64, Key>);

#[derive(Debug)]
struct Key {
    file: PathBuf,
    previous: Option<PathBuf>,
    ssids: Vec<u16>,
}

impl Keyring {
    pub(super) fn of(root: &Mapping, problems: &mut Vec<Problem>) -> Self {
        let mut ring = Self::default();
        let list = Part { path: "", values: root }.list("keys", problems);
        if list.len() > MOST {
            problems.push(Fault::TooMany { have: list.len(), most: MOST }.at("keys"));
        }
        for (at, given) in list.iter().enumerate() {
            let path = format!("keys[{at}]");
            let Value::Object(values) = given else {
                problems.push(Fault::NotMapping.at(path));
                continue;
            };
            ring.add(&Part { path: &path, values }, problems);
        }
        ring
    }

    fn add(&mut self, part: &Part<'_>, problems: &mut Vec<Problem>) {
        part.know(&["id", "file", "previous_file", "ssid"], problems);
        let id = part.number("id", 0.0..=65_535.0, problems) as u64;
        let Some(file) = part.text("file", problems).filter(|file| !file.is_empty()) else {
            problems.push(Fault::NoValue.at(part.place("file")));
            return;
        };
        let previous = part.text("previous_file", problems).map(PathBuf::from);
        let mut ssids = Vec::new();
        for (at, value) in part.list("ssid", problems).iter().enumerate() {
            match value.as_u64().and_then(|ssid| u16::try_from(ssid).ok()).filter(|&ssid| ssid > 0)
            {
                Some(ssid) => ssids.push(ssid),
                None => {
                    let place = format!("{}[{at}]", part.place("ssid"));
                    let value = value.clone();
                    problems.push(Fault::Range { value, least: 1.0, most: 65_535.0 }.at(place));
                }
            }
        }
        if self.0.insert(id, Key { file: file.into(), previous, ssids }).is_some() {
            problems.push(Fault::Twice(id.to_string()).at(part.place("id")));
        }
    }

    /// The key that a target signs with, whatever its session is.
    pub(super) fn of_sender(
        &self,
        part: &Part<'_>,
        problems: &mut Vec<Problem>,
    ) -> Option<KeyFiles> {
        let key = self.chosen(part, problems)?;
        Some((
            vec![named(None, &key.file)],
            key.previous.iter().map(|file| named(None, file)).collect(),
        ))
    }

    /// The key of the reflector, and with it those of single sessions. Without one it answers
    /// what is not signed.
    pub(super) fn of_reflector(&self, part: &Part<'_>, problems: &mut Vec<Problem>) -> KeyFiles {
        let Some(own) = self.chosen(part, problems) else { return KeyFiles::default() };
        let others =
            self.0.values().filter(|key| !std::ptr::eq(*key, own) && !key.ssids.is_empty());
        let (mut current, mut previous) = KeyFiles::default();
        for key in std::iter::once(own).chain(others) {
            let sessions: Vec<_> = match key.ssids.as_slice() {
                [] => vec![None],
                ssids => ssids.iter().copied().map(Some).collect(),
            };
            current.extend(sessions.iter().map(|&ssid| named(ssid, &key.file)));
            let old = key.previous.iter();
            previous
                .extend(old.flat_map(|file| sessions.iter().map(move |&ssid| named(ssid, file))));
        }
        (current, previous)
    }

    fn chosen(&self, part: &Part<'_>, problems: &mut Vec<Problem>) -> Option<&Key> {
        if part.value("key").is_null() {
            return None;
        }
        let before = problems.len();
        let id = part.number("key", 0.0..=65_535.0, problems) as u64;
        let found = self.0.get(&id);
        if found.is_none() && problems.len() == before {
            problems.push(Fault::NoKey(id).at(part.place("key")));
        }
        found
    }
}

fn named(ssid: Option<u16>, file: &Path) -> KeyFile {
    KeyFile { ssid, path: file.to_owned() }
}

const MOST: usize = 64;

//! Reflectors as their command would be told.

use clap::{Args, Command};
use serde_json::Value;

use super::fault::{Fault, Problem};
use super::keyring::Keyring;
use super::part::{BOTH, Part, settle};
use super::tree::Mapping;
use crate::settings::Reflect;

/// One reflector for each device.
pub(super) fn reflectors(
    root: &Mapping,
    shared: &[String],
    keys: &Keyring,
    problems: &mut Vec<Problem>,
) -> Vec<Reflect> {
    let part = Part::section(root, "reflector");
    let command = Reflect::augment_args(Command::new("reflect").no_binary_name(true));
    let mut arguments = shared.to_vec();
    for (key, flag) in REFLECT {
        arguments.extend(part.flag(key, flag, &command, problems));
    }
    let top = Part { path: "", values: root };
    arguments.extend(BOTH.iter().flat_map(|key| top.flag(key, key, &command, problems)));
    arguments.extend(members(&part, &command, problems));
    let control = Part::section(root, "reflector.control");
    for (key, flag) in CONTROL {
        arguments.extend(control.flag(key, flag, &command, problems));
    }
    count(part.list("ports", &mut Vec::new()).len(), MOST_PORTS, part.place("ports"), problems);
    let devices = devices(&part, problems);
    let key_files = keys.of_reflector(&part, problems);
    if !part.switch("enabled", problems) || !problems.is_empty() {
        return Vec::new();
    }
    let each = |device: &String| {
        let mut settings: Reflect = settle(&command, &arguments, [device.as_str()], problems)?;
        (settings.common.key_file, settings.common.prev_key_file) = key_files.clone();
        Some(settings)
    };
    devices.iter().filter_map(each).collect()
}

fn members(part: &Part<'_>, command: &Command, problems: &mut Vec<Problem>) -> Vec<String> {
    let Value::Object(members) = part.value("members") else {
        problems.push(Fault::NotMapping.at(part.place("members")));
        return Vec::new();
    };
    if members.is_empty() {
        return Vec::new();
    }
    let pair = |(device, id): (&String, &Value)| Value::from(format!("{device}={id}"));
    let values = Mapping::from_iter([("members".to_owned(), members.iter().map(pair).collect())]);
    Part { path: part.path, values: &values }.flag("members", "member", command, problems)
}

fn devices(part: &Part<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let devices = match part.value("interfaces") {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) if !items.is_empty() => {
            let named = items.iter().filter_map(Value::as_str).map(str::to_owned);
            named.collect()
        }
        _ => Vec::new(),
    };
    if devices.is_empty() || devices.iter().any(String::is_empty) {
        problems.push(Fault::NoValue.at(part.place("interfaces")));
    }
    count(devices.len(), MOST_DEVICES, part.place("interfaces"), problems);
    devices
}

fn count(have: usize, most: usize, place: String, problems: &mut Vec<Problem>) {
    if have > most {
        problems.push(Fault::TooMany { have, most }.at(place));
    }
}

/// Keys of the reflector and the flags of `fathom stamp reflect`.
const REFLECT: [(&str, &str); 19] = [
    ("ports", "port"),
    ("mode", "mode"),
    ("allow", "allow"),
    ("deny", "deny"),
    ("open", "open"),
    ("twamp_light", "twamp-light"),
    ("reflector_ports", "reflector-ports"),
    ("rate", "rate"),
    ("burst", "burst"),
    ("global_rate", "global-rate"),
    ("max_sessions", "max-sessions"),
    ("session_timeout", "session-timeout"),
    ("admission", "admission"),
    ("sessions", "session"),
    ("min_ttl", "min-ttl"),
    ("allowed_dscp", "allowed-dscp"),
    ("location_disclose", "location-disclose"),
    ("return_address", "return-address"),
    ("xdp", "xdp"),
];

const CONTROL: [(&str, &str); 3] = [
    ("max_count", "control-max-count"),
    ("max_rate", "control-max-rate"),
    ("max_bytes", "control-max-bytes"),
];

const MOST_PORTS: usize = 16;
const MOST_DEVICES: usize = 32;

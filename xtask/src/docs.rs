//! References that are written from the code, so that they cannot differ from it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

mod flags;

/// Writes every reference, or with `check` only compares.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (name, text) in references() {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        stale.push(name);
        if !check {
            fs::write(&path, text).with_context(|| format!("write {name}"))?;
            println!("wrote {name}");
        }
    }
    ensure!(
        !check || stale.is_empty(),
        "{} differ from the code; run `make docs` and commit the result",
        stale.join(", ")
    );
    Ok(())
}

fn references() -> [(&'static str, String); 3] {
    let flows = flow::Settings::augment_args(clap::Command::new("fathom flows"));
    [
        (
            "docs/spec/metrics.md",
            format!("{METRICS}{}", telemetry::catalogue::markdown(&catalogues())),
        ),
        ("docs/reference/flows.md", format!("{FLOWS}{}", flags::markdown(&flows))),
        ("docs/reference/stamp.md", stamp_settings()),
    ]
}

fn stamp_settings() -> String {
    let send = stamp::settings::Send::augment_args(clap::Command::new("send"));
    let reflect = stamp::settings::Reflect::augment_args(clap::Command::new("reflect"));
    let table = |command| flags::markdown(&stamp::settings::with_variables(command));
    let (send, reflect) = (table(send), table(reflect));
    format!("{STAMP}## `fathom stamp send`\n\n{send}\n## `fathom stamp reflect`\n\n{reflect}")
}

fn catalogues() -> Vec<telemetry::catalogue::Catalogue> {
    let mut catalogues = vec![flow::CATALOGUE, stamp::CATALOGUE];
    catalogues.extend(telemetry::registry::CATALOGUES);
    catalogues
}

const METRICS: &str = "\
<!-- Written by `make docs` from the catalogues in the code. -->
# Metrics

Every metric that fathom can show, with its type, its unit in UCUM and its labels. The
names below are those of the Prometheus text format; a push by OTLP leaves `_total` out.
A metric without a value is absent, never zero.

";

const FLOWS: &str = "\
<!-- Written by `make docs` from the settings in the code. -->
# Settings of `fathom flows`

A flag wins over its environment variable, that over the configuration file, that over
the default. The key in the configuration file is the flag's name in snake case. What
belongs to the process (log, configuration file, TLS of the listener) is told by
`fathom flows --help`.

";

const STAMP: &str = "\
<!-- Written by `make docs` from the settings in the code. -->
# Settings of `fathom stamp`

A flag wins over its environment variable, that over the default. What belongs to the
process (log, listener, TLS) is told by the help of each command; [the guide](../stamp.md)
says what the numbers mean.

";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{references, run};

    #[test]
    fn a_check_fails_until_the_references_are_written_and_writes_nothing() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["docs/spec", "docs/reference"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let error = run(root.path(), true).unwrap_err().to_string();
        assert!(error.contains("docs/spec/metrics.md"), "{error}");
        assert!(!root.path().join("docs/spec/metrics.md").exists());
        run(root.path(), false).unwrap();
        run(root.path(), true).unwrap();
    }

    /// Names behind `event = ` in the sources below a folder.
    fn events_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                events_in(&path, names);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let found = text.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(found.map(str::to_owned));
        }
    }

    #[test]
    fn every_event_is_in_the_reference() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut names = BTreeSet::new();
        for folder in
            ["bin/fathom/src", "crates/flow/src", "crates/stamp/src", "crates/telemetry/src"]
        {
            events_in(&root.join(folder), &mut names);
        }
        assert!(names.len() > 30, "{names:?}");
        let reference = fs::read_to_string(root.join("docs/reference/events.md")).unwrap();
        names.retain(|name| !reference.contains(&format!("`{name}`")));
        assert!(names.is_empty(), "not in docs/reference/events.md: {names:?}");
    }

    #[test]
    fn the_references_name_what_people_look_for() {
        let [(_, metrics), (_, flags), (_, stamp)] = references();
        assert!(metrics.contains("`fathom_build_info`"), "{metrics}");
        assert!(metrics.contains("`fathom_flows_tx_bytes_total`"), "{metrics}");
        assert!(flags.contains("`--pod-edge IFACE[=NAME]`"), "{flags}");
        assert!(flags.contains("`EBPF_METRICS_PORT`"), "{flags}");
        assert!(metrics.contains("`fathom_stamp_roundtrip_seconds`"), "{metrics}");
        assert!(stamp.contains("`FATHOM_STAMP_REFLECT_TWAMP_LIGHT`"), "{stamp}");
    }
}

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

fn references() -> [(&'static str, String); 2] {
    let flows = flow::Settings::augment_args(clap::Command::new("fathom flows"));
    [
        (
            "docs/spec/metrics.md",
            format!("{METRICS}{}", telemetry::catalogue::markdown(&catalogues())),
        ),
        ("docs/reference/flows.md", format!("{FLOWS}{}", flags::markdown(&flows))),
    ]
}

fn catalogues() -> Vec<telemetry::catalogue::Catalogue> {
    let mut catalogues = vec![flow::CATALOGUE];
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

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[test]
    fn the_references_name_what_people_look_for() {
        let [(_, metrics), (_, flags)] = references();
        assert!(metrics.contains("`fathom_build_info`"), "{metrics}");
        assert!(metrics.contains("`fathom_flows_tx_bytes_total`"), "{metrics}");
        assert!(flags.contains("`--pod-edge IFACE[=NAME]`"), "{flags}");
        assert!(flags.contains("`EBPF_METRICS_PORT`"), "{flags}");
    }
}

//! Runs the benchmarks of a system and tells what they measured, with the machine.
//!
//! Stdout carries tables and, as its last line, one JSON document. A benchmark is compiled
//! like a release, never like a test. It either is one of criterion, which leaves its
//! results in files, or prints its own table and a line of JSON.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

mod machine;
mod sample;

use machine::Machine;
use sample::Sample;

/// A measuring system that has benchmarks.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum System {
    /// Traffic of pods.
    Flows,
}

impl System {
    const fn crates(self) -> &'static [&'static str] {
        match self {
            Self::Flows => &["flow-model", "flow-bpf", "flow"],
        }
    }
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    /// Of criterion.
    samples: Vec<Sample>,
    /// What other benchmarks printed.
    documents: Vec<serde_json::Value>,
}

/// Runs every benchmark of `system`.
pub(crate) fn run(root: &Path, system: System) -> Result<()> {
    let began = SystemTime::now();
    let mut documents = Vec::new();
    for package in system.crates() {
        for bench in benches(&root.join("crates").join(package))? {
            documents.extend(measure(root, package, &bench)?);
        }
    }
    let samples = sample::since(&target(root), began)?;
    let report = Report { machine: Machine::read(), samples, documents };
    println!("{}", table(&report));
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Names of the benchmarks of a crate.
fn benches(package: &Path) -> Result<Vec<String>> {
    let folder = package.join("benches");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one benchmark, passes on what it prints, and keeps the lines that are JSON.
fn measure(root: &Path, package: &str, bench: &str) -> Result<Vec<serde_json::Value>> {
    let mut child = Command::new(root.join("scripts/cargo-as-root.sh"))
        .args(["bench", "--locked", "--package", package, "--bench", bench])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo bench")?;
    let mut documents = Vec::new();
    let stdout = child.stdout.take().context("stdout is piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read what the benchmark prints")?;
        match serde_json::from_str(&line) {
            Ok(document @ serde_json::Value::Object(_)) => documents.push(document),
            _ => println!("{line}"),
        }
    }
    ensure!(child.wait()?.success(), "the benchmark {bench} of {package} failed");
    Ok(documents)
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

fn table(report: &Report) -> String {
    let mut out = format!("{}\n\n| benchmark | minimum | median | per second |\n", report.machine);
    out.push_str("|---|---|---|---|\n");
    for sample in &report.samples {
        let rate = sample.per_second().map_or_else(|| "–".into(), |rate| format!("{rate:.0}"));
        let Sample { name, minimum_ns, median_ns, .. } = sample;
        out.push_str(&format!("| {name} | {minimum_ns:.0} ns | {median_ns:.0} ns | {rate} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Machine, Report, Sample, benches, table};

    #[test]
    fn benchmarks_are_the_files_beside_their_modules() {
        let package = tempfile::tempdir().unwrap();
        assert!(benches(package.path()).unwrap().is_empty());
        fs::create_dir_all(package.path().join("benches/b")).unwrap();
        for file in ["b.rs", "a.rs", "b/part.rs"] {
            fs::write(package.path().join("benches").join(file), "").unwrap();
        }
        assert_eq!(benches(package.path()).unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_table_names_the_machine_and_leaves_unknown_rates_open() {
        let sample =
            |elements| Sample { name: "drain/a".into(), minimum_ns: 1e6, median_ns: 2e6, elements };
        let report = Report {
            machine: Machine::read(),
            samples: vec![sample(Some(1000)), sample(None)],
            documents: Vec::new(),
        };
        let text = table(&report);
        assert!(text.starts_with(&report.machine.to_string()), "{text}");
        assert!(text.contains("| drain/a | 1000000 ns | 2000000 ns | 500000 |\n"), "{text}");
        assert!(text.contains("| 2000000 ns | – |\n"), "{text}");
    }
}

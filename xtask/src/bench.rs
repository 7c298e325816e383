//! Runs the benchmarks of a system and tells what they measured, with the machine.
//!
//! Stdout carries tables and, as its last line, one JSON document. A benchmark is compiled
//! like a release, never like a test. It either is one of criterion, which leaves its
//! results in files, or prints its own tables and lines of JSON. One that cannot run does
//! not keep the others from it; it is named at the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

mod machine;
mod sample;

use machine::Machine;
use sample::Sample;

/// A measuring system that has benchmarks.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum System {
    /// Traffic of pods, and delay between nodes.
    Flows,
}

impl System {
    /// Packages with benchmarks, and their folders.
    const fn packages(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Flows => &[
                ("flow-model", "crates/flow-model"),
                ("flow-bpf", "crates/flow-bpf"),
                ("stamp-proto", "crates/stamp-proto"),
                ("fathom-tests", "tests"),
            ],
        }
    }
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    /// Of criterion.
    samples: Vec<Sample>,
    /// What other benchmarks printed.
    documents: Vec<Value>,
    /// What could not run: benchmarks as `package/name`, then parts of them.
    failed: Vec<String>,
}

/// Runs every benchmark of `system`.
pub(crate) fn run(root: &Path, system: System) -> Result<()> {
    let (began, machine) = (SystemTime::now(), Machine::read());
    build(root)?;
    let (mut documents, mut failed) = (Vec::new(), Vec::new());
    for (package, folder) in system.packages() {
        for bench in benches(&root.join(folder))? {
            if let Err(error) = measure(root, package, &bench, &mut documents) {
                println!("{error:#}");
                failed.push(format!("{package}/{bench}"));
            }
        }
    }
    failed.extend(broken(&documents));
    let samples = sample::since(&target(root), began)?;
    let report = Report { machine, samples, documents, failed };
    println!("{}", table(&report));
    println!("{}", serde_json::to_string(&report)?);
    if !report.failed.is_empty() {
        bail!("could not run: {}", report.failed.join(", "));
    }
    Ok(())
}

/// Builds the program that is measured as a whole; it lies beside the benchmarks.
fn build(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--locked", "--package", "fathom"];
    let status = Command::new(cargo).args(words).current_dir(root).status();
    ensure!(status.context("start cargo build")?.success(), "fathom could not be built");
    Ok(())
}

/// Names of the benchmarks of a package.
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
fn measure(root: &Path, package: &str, bench: &str, documents: &mut Vec<Value>) -> Result<()> {
    let mut child = Command::new(root.join("scripts/cargo-as-root.sh"))
        .args(["bench", "--locked", "--package", package, "--bench", bench])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo bench")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read what the benchmark prints")?;
        match serde_json::from_str(&line) {
            Ok(document @ Value::Object(_)) => documents.push(document),
            _ => println!("{line}"),
        }
    }
    ensure!(child.wait()?.success(), "the benchmark {bench} of {package} failed");
    Ok(())
}

/// Parts of benchmarks that say of themselves that they failed.
fn broken(documents: &[Value]) -> impl Iterator<Item = String> {
    let failed = documents.iter().filter(|document| document.get("failed").is_some());
    failed.filter_map(|document| Some(document.get("part")?.as_str()?.to_owned()))
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

    use serde_json::json;

    use super::{Machine, Report, Sample, benches, broken, table};

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
    fn parts_that_could_not_run_are_named() {
        let documents = [
            json!({ "part": "a", "rows": [] }),
            json!({ "part": "b", "failed": "no program" }),
            json!({ "machine": "failed" }),
        ];
        assert_eq!(broken(&documents).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn the_table_names_the_machine_and_leaves_unknown_rates_open() {
        let sample =
            |elements| Sample { name: "drain/a".into(), minimum_ns: 1e6, median_ns: 2e6, elements };
        let report = Report {
            machine: Machine::read(),
            samples: vec![sample(Some(1000)), sample(None)],
            documents: Vec::new(),
            failed: Vec::new(),
        };
        let text = table(&report);
        assert!(text.starts_with(&report.machine.to_string()), "{text}");
        assert!(text.contains("| drain/a | 1000000 ns | 2000000 ns | 500000 |\n"), "{text}");
        assert!(text.contains("| 2000000 ns | – |\n"), "{text}");
    }
}

//! How long source files may be. How long functions may be is clippy's affair.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::tree;

/// Refuses the tree if a file is too long, or too many are nearly so.
pub(crate) fn check(root: &Path) -> Result<()> {
    let lengths = lengths(root)?;
    let report = Report::of(&lengths);
    println!(
        "{} source files: median {} lines, 95th percentile {}, longest {} ({})",
        lengths.len(),
        report.median,
        report.p95,
        report.longest.lines,
        report.longest.path
    );
    for file in lengths.iter().filter(|file| file.lines > file.limit()) {
        println!("{}: {} lines, at most {}", file.path, file.lines, file.limit());
    }
    ensure!(
        lengths.iter().all(|file| file.lines <= file.limit()),
        "some files are too long; split them by what they do"
    );
    ensure!(
        report.p95 <= MOST_P95,
        "more than one file in twenty has over {MOST_P95} lines; split the longest ones"
    );
    Ok(())
}

/// One file without its tests.
#[derive(Clone, Debug)]
struct Length {
    path: String,
    lines: usize,
}

impl Length {
    /// A kernel program is reviewed in one piece, so it has to be shorter.
    fn limit(&self) -> usize {
        if self.path.ends_with(".bpf.c") { MOST_KERNEL } else { MOST }
    }
}

struct Report {
    median: usize,
    p95: usize,
    longest: Length,
}

impl Report {
    fn of(lengths: &[Length]) -> Self {
        let mut sorted = lengths.to_vec();
        sorted.sort_by_key(|file| file.lines);
        let none = Length { path: String::new(), lines: 0 };
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |percent| sorted.get(rank(percent)).map_or(0, |file| file.lines);
        Self { median: at(50), p95: at(95), longest: sorted.last().cloned().unwrap_or(none) }
    }
}

fn lengths(root: &Path) -> Result<Vec<Length>> {
    let mut lengths = Vec::new();
    for path in tree::files(root, &[".rs", ".bpf.c", ".h"])? {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if is_test(&name) {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        lengths.push(Length { lines: without_tests(&text), path: name });
    }
    Ok(lengths)
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.split('/').any(|folder| folder == "tests" || folder == "benches")
}

/// Tests stand last in a file.
fn without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

const MOST: usize = 800;
const MOST_KERNEL: usize = 400;
const MOST_P95: usize = 500;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Length, Report, check, is_test, without_tests};

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(without_tests("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(without_tests("#[cfg(test)]\nuse a;\nfn b() {}\n"), 3);
    }

    #[test]
    fn test_files_are_told_by_their_place() {
        assert!(is_test("crates/a/src/b/tests.rs") && is_test("crates/a/tests/b/c.rs"));
        assert!(is_test("crates/a/benches/b.rs") && !is_test("crates/a/src/contests.rs"));
    }

    #[test]
    fn percentiles_are_lengths_of_real_files() {
        let lengths: Vec<_> =
            (1..=20).map(|lines| Length { path: lines.to_string(), lines }).collect();
        let report = Report::of(&lengths);
        assert_eq!((report.median, report.p95, report.longest.lines), (10, 19, 20));
    }

    #[test]
    fn one_line_too_many_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.bpf.c");
        fs::write(&file, "\n".repeat(400)).unwrap();
        check(root.path()).unwrap();
        fs::write(&file, "\n".repeat(401)).unwrap();
        check(root.path()).unwrap_err();
    }
}

//! The standard `process_*` metrics, read from `/proc/self`.
//!
//! A number that cannot be read is absent from the scrape.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::Source;
use crate::catalogue::Catalogue;
use crate::metric::{Family, Metric, Unit, Value};

static CPU: Metric = Metric::counter(
    "process_cpu_seconds_total",
    Unit::Seconds,
    "Processor time used, user and system.",
    &[],
);
static OPEN_FDS: Metric =
    Metric::gauge("process_open_fds", Unit::Count("{fd}"), "Open file descriptors.", &[]);
static MAX_FDS: Metric =
    Metric::gauge("process_max_fds", Unit::Count("{fd}"), "Most file descriptors allowed.", &[]);
static VIRTUAL: Metric =
    Metric::gauge("process_virtual_memory_bytes", Unit::Bytes, "Virtual memory.", &[]);
static VIRTUAL_MAX: Metric = Metric::gauge(
    "process_virtual_memory_max_bytes",
    Unit::Bytes,
    "Most virtual memory allowed; absent without a limit.",
    &[],
);
static RESIDENT: Metric =
    Metric::gauge("process_resident_memory_bytes", Unit::Bytes, "Resident memory.", &[]);
static THREADS: Metric =
    Metric::gauge("process_threads", Unit::Count("{thread}"), "Threads of the process.", &[]);
static START: Metric = Metric::gauge(
    "process_start_time_seconds",
    Unit::Seconds,
    "When the process started, in seconds since 1970.",
    &[],
);

/// The standard process metrics.
pub(super) const CATALOGUE: Catalogue = Catalogue {
    title: "The process",
    metrics: &[&CPU, &OPEN_FDS, &MAX_FDS, &VIRTUAL, &VIRTUAL_MAX, &RESIDENT, &THREADS, &START],
};

/// Reads a process directory of procfs.
pub(super) struct Process {
    directory: PathBuf,
    booted: Option<u64>,
}

impl Process {
    /// This process.
    pub(super) fn detect() -> Self {
        Self::under(Path::new("/proc"), "self")
    }

    fn under(proc: &Path, process: &str) -> Self {
        Self { directory: proc.join(process), booted: boot_time(&proc.join("stat")) }
    }

    fn stat(&self) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(self.directory.join("stat")).ok()?)
    }

    fn add_stat(&self, families: &mut Vec<Family>) {
        let Some(stat) = self.stat() else { return };
        let ticks = clock_ticks_per_second() as f64;
        let page = page_size() as u64;
        families.push(Family::single(&CPU, stat.cpu_ticks as f64 / ticks));
        families.push(Family::single(&THREADS, stat.threads));
        families.push(Family::single(&VIRTUAL, stat.virtual_bytes));
        families.push(Family::single(&RESIDENT, stat.resident_pages.saturating_mul(page)));
        if let Some(booted) = self.booted {
            let started = booted as f64 + stat.start_ticks as f64 / ticks;
            families.push(Family::single(&START, started));
        }
    }
}

impl Source for Process {
    fn families(&self) -> Vec<Family> {
        let mut families = Vec::with_capacity(CATALOGUE.metrics.len());
        self.add_stat(&mut families);
        if let Ok(fds) = fs::read_dir(self.directory.join("fd")) {
            // The descriptor that lists the directory is not one of the process's own.
            let open = (fds.count() as u64).saturating_sub(1);
            families.push(Family::single(&OPEN_FDS, open));
        }
        families.extend(limit(&MAX_FDS, Resource::Nofile));
        families.extend(limit(&VIRTUAL_MAX, Resource::As));
        families
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name of the process may hold anything, also brackets: fields count from its last.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // proc(5) counts from 1 and the state, field 3, stands first here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn limit(metric: &'static Metric, resource: Resource) -> Option<Family> {
    let most = getrlimit(resource).current?;
    Some(Family::single(metric, Value::Whole(most)))
}

fn boot_time(stat: &Path) -> Option<u64> {
    let text = fs::read_to_string(stat).ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Process, Stat};
    use crate::metric::Value;
    use crate::registry::Source;

    const LINE: &str = "7 (a) b) S 1 7 7 0 -1 4 5 6 7 8 150 50 1 2 20 0 9 0 4200 1048576 256 1 2";

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!(stat.cpu_ticks, 200);
        assert_eq!((stat.threads, stat.start_ticks), (9, 4200));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (1_048_576, 256));
    }

    #[test]
    fn a_truncated_line_gives_nothing() {
        for end in 0..LINE.find("256").unwrap() {
            assert_eq!(Stat::parse(LINE.get(..end).unwrap()), None, "cut at {end}");
        }
    }

    #[test]
    fn unreadable_numbers_are_absent() {
        let proc = tempfile::tempdir().unwrap();
        let names = |process: &Process| {
            let families = process.families();
            families.iter().map(|f| f.metric().name).collect::<Vec<_>>()
        };
        let process = Process::under(proc.path(), "7");
        assert!(!names(&process).contains(&"process_cpu_seconds_total"));
        fs::create_dir(proc.path().join("7")).unwrap();
        fs::write(proc.path().join("7/stat"), LINE).unwrap();
        assert!(names(&process).contains(&"process_cpu_seconds_total"));
        assert!(!names(&process).contains(&"process_start_time_seconds"), "no btime");
    }

    #[test]
    fn this_process_shows_its_memory_and_start() {
        let families = Process::detect().families();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.metric().name == name).unwrap();
            family.points()[0].value.clone()
        };
        let Value::Whole(resident) = value("process_resident_memory_bytes") else { panic!() };
        let Value::Real(start) = value("process_start_time_seconds") else { panic!() };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(resident > 1 << 20 && resident < 1 << 36, "{resident}");
        assert!((now - 600.0..=now + 1.0).contains(&start), "{start} is not near {now}");
    }
}

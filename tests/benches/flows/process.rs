//! What the kernel tells about a process.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use testkit::proc::Process;

/// CPU time of all of its threads, in user and kernel mode.
pub(crate) fn cpu_time(process: &Process) -> Duration {
    ticks(&read(process, "stat"), UTIME)
}

/// CPU time of all children of this process that have ended.
pub(crate) fn ended_children() -> Duration {
    ticks(&fs::read_to_string("/proc/self/stat").unwrap(), CUTIME)
}

/// Two neighbouring fields: user and kernel mode.
fn ticks(stat: &str, first: usize) -> Duration {
    // Its name, in brackets, may contain anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(first).take(2).map(|field| field.parse::<u32>().unwrap());
    TICK * ticks.sum()
}

/// Megabytes of memory that no file backs.
pub(crate) fn rss_anon(process: &Process) -> f64 {
    let status = read(process, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024.0 / 1e6
}

/// A hash map that the process holds open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashMap {
    pub(crate) key_size: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Its hash maps, each once.
pub(crate) fn hash_maps(process: &Process) -> Vec<HashMap> {
    let entries = fs::read_dir(format!("/proc/{}/fdinfo", process.id())).unwrap();
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let maps: BTreeMap<_, _> = texts.filter_map(|text| hash_map(&text)).collect();
    maps.into_values().collect()
}

fn hash_map(fdinfo: &str) -> Option<(u64, HashMap)> {
    let field = |name: &str| -> Option<u64> {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(":\t"));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let map = HashMap {
        key_size: field("key_size")?,
        entries: field("max_entries")?,
        bytes: field("memlock")?,
    };
    (field("map_type")? == TYPE_HASH).then_some((field("map_id")?, map))
}

fn read(process: &Process, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap()
}

/// Fields 14 and 16 of proc_pid_stat(5), counted from the field behind the name.
const UTIME: usize = 11;
const CUTIME: usize = 13;
/// USER_HZ is 100 on every architecture that fathom runs on.
const TICK: Duration = Duration::from_millis(10);
/// BPF_MAP_TYPE_HASH.
const TYPE_HASH: u64 = 1;

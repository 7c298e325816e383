//! What a benchmark ran on; a number without it means nothing.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;

use serde::Serialize;

/// The machine as far as it is known.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    cpus: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    /// Whether the kernel keeps a stopwatch on every BPF program, which costs each packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    bpf_stats: Option<bool>,
    /// Processes that wanted to run, on average of the last minute: others disturb.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<f64>,
    /// When it was read, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
}

impl Machine {
    /// This machine, now.
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        let load = read("/proc/loadavg");
        Self {
            cpu: read("/proc/cpuinfo").as_deref().and_then(model),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            bpf_stats: read("/proc/sys/kernel/bpf_stats_enabled").map(|text| text.trim() != "0"),
            load: load.and_then(|text| text.split(' ').next()?.parse().ok()),
            date: date(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        let stats = match self.bpf_stats {
            Some(true) => "on",
            Some(false) => "off",
            None => "unknown",
        };
        let date = self.date.as_deref().unwrap_or("unknown date");
        write!(f, "{cpu}, {} CPUs, kernel {kernel}, bpf_stats {stats}, {date}", self.cpus)
    }
}

fn date() -> Option<String> {
    let told = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().ok()?;
    Some(String::from_utf8(told.stdout).ok()?.trim().to_owned())
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::model;

    #[test]
    fn an_unnamed_processor_stays_unknown() {
        assert_eq!(model("processor : 0\nmodel name\t: Some CPU\n"), Some("Some CPU".into()));
        assert_eq!(model("processor : 0\nCPU part : 0xd0c\n"), None);
    }
}

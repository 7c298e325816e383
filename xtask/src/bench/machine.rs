//! What a benchmark ran on; a number without it means nothing.

use std::fmt;
use std::fs;
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
}

impl Machine {
    /// This machine.
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        Self {
            cpu: read("/proc/cpuinfo").as_deref().and_then(model),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        write!(f, "{cpu}, {} CPUs, kernel {kernel}", self.cpus)
    }
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

//! Processors.

use std::ops::RangeInclusive;
use std::path::Path;

use super::{HostError, read};

/// A list of processors such as `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList {
    ranges: Vec<RangeInclusive<u32>>,
}

impl CpuList {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.ranges.iter().map(|range| (range.end() - range.start()) as usize + 1).sum()
    }

    /// Whether this one is among them.
    pub fn contains(&self, cpu: u32) -> bool {
        self.ranges.iter().any(|range| range.contains(&cpu))
    }

    /// One more than the highest number.
    pub fn width(&self) -> usize {
        self.ranges.iter().map(|range| *range.end() as usize + 1).max().unwrap_or(0)
    }

    fn parse(text: &str) -> Option<Self> {
        let ranges: Option<Vec<_>> = text.trim().split(',').map(range).collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(|ranges| Self { ranges })
    }
}

/// Processors that run now.
pub fn online_cpus(root: &Path) -> Result<CpuList, HostError> {
    list(root, "sys/devices/system/cpu/online")
}

/// Processors that may ever run: values of per-CPU maps have one part for each.
pub fn possible_cpus(root: &Path) -> Result<CpuList, HostError> {
    list(root, "sys/devices/system/cpu/possible")
}

fn list(root: &Path, relative: &str) -> Result<CpuList, HostError> {
    let text = read(root, relative)?;
    CpuList::parse(&text).ok_or_else(|| HostError::Content { path: root.join(relative) })
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty() && *range.end() < MAX_CPUS).then_some(range)
}

/// Far above any `NR_CPUS`, so that sums cannot overflow.
const MAX_CPUS: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_processors_are_counted() {
        let list = CpuList::parse("0-3,8,10-11\n").unwrap();
        assert_eq!((list.count(), list.width()), (7, 12));
        assert!(list.contains(8) && !list.contains(9));
    }

    #[test]
    fn impossible_lists_are_refused() {
        for text in ["", "-", "3-1", "0-", "a", "0,,1", "0-4294967295", "1048576"] {
            assert_eq!(CpuList::parse(text), None, "{text:?} was read as a list");
        }
    }
}

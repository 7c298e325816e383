//! Which cgroup hierarchy this host uses.

use std::path::{Path, PathBuf};

use super::{HostError, read};

/// The cgroup mounts that the process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CgroupHierarchy {
    /// No cgroup file system is mounted.
    Absent,
    /// Version 1 only; programs cannot be attached to cgroups.
    Legacy,
    /// Version 1 controllers beside a version 2 tree.
    Hybrid {
        /// Where version 2 is mounted.
        unified: PathBuf,
    },
    /// Version 2 only.
    Unified {
        /// Where it is mounted.
        unified: PathBuf,
    },
}

impl CgroupHierarchy {
    /// Where version 2 is mounted.
    pub fn unified(&self) -> Option<&Path> {
        match self {
            Self::Hybrid { unified } | Self::Unified { unified } => Some(unified),
            Self::Absent | Self::Legacy => None,
        }
    }
}

/// Reads the mount table (`/proc/self/mountinfo`).
pub fn cgroup_hierarchy(root: &Path) -> Result<CgroupHierarchy, HostError> {
    Ok(of_mounts(&read(root, "proc/self/mountinfo")?))
}

fn of_mounts(table: &str) -> CgroupHierarchy {
    let mut mounts = table.lines().filter_map(mount);
    let legacy = mounts.clone().any(|(kind, _)| kind == "cgroup");
    let unified = mounts.find(|(kind, _)| *kind == "cgroup2");
    match (unified.map(|(_, place)| unescape(place)), legacy) {
        (Some(unified), true) => CgroupHierarchy::Hybrid { unified },
        (Some(unified), false) => CgroupHierarchy::Unified { unified },
        (None, true) => CgroupHierarchy::Legacy,
        (None, false) => CgroupHierarchy::Absent,
    }
}

/// File system kind and mount point of one line; the number of fields before the dash varies.
fn mount(line: &str) -> Option<(&str, &str)> {
    let (before, behind) = line.split_once(" - ")?;
    Some((behind.split(' ').next()?, before.split(' ').nth(4)?))
}

/// The kernel writes blanks and backslashes in paths as octal escapes.
fn unescape(place: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let plain = escapes.iter().fold(place.to_owned(), |text, (code, c)| text.replace(code, c));
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str =
        "31 23 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n";
    const V2: &str = "30 23 0:26 / /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn only_version_two_is_unified_and_its_mount_point_is_plain_text() {
        let unified = PathBuf::from("/sys/fs/my cgroup");
        assert_eq!(of_mounts(V2), CgroupHierarchy::Unified { unified });
    }

    #[test]
    fn both_versions_are_hybrid() {
        let both = format!("{V1}{V2}");
        assert!(matches!(of_mounts(&both), CgroupHierarchy::Hybrid { .. }));
        assert_eq!(of_mounts(V1), CgroupHierarchy::Legacy);
    }

    #[test]
    fn lines_that_are_no_mounts_are_passed_over() {
        assert_eq!(of_mounts("nonsense\n - cgroup2\n\n1 2 3 - \n"), CgroupHierarchy::Absent);
    }
}

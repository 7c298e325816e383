//! Capabilities, each with what it is for.

use std::path::Path;

use net_sys::host::{self, Capabilities, HostError};

use super::finding::Finding;

/// One line for each capability that matters on this kernel.
pub(super) fn capabilities(root: &Path) -> Vec<Finding> {
    // Without a release the newest rules are assumed: the kernel's own line tells the rest.
    let has_bpf = host::kernel_release(root).map_or(true, |release| release.at_least(5, 11));
    match Capabilities::effective() {
        Ok(held) => NEEDS.iter().filter_map(|need| need.judge(held, has_bpf)).collect(),
        Err(error) => vec![unknown(&error)],
    }
}

/// What a capability is for.
#[derive(Debug)]
struct Need {
    check: &'static str,
    name: &'static str,
    purpose: &'static str,
    without: Without,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    /// Nothing works. `SYS_ADMIN` covers what was cut out of it in 5.8.
    Nothing { covered: bool },
    /// This does not work.
    Loses(&'static str),
    /// Nothing works on kernels that charge maps against RLIMIT_MEMLOCK (before 5.11).
    NothingOnOld,
}

impl Need {
    fn judge(&self, held: Capabilities, new: bool) -> Option<Finding> {
        let holds = |name: &str| name.parse().is_ok_and(|capability| held.contains(capability));
        let found = |state: &str| format!("{state}: {}", self.purpose);
        if holds(self.name) {
            return Some(Finding::ok(self.check, found("held")));
        }
        match self.without {
            Without::Nothing { covered: true } if holds("SYS_ADMIN") => {
                Some(Finding::ok(self.check, found("covered by SYS_ADMIN")))
            }
            Without::NothingOnOld if new => None,
            Without::Nothing { .. } | Without::NothingOnOld => {
                Some(Finding::missing(self.check, found("not held"), REMEDY))
            }
            Without::Loses(lost) => {
                Some(Finding::degraded(self.check, found("not held"), lost).with_remedy(REMEDY))
            }
        }
    }
}

fn unknown(error: &HostError) -> Finding {
    Finding::missing("capabilities", error.to_string(), "allow capget in the seccomp profile")
}

const REMEDY: &str = "run as root, or grant it in securityContext.capabilities.add";

const NEEDS: [Need; 6] = [
    Need {
        check: "cap-bpf",
        name: "BPF",
        purpose: "loads programs and maps",
        without: Without::Nothing { covered: true },
    },
    Need {
        check: "cap-net-admin",
        name: "NET_ADMIN",
        purpose: "attaches programs to devices",
        without: Without::Nothing { covered: false },
    },
    Need {
        check: "cap-perfmon",
        name: "PERFMON",
        purpose: "lets programs read packets and kernel types",
        without: Without::Nothing { covered: true },
    },
    Need {
        check: "cap-sys-admin",
        name: "SYS_ADMIN",
        purpose: "enters network namespaces of pods",
        without: Without::Loses(
            "what pods receive is counted on the host side only; --netns can't be used",
        ),
    },
    Need {
        check: "cap-sys-ptrace",
        name: "SYS_PTRACE",
        purpose: "finds namespaces by process",
        without: Without::Loses("namespaces that have no file under --netns-dir are not found"),
    },
    Need {
        check: "cap-sys-resource",
        name: "SYS_RESOURCE",
        purpose: "raises the limit of locked memory",
        without: Without::NothingOnOld,
    },
];

#[cfg(test)]
mod tests {
    use net_sys::host::Capabilities;

    use super::NEEDS;
    use crate::doctor::finding::State;

    fn judged(held: &[&str], new: bool) -> Vec<(&'static str, State)> {
        let held = Capabilities::from_names(held.iter().copied()).unwrap();
        let findings = NEEDS.iter().filter_map(|need| need.judge(held, new));
        findings.map(|finding| (finding.check, finding.state)).collect()
    }

    #[test]
    fn the_set_of_the_chart_is_enough() {
        let states = judged(&["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_PTRACE"], true);
        assert!(states.iter().all(|(_, state)| *state == State::Ok), "{states:?}");
        assert_eq!(states.len(), 5, "SYS_RESOURCE does not matter on a new kernel");
    }

    #[test]
    fn sys_admin_covers_what_was_cut_out_of_it() {
        let states = judged(&["NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE"], false);
        assert!(states.iter().all(|(_, state)| *state != State::Missing), "{states:?}");
    }

    #[test]
    fn nothing_held_is_told_by_name() {
        let missing = |new| {
            let all = judged(&[], new).into_iter();
            all.filter(|(_, state)| *state == State::Missing)
                .map(|(check, _)| check)
                .collect::<Vec<_>>()
        };
        assert_eq!(missing(true), ["cap-bpf", "cap-net-admin", "cap-perfmon"]);
        assert_eq!(missing(false), ["cap-bpf", "cap-net-admin", "cap-perfmon", "cap-sys-resource"]);
    }

    #[test]
    fn without_sys_admin_only_namespaces_are_lost() {
        let states = judged(&["BPF", "NET_ADMIN", "PERFMON"], true);
        assert!(states.contains(&("cap-sys-admin", State::Degraded)), "{states:?}");
    }
}

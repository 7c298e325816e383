//! The kernel and the processors.

use std::path::Path;

use net_sys::host;

use super::finding::Finding;

/// Whether the kernel is new enough.
pub(super) fn release(root: &Path) -> Finding {
    const CHECK: &str = "kernel";
    match host::kernel_release(root) {
        Ok(release) if release.at_least(5, 10) => Finding::ok(CHECK, release.text),
        Ok(release) => Finding::missing(CHECK, release.text, "run Linux 5.10 or newer"),
        Err(error) => Finding::missing(CHECK, error.to_string(), "mount /proc"),
    }
}

/// Whether the kernel describes its types.
pub(super) fn types(root: &Path) -> Finding {
    const CHECK: &str = "btf";
    if host::has_btf(root) {
        return Finding::ok(CHECK, "the kernel describes its types");
    }
    let lost = "bytes of datagrams that are segmented at the port of a tunnel can't be told exactly; all else is counted";
    Finding::degraded(CHECK, "no /sys/kernel/btf/vmlinux", lost)
        .with_remedy("mount /sys, or run a kernel built with CONFIG_DEBUG_INFO_BTF")
}

/// Whether capabilities are what they seem.
pub(super) fn user_namespace(root: &Path) -> Finding {
    const CHECK: &str = "user-namespace";
    match host::in_initial_user_namespace(root) {
        Ok(true) => Finding::ok(CHECK, "that of the machine"),
        Ok(false) => {
            let found = "not that of the machine: capabilities mean nothing to BPF";
            Finding::missing(
                CHECK,
                found,
                "run outside of user namespaces (hostUsers: true in a pod)",
            )
        }
        Err(error) => Finding::degraded(
            CHECK,
            error.to_string(),
            "whether capabilities are real is not known",
        ),
    }
}

/// How many processors there are; each has its part of every per-CPU map.
pub(super) fn processors(root: &Path) -> Finding {
    const CHECK: &str = "cpus";
    match (host::online_cpus(root), host::possible_cpus(root)) {
        (Ok(online), Ok(possible)) => {
            Finding::ok(CHECK, format!("{} online, {} possible", online.count(), possible.width()))
        }
        (Err(error), _) | (_, Err(error)) => {
            let lost = "tables are sized for one processor";
            Finding::degraded(CHECK, error.to_string(), lost).with_remedy("mount /sys")
        }
    }
}

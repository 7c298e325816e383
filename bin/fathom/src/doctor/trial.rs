//! What only trying can tell: hooks and programs of this kernel.

use std::path::Path;

use flow_bpf::{Program, Scope, Sizes, Tables};
use flow_model::flow::Direction;
use flow_model::page::{FlowKeyMode, Geometry};
use net_sys::{host, tcx};

use super::finding::Finding;

/// Which way of attaching there is.
pub(super) fn hooks() -> Finding {
    const CHECK: &str = "attach";
    match tcx::supported() {
        Ok(true) => Finding::ok(CHECK, "tcx"),
        Ok(false) => {
            let lost = "a pod with NET_ADMIN can remove hooks inside its namespace (seen, and moved to the host side)";
            Finding::degraded(CHECK, "clsact; tcx needs Linux 6.6", lost)
        }
        Err(error) => Finding::missing(CHECK, error.to_string(), "grant BPF and NET_ADMIN"),
    }
}

/// Loads the counting program onto small maps of its own, and lets go of both.
pub(super) fn program() -> Finding {
    const CHECK: &str = "bpf-program";
    // Maps are charged to a limit before 5.11; what is wrong with it shows in the next step.
    drop(host::raise_memlock());
    let loaded = Tables::create(sizes())
        .and_then(|tables| Program::load(&tables, Scope::Shared, &Direction::ALL));
    match loaded {
        Ok(_) => Finding::ok(CHECK, "the kernel accepts the counting program"),
        Err(error) if error.is_permission() => {
            Finding::missing(CHECK, error.to_string(), "grant BPF, NET_ADMIN and PERFMON")
        }
        Err(error) => {
            let remedy =
                "run Linux 5.10 or newer with CONFIG_BPF_SYSCALL; if it is, please report this";
            Finding::missing(CHECK, error.to_string(), remedy)
        }
    }
}

/// As small as tables may be.
fn sizes() -> Sizes {
    let cpus = host::possible_cpus(Path::new("/")).map_or(1, |cpus| cpus.width());
    Sizes {
        geometry: Geometry {
            flow_capacity4: 1024,
            flow_capacity6: 1024,
            shards: if cpus > 1 { 2 } else { 1 },
            max_edges: 1,
            pair_series: 16,
            flow_key: FlowKeyMode::FiveTuple,
        },
        edge_quota_percent: 50,
        early_drain_percent: 75,
    }
}

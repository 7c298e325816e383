//! Hooks that are removed without the book that tells of them, because their maps are
//! damaged.
//!
//! Links are known by their pins. A filter is known by its handle and by the program that
//! is pinned for it, wherever it is found. A qdisc says nothing of who made it, and stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::PathBuf,
};

use flow_bpf::open_program;
use net_sys::{
    Route,
    bpf::program_id,
    clsact::{Clsact, Place},
    tcx::{Hook, TcxLink},
};

use crate::{
    error::{Error, SiteError},
    hook::{HANDLE, remove_link},
    pins::{PinDir, unpin},
    site::Namespace,
};

/// Removes what can be recognised, and its pins. Answers how many hooks that were.
pub(crate) fn remove_known(pins: &PinDir) -> Result<usize, Error> {
    let mut programs: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    let mut removed = 0;
    for (path, _) in pins.pinned_links() {
        // Asked first: the kernel opens either by one call.
        if TcxLink::open_pinned(&path).is_ok() {
            removed += remove_link(&path)?;
        } else if let Ok(program) = open_program(&path) {
            let id = program_id(program.as_fd()).map_err(SiteError::Bpf);
            let id =
                id.map_err(|source| Error::Edge { edge: path.display().to_string(), source })?;
            programs.entry(id).or_default().push(path);
        }
    }
    let found = sweep(programs.keys().copied().collect(), pins);
    for (program, paths) in programs {
        let filters = found.iter().filter(|there| **there == program).count();
        removed += filters;
        // One that was not found may still be there, and is known by its pin alone.
        if filters >= paths.len() {
            paths.iter().try_for_each(|path| unpin(path))?;
        }
    }
    Ok(removed)
}

/// Removes filters that run one of these programs from wherever there is a way to; answers
/// the program of each.
fn sweep(programs: BTreeSet<u32>, pins: &PinDir) -> Vec<u32> {
    if programs.is_empty() {
        return Vec::new();
    }
    let namespaces = Namespace::reachable(pins.netns_dirs()).into_iter();
    // One that went away, or can't be read, has nothing to be told of.
    namespaces
        .flat_map(|there| there.within(|| sweep_here(&programs)).unwrap_or_default())
        .collect()
}

fn sweep_here(programs: &BTreeSet<u32>) -> Result<Vec<u32>, SiteError> {
    let mut clsact = Clsact::open()?;
    let mut removed = Vec::new();
    for link in Route::open()?.links(None)? {
        for hook in [Hook::Ingress, Hook::Egress] {
            for filter in clsact.filters(link.ifindex, hook).unwrap_or_default() {
                let Some(program) = filter.program_id().filter(|id| programs.contains(id)) else {
                    continue;
                };
                let place = Place::new(link.ifindex, hook, filter.preference, filter.handle);
                if filter.handle == HANDLE && clsact.detach(place, program).is_ok() {
                    removed.push(program);
                }
            }
        }
    }
    Ok(removed)
}

//! What this host is, as far as flows care.

use std::path::Path;

use net_sys::{host, tcx};

use crate::{error::Error, hook::Lane, settings::Attach};

const ROOT: &str = "/";

/// Refuses kernels without what the program needs.
pub(crate) fn check_kernel() -> Result<(), Error> {
    match host::kernel_release(Path::new(ROOT)) {
        Ok(release) if !release.at_least(5, 10) => Err(Error::Kernel(release)),
        // A release that can't be read is for the kernel itself to refuse.
        _ => Ok(()),
    }
}

/// Release of the running kernel.
pub(crate) fn kernel_text() -> String {
    host::kernel_release(Path::new(ROOT)).map(|release| release.text).unwrap_or_default()
}

/// CPUs that are online, at least one.
pub(crate) fn cpus() -> usize {
    host::online_cpus(Path::new(ROOT)).map_or(1, |cpus| cpus.count().max(1))
}

/// How programs will be attached.
pub(crate) fn lane(attach: Attach) -> Result<Lane, Error> {
    match attach {
        Attach::Tcx => Ok(Lane::Tcx),
        Attach::Clsact => Ok(Lane::Clsact),
        Attach::Auto => {
            let supported = tcx::supported()
                .map_err(|error| Error::Edge { edge: "tcx".into(), source: error.into() })?;
            Ok(if supported { Lane::Tcx } else { Lane::Clsact })
        }
    }
}

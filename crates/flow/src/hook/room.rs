//! What stands at a site before a hook of ours does.

use net_sys::{
    Route,
    clsact::{Clsact, Qdisc},
};

use super::{Lane, PREFERENCE};
use crate::{error::SiteError, site::Site};

/// What a hook would find at its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It can be the first to run.
    First,
    /// Somebody else's filter runs before it.
    Behind,
    /// None: what stands there excludes filters of ours.
    None,
}

/// Looks at a site before anything is attached there. An error says that there is no way
/// to its device.
pub(crate) fn room(site: &Site, lane: Lane) -> Result<Room, SiteError> {
    site.namespace.within(|| {
        Route::open()?.link(site.ifindex, None)?;
        if lane == Lane::Tcx {
            return Ok(Room::First);
        }
        let mut clsact = Clsact::open()?;
        if clsact.qdisc(site.ifindex)? == Some(Qdisc::Ingress) {
            return Ok(Room::None);
        }
        let filters = clsact.filters(site.ifindex, site.hook)?;
        let taken = filters.iter().any(|found| found.chain == 0 && found.preference == PREFERENCE);
        Ok(if taken { Room::Behind } else { Room::First })
    })
}

//! The network namespace in which the node's devices are, as the ledger remembers it.
//!
//! A filter belongs to its device and says nothing of whoever looks for it: `detach` may be
//! run anywhere.

use flow_bpf::SharedPages;
use flow_model::page::{Pages as _, Region, control};
use net_sys::Netns;

use crate::error::{Error, SiteError};

/// Inode of the namespace in which hooks were made; 0 if nobody noted it.
pub(crate) fn home(pages: &SharedPages) -> u64 {
    pages.load(Region::Control, control::HOME)
}

/// Notes that hooks are made in the namespace of the process.
pub(crate) fn settle_here(pages: &mut SharedPages) -> Result<(), Error> {
    let own = Netns::current().map_err(|source| Error::Edge {
        edge: "own namespace".into(),
        source: SiteError::Netns(source),
    })?;
    pages.store(Region::Control, control::HOME, own.inode());
    Ok(())
}

/// Other maps know what these did.
pub(crate) fn carry(from: &SharedPages, to: &mut SharedPages) {
    to.store(Region::Control, control::HOME, home(from));
}

//! The ports at which servers are known to listen: a bit for each, TCP before UDP.

use flow_model::flow::Protocol;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::{
    error::{Error, Step},
    tables::lookup,
};

/// Words of one protocol.
const WORDS: u32 = 65_536 / 64;

/// Notes a port; protocols without such a set are passed over.
pub(crate) fn add(map: &MapHandle, protocol: Protocol, port: u16) -> Result<(), Error> {
    let first = match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => WORDS,
        _ => return Ok(()),
    };
    let key = (first + u32::from(port) / 64).to_ne_bytes();
    let word = lookup(map, NAME, &key)?.first_chunk().copied().map_or(0, u64::from_ne_bytes);
    let word = word | 1 << (port % 64);
    map.update(&key, &word.to_ne_bytes(), MapFlags::ANY).map_err(Error::libbpf(Step::Write, NAME))
}

const NAME: &str = "service_ports";

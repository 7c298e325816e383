//! Making the maps of the right sizes.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

use flow_model::page::{Geometry, Region};
use libbpf_rs::{
    MapCore, MapHandle, MapType, OpenMapMut,
    skel::{OpenSkel, SkelBuilder},
};

use super::{FLOWS4, FLOWS6, Maps, Sizes, Tables, per_shard, raw_fd};
use crate::{
    batch,
    error::{Error, Step},
    layout::{FillCell, Flow4Key, Flow6Key, FlowValue, FoldedCell},
    mapped::Mapped,
    program::own_fd,
    skel::{FlowMaps, FlowSkelBuilder, OpenFlowMaps},
};

impl Tables {
    /// Makes empty maps. Nothing is pinned and nothing attached.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a map; [`Error::is_memory`] tells that smaller ones may
    /// fit.
    pub fn create(sizes: Sizes) -> Result<Self, Error> {
        let mut object = MaybeUninit::uninit();
        let mut open = FlowSkelBuilder::default()
            .open(&mut object)
            .map_err(Error::libbpf(Step::Load, "flow"))?;
        open.progs.tc_pod_tx.set_autoload(false);
        open.progs.tc_pod_rx.set_autoload(false);
        size(&mut open.maps, &sizes.geometry).map_err(Error::libbpf(Step::CreateMap, "tables"))?;
        let geometry = &sizes.geometry;
        let flows4 = flow_tables::<Flow4Key>(FLOWS4, geometry.flow_capacity4, geometry.shards)?;
        let flows6 = flow_tables::<Flow6Key>(FLOWS6, geometry.flow_capacity6, geometry.shards)?;
        let grace = holder("grace", &[grace_map()?])?;
        let (holder4, holder6) = (holder(FLOWS4, &flows4)?, holder(FLOWS6, &flows6)?);
        for (map, holder) in [
            (&mut open.maps.connection_flows, &holder4),
            (&mut open.maps.connection_flows6, &holder6),
            (&mut open.maps.grace, &grace),
        ] {
            map.reuse_fd(holder.as_fd()).map_err(Error::libbpf(Step::CreateMap, "tables"))?;
        }
        let skel = open.load().map_err(Error::libbpf(Step::CreateMap, "tables"))?;
        let maps = handles(&skel.maps).map_err(Error::libbpf(Step::CreateMap, "tables"))?;
        Self::assemble(sizes, maps, flows4, flows6, own_fd(&skel.progs.read_clock)?)
    }

    /// Puts together what was made or reopened.
    pub(super) fn assemble(
        sizes: Sizes,
        maps: Maps,
        flows4: Vec<MapHandle>,
        flows6: Vec<MapHandle>,
        clock_program: std::os::fd::OwnedFd,
    ) -> Result<Self, Error> {
        let mapped = |map: &MapHandle, what, bytes| {
            Mapped::new(map.as_fd(), what, map.max_entries() as usize, bytes)
        };
        Ok(Self {
            folded: mapped(&maps.folded, "folded", size_of::<FoldedCell>())?,
            fill: mapped(&maps.fill, "fill", size_of::<FillCell>())?,
            edge_fill: mapped(&maps.edge_fill, "edge_fill", size_of::<FillCell>())?,
            grace_inner: grace_map()?,
            sizes,
            maps,
            flows4,
            flows6,
            clock_program,
        })
    }
}

/// Entries of each map for a geometry.
fn size(maps: &mut OpenFlowMaps<'_>, geometry: &Geometry) -> libbpf_rs::Result<()> {
    let slots = geometry.slots();
    let shards = geometry.shards as usize;
    let set = |map: &mut OpenMapMut<'_>, entries: usize| {
        map.set_max_entries(u32::try_from(entries).unwrap_or(u32::MAX))
    };
    set(&mut maps.totals, 2 * slots * 2)?;
    set(&mut maps.folded, 2 * shards * slots * 2)?;
    set(&mut maps.fill, 2 * shards)?;
    set(&mut maps.edge_fill, 2 * shards * slots)?;
    set(&mut maps.edge_book, geometry.records(Region::EdgeBook))?;
    set(&mut maps.pairs, geometry.records(Region::Pairs))?;
    set(&mut maps.redo, geometry.records(Region::Redo))
}

fn handles(maps: &FlowMaps<'_>) -> libbpf_rs::Result<Maps> {
    Ok(Maps {
        control: MapHandle::try_from(&maps.control)?,
        connection_flows: MapHandle::try_from(&maps.connection_flows)?,
        connection_flows6: MapHandle::try_from(&maps.connection_flows6)?,
        grace: MapHandle::try_from(&maps.grace)?,
        slots: MapHandle::try_from(&maps.slots)?,
        totals: MapHandle::try_from(&maps.totals)?,
        folded: MapHandle::try_from(&maps.folded)?,
        fill: MapHandle::try_from(&maps.fill)?,
        edge_fill: MapHandle::try_from(&maps.edge_fill)?,
        fragments: MapHandle::try_from(&maps.fragments)?,
        events: MapHandle::try_from(&maps.events)?,
        events_seen: MapHandle::try_from(&maps.events_seen)?,
        service_ports: MapHandle::try_from(&maps.service_ports)?,
        clock: MapHandle::try_from(&maps.clock)?,
        edge_book: MapHandle::try_from(&maps.edge_book)?,
        pairs: MapHandle::try_from(&maps.pairs)?,
        redo: MapHandle::try_from(&maps.redo)?,
    })
}

/// One table per parity and shard.
fn flow_tables<Key>(
    name: &'static str,
    capacity: u32,
    shards: u32,
) -> Result<Vec<MapHandle>, Error> {
    let entries = per_shard(capacity, shards);
    let widths = (size_of::<Key>(), size_of::<FlowValue>());
    (0..2 * shards).map(|_| create_map(MapType::Hash, name, widths, entries, None)).collect()
}

/// What is put into the grace map to have the kernel wait.
fn grace_map() -> Result<MapHandle, Error> {
    create_map(MapType::Array, "flow_grace", (4, 4), 1, None)
}

/// A map that holds maps.
///
/// libbpf would make it after a template with type information, and before kernel 6.3
/// maps without, such as those made here, do not fit into it.
fn holder(name: &'static str, held: &[MapHandle]) -> Result<MapHandle, Error> {
    let rows = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let holder = create_map(MapType::ArrayOfMaps, name, (4, 4), rows, held.first())?;
    let indices: Vec<_> = (0..rows).map(u32::to_ne_bytes).collect();
    let fds: Vec<_> = held.iter().map(|map| raw_fd(map.as_fd())).collect();
    // Each update waits for a grace period, all of a batch for one; the kernel takes such
    // batches since 5.16.
    batch::update(&holder, &indices, &fds).map_err(Error::libbpf(Step::Write, name))?;
    Ok(holder)
}

fn create_map(
    kind: MapType,
    name: &'static str,
    (key, value): (usize, usize),
    entries: u32,
    template: Option<&MapHandle>,
) -> Result<MapHandle, Error> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        inner_map_fd: template.map_or(0, |map| map.as_fd().as_raw_fd().cast_unsigned()),
        ..Default::default()
    };
    // Names longer than 15 octets are refused, not cut.
    let short = name.get(..name.len().min(15));
    let width = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    MapHandle::create(kind, short, width(key), width(value), entries, &options)
        .map_err(Error::libbpf(Step::CreateMap, name))
}

//! Pins: how the maps outlive the process.

use std::{
    fs, io,

    path::{Path, PathBuf},
};

use flow_model::page::{Geometry, MAGIC, Pages, Region, control};
use libbpf_rs::{MapCore, MapHandle};

use super::{Maps, SharedPages, Sizes, Tables, lookup};
use crate::{
    error::{Error, Step},
    program::load_clock,
};

const FOLDER: &str = "maps";
/// Pins are made here and moved in one step, so that a crash leaves all or none. Names
/// on bpffs can't contain a dot.
const UNFINISHED: &str = "maps_unfinished";

impl Tables {
    /// Whether a directory holds pinned maps.
    pub fn is_pinned(dir: &Path) -> bool {
        dir.join(FOLDER).is_dir()
    }

    /// Pins every map below `dir`, which must lie on bpffs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a pin, or `dir` holds pinned maps already.
    pub fn pin(&self, dir: &Path) -> Result<(), Error> {
        let failed = |source: io::Error| Error::new(Step::Pin, "maps", source);
        let unfinished = dir.join(UNFINISHED);
        remove_pins(&unfinished).map_err(failed)?;
        fs::create_dir_all(&unfinished).map_err(failed)?;
        for (name, map) in self.maps.named() {
            MapHandle::try_from(map)
                .and_then(|mut map| map.pin(unfinished.join(name)))
                .map_err(Error::libbpf(Step::Pin, name))?;
        }
        fs::rename(&unfinished, dir.join(FOLDER)).map_err(failed)
    }

    /// Opens maps pinned below `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] when they are not maps of this program.
    pub fn open(dir: &Path, sizes: impl Fn(Geometry) -> Sizes) -> Result<Self, Error> {
        let dir = dir.join(FOLDER);
        let maps = open_maps(&dir)?;
        let foreign = || Error::Foreign { path: dir.clone() };
        let pages = SharedPages::new(&maps)?;
        if pages.load(Region::Control, control::MAGIC) != MAGIC {
            return Err(foreign());
        }
        let geometry = Geometry::stored(&pages).ok_or_else(foreign)?;
        if !geometry.shards.is_power_of_two() || !fits(&maps, &geometry) {
            return Err(foreign());
        }
        let flows4 = inner_maps(&maps.connection_flows, "connection_flows")?;
        let flows6 = inner_maps(&maps.connection_flows6, "connection_flows6")?;
        let clock_program = load_clock(&maps)?;
        Self::assemble(sizes(geometry), maps, flows4, flows6, clock_program)
    }

    /// Removes the pins below `dir`; the maps live on while somebody holds them.
    ///
    /// # Errors
    ///
    /// When a pin can't be removed.
    pub fn unpin(dir: &Path) -> Result<(), Error> {
        for folder in [UNFINISHED, FOLDER] {
            remove_pins(&dir.join(folder))
                .map_err(|source| Error::new(Step::Pin, "maps", source))?;
        }
        Ok(())
    }
}

fn remove_pins(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_maps(dir: &Path) -> Result<Maps, Error> {
    let open = |name: &'static str| {
        MapHandle::from_pinned_path(dir.join(name)).map_err(Error::libbpf(Step::Pin, name))
    };
    Ok(Maps {
        control: sized(open("control")?, dir, "control", Region::Control.record_bytes())?,
        connection_flows: open("connection_flows")?,
        connection_flows6: open("connection_flows6")?,
        grace: open("grace")?,
        slots: open("slots")?,
        totals: open("totals")?,
        folded: open("folded")?,
        fill: open("fill")?,
        edge_fill: open("edge_fill")?,
        fragments: open("fragments")?,
        events: open("events")?,
        events_seen: open("events_seen")?,
        service_ports: open("service_ports")?,
        clock: open("clock")?,
        edge_book: sized(open("edge_book")?, dir, "edge_book", Region::EdgeBook.record_bytes())?,
        pairs: sized(open("pairs")?, dir, "pairs", Region::Pairs.record_bytes())?,
        redo: sized(open("redo")?, dir, "redo", Region::Redo.record_bytes())?,
    })
}

/// Refuses a map whose values have another size: reading it would go astray.
fn sized(
    map: MapHandle,
    dir: &Path,
    name: &'static str,
    bytes: usize,
) -> Result<MapHandle, Error> {
    if map.value_size() as usize == bytes {
        return Ok(map);
    }
    Err(Error::Foreign { path: PathBuf::from(dir).join(name) })
}

/// Whether the maps are as large as the control page says.
fn fits(maps: &Maps, geometry: &Geometry) -> bool {
    let slots = geometry.slots();
    let shards = geometry.shards as usize;
    let entries = |map: &MapHandle| map.max_entries() as usize;
    entries(&maps.edge_book) == geometry.records(Region::EdgeBook)
        && entries(&maps.pairs) == geometry.records(Region::Pairs)
        && entries(&maps.redo) == geometry.records(Region::Redo)
        && entries(&maps.totals) == 4 * slots
        && entries(&maps.folded) == 4 * shards * slots
        && entries(&maps.fill) == 2 * shards
        && entries(&maps.edge_fill) == 2 * slots
        && entries(&maps.connection_flows) == 2 * shards
        && entries(&maps.connection_flows6) == 2 * shards
}

fn inner_maps(holder: &MapHandle, name: &'static str) -> Result<Vec<MapHandle>, Error> {
    (0..holder.max_entries())
        .map(|row| {
            let octets = lookup(holder, name, &row.to_ne_bytes())?;
            let id = octets.first_chunk().copied().map_or(0, u32::from_ne_bytes);
            MapHandle::from_map_id(id).map_err(Error::libbpf(Step::Pin, name))
        })
        .collect()
}


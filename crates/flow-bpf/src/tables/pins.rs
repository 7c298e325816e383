//! Pins: how the maps outlive the process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flow_model::page::{Geometry, MAGIC, Pages, Region, control};
use libbpf_rs::{MapCore, MapHandle, MapType};

use super::{FLOWS4, FLOWS6, Maps, SharedPages, Sizes, Tables, lookup};
use crate::{
    error::{Error, Step},
    layout::{
        ClockRecord, EventsCell, FillCell, Flow4Key, Flow6Key, FlowValue, FoldedCell, Fragment,
        FragmentKey, RawSlotCell, TotalsCell,
    },
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
        let pin = |name: &str, what, map: &MapHandle| {
            MapHandle::try_from(map)
                .and_then(|mut map| map.pin(unfinished.join(name)))
                .map_err(Error::libbpf(Step::Pin, what))
        };
        for (name, map) in self.maps.named() {
            pin(name, name, map)?;
        }
        for (name, tables) in [(FLOWS4, &self.flows4), (FLOWS6, &self.flows6)] {
            for (row, table) in tables.iter().enumerate() {
                pin(&row_name(name, row), name, table)?;
            }
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
        // Without a magic word the ledger is not complete, but the maps may be ours.
        if ![0, MAGIC].contains(&pages.load(Region::Control, control::MAGIC)) {
            return Err(foreign());
        }
        let geometry = Geometry::stored(&pages).ok_or_else(foreign)?;
        if !geometry.shards.is_power_of_two() || !fits(&maps, &geometry) {
            return Err(foreign());
        }
        let flows4 = open_rows::<Flow4Key>(&dir, FLOWS4, &maps.connection_flows)?;
        let flows6 = open_rows::<Flow6Key>(&dir, FLOWS6, &maps.connection_flows6)?;
        let clock_program = load_clock(&maps)?;
        Self::assemble(sizes(geometry), maps, flows4, flows6, clock_program)
    }

    /// Moves all pins from below one directory to below another, in one step.
    ///
    /// # Errors
    ///
    /// When there are none, or `to` holds pinned maps already.
    pub fn move_pins(from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from.join(FOLDER), to.join(FOLDER))
            .map_err(|source| Error::new(Step::Pin, "maps", source))
    }

    /// Removes the pins below `dir`; the maps live on while somebody holds them.
    ///
    /// # Errors
    ///
    /// When a pin can't be removed.
    pub fn unpin(dir: &Path) -> Result<(), Error> {
        let failed = |source| Error::new(Step::Pin, "maps", source);
        let unfinished = dir.join(UNFINISHED);
        remove_pins(&unfinished).map_err(failed)?;
        // Out of sight in one step: a part of the maps would be taken for damage.
        match fs::rename(dir.join(FOLDER), &unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => remove_pins(&unfinished).map_err(failed),
        }
    }
}

fn remove_pins(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_maps(dir: &Path) -> Result<Maps, Error> {
    use MapType::{Array, ArrayOfMaps, LruHash, PercpuArray, RingBuf};
    let open = |name: &'static str, kind: MapType, key: usize, value: usize| {
        open_map(dir.join(name), name, kind, (key, value))
    };
    let array = |name, value| open(name, Array, 4, value);
    let region = |name, region: Region| open(name, Array, 4, region.record_bytes());
    Ok(Maps {
        control: region("control", Region::Control)?,
        connection_flows: open(FLOWS4, ArrayOfMaps, 4, 4)?,
        connection_flows6: open(FLOWS6, ArrayOfMaps, 4, 4)?,
        grace: open("grace", ArrayOfMaps, 4, 4)?,
        slots: array("slots", size_of::<RawSlotCell>())?,
        totals: open("totals", PercpuArray, 4, size_of::<TotalsCell>())?,
        folded: array("folded", size_of::<FoldedCell>())?,
        fill: array("fill", size_of::<FillCell>())?,
        edge_fill: array("edge_fill", size_of::<FillCell>())?,
        fragments: open("fragments", LruHash, size_of::<FragmentKey>(), size_of::<Fragment>())?,
        events: open("events", RingBuf, 0, 0)?,
        events_seen: open("events_seen", PercpuArray, 4, size_of::<EventsCell>())?,
        service_ports: array("service_ports", size_of::<u64>())?,
        clock: array("clock", size_of::<ClockRecord>())?,
        edge_book: region("edge_book", Region::EdgeBook)?,
        pairs: region("pairs", Region::Pairs)?,
        redo: region("redo", Region::Redo)?,
    })
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
        && entries(&maps.edge_fill) == 2 * shards * slots
        && entries(&maps.connection_flows) == 2 * shards
        && entries(&maps.connection_flows6) == 2 * shards
}

/// Opens the flow tables and makes sure that they are those which packets go to.
///
/// By pins of their own, since opening a map by its id takes CAP_SYS_ADMIN.
fn open_rows<Key>(
    dir: &Path,
    name: &'static str,
    holder: &MapHandle,
) -> Result<Vec<MapHandle>, Error> {
    (0..holder.max_entries())
        .map(|row| {
            let path = dir.join(row_name(name, row as usize));
            let widths = (size_of::<Key>(), size_of::<FlowValue>());
            let table = open_map(path.clone(), name, MapType::Hash, widths)?;
            let held = lookup(holder, name, &row.to_ne_bytes())?;
            let held = held.first_chunk().copied().map(u32::from_ne_bytes);
            let info = table.info().map_err(Error::libbpf(Step::Pin, name))?;
            if held == Some(info.info.id) { Ok(table) } else { Err(Error::Foreign { path }) }
        })
        .collect()
}

fn row_name(name: &str, row: usize) -> String {
    format!("{name}_{row}")
}

fn open_map(
    path: PathBuf,
    name: &'static str,
    kind: MapType,
    widths: (usize, usize),
) -> Result<MapHandle, Error> {
    let map = MapHandle::from_pinned_path(&path).map_err(Error::libbpf(Step::Pin, name))?;
    // A map of another shape would be read astray.
    let found = (map.key_size() as usize, map.value_size() as usize);
    if map.map_type() == kind && found == widths { Ok(map) } else { Err(Error::Foreign { path }) }
}

//! Looking at pins, and removing them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flow_bpf::{Drain, Sizes, Tables};
use flow_model::{
    edge::{EdgeRecord, EdgeState},
    flow::{Direction, Parity, Slot},
    ledger::Settings,
    page::{ABI, EDGE_WORDS, Geometry, Pages, Region, control},
};
use net_sys::fdinfo;
use serde::Serialize;

use crate::{
    error::{Error, Exit},
    home::home,
    hook::{Lane, is_attached, remove_link, remove_recorded},
    pins::PinDir,
    salvage::remove_known,
    start::start,
};

/// What a pin directory holds.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Form of this answer.
    pub schema: &'static str,
    /// The directory.
    pub pin_dir: PathBuf,
    /// Whether maps are pinned there.
    pub pinned: bool,
    /// Who writes to them, if somebody does and it can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer_pid: Option<u32>,
    /// Progress of the drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStatus>,
    /// Edges that are not free.
    pub edges: Vec<EdgeStatus>,
    /// Pinned links.
    pub links: Vec<LinkStatus>,
    /// Maps with their kernel memory.
    pub maps: Vec<MapStatus>,
}

/// Progress of the drain.
#[derive(Debug, Serialize)]
pub struct LedgerStatus {
    /// Version of layout and meaning.
    pub abi: u64,
    /// The open epoch.
    pub epoch: u64,
    /// The last one with a complete redo log.
    pub journal: u64,
    /// The last one committed.
    pub commit: u64,
    /// The last one whose maps are empty again.
    pub cleared: u64,
    /// Flows per epoch, IPv4.
    pub flow_capacity: u32,
    /// Flows per epoch, IPv6.
    pub flow_capacity6: u32,
    /// Tables per epoch.
    pub shards: u32,
    /// Edges that can be hooked.
    pub max_edges: u32,
    /// What tells flows apart.
    pub flow_key: &'static str,
    /// How full the fullest IPv4 table of the open epoch is.
    pub fill_percent: f64,
    /// Likewise for IPv6.
    pub fill6_percent: f64,
}

/// One edge.
#[derive(Debug, Serialize)]
pub struct EdgeStatus {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: String,
    /// Its device on the host side, 0 if none.
    pub host_ifindex: u32,
    /// Its device in the pod, 0 if not known.
    pub pod_ifindex: u32,
}

/// One pinned link.
#[derive(Debug, Serialize)]
pub struct LinkStatus {
    /// The pin.
    pub path: PathBuf,
    /// Its edge.
    pub edge: u32,
    /// Whether its device still exists.
    pub attached: bool,
}

/// One map.
#[derive(Debug, Serialize)]
pub struct MapStatus {
    /// Its name.
    pub name: &'static str,
    /// Kernel memory, if the kernel tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Form of the answer.
const SCHEMA: &str = "fathom.flows.status/1";

/// Looks at pins without changing anything.
///
/// # Errors
///
/// When the directory can't be trusted or its maps can't be opened.
pub fn status(dir: &Path) -> Result<Status, Error> {
    let mut status = Status {
        schema: SCHEMA,
        pin_dir: dir.to_owned(),
        pinned: false,
        writer_pid: None,
        ledger: None,
        edges: Vec::new(),
        links: Vec::new(),
        maps: Vec::new(),
    };
    let Some(pins) = PinDir::find(dir)? else {
        return Ok(status);
    };
    status.writer_pid = pins.holder();
    if !Tables::is_pinned(pins.path()) {
        status.links = links(&pins, &[], 0);
        return Ok(status);
    }
    status.pinned = true;
    let tables = Arc::new(Tables::open(pins.path(), any_sizes)?);
    let pages = tables.pages()?;
    let open = Parity::of(pages.load(Region::Control, control::EPOCH));
    let fill = Drain::new(Arc::clone(&tables))?.fill(open);
    let word = |word| pages.load(Region::Control, word);
    let geometry = tables.sizes().geometry;
    status.ledger = Some(LedgerStatus {
        abi: word(control::ABI),
        epoch: word(control::EPOCH),
        journal: word(control::JOURNAL),
        commit: word(control::COMMIT),
        cleared: word(control::CLEARED),
        flow_capacity: geometry.flow_capacity4,
        flow_capacity6: geometry.flow_capacity6,
        shards: geometry.shards,
        max_edges: geometry.max_edges,
        flow_key: geometry.flow_key.as_str(),
        fill_percent: 100.0 * fill.v4,
        fill6_percent: 100.0 * fill.v6,
    });
    let known = word(control::ABI) == ABI;
    let records = if known { records(&pages, &geometry) } else { Vec::new() };
    status.edges = records.iter().map(EdgeStatus::from).collect();
    status.links = links(&pins, &records, home(&pages));
    status.maps = maps(&tables);
    Ok(status)
}

const fn any_sizes(geometry: Geometry) -> Sizes {
    Sizes { geometry, edge_quota_percent: 50, early_drain_percent: 75 }
}

/// What the edge book holds, but for free slots.
fn records(pages: &impl Pages, geometry: &Geometry) -> Vec<EdgeRecord> {
    let slots = 1..u16::try_from(geometry.slots()).unwrap_or(u16::MAX);
    let records = slots.filter_map(|slot| {
        let start = usize::from(slot) * EDGE_WORDS;
        let words: [u64; EDGE_WORDS] =
            std::array::from_fn(|at| pages.load(Region::EdgeBook, start + at));
        EdgeRecord::decode(Slot(slot), &words).ok()
    });
    records.filter(|record| record.id.0 != 0 && record.state != EdgeState::Free).collect()
}

impl From<&EdgeRecord> for EdgeStatus {
    fn from(record: &EdgeRecord) -> Self {
        Self {
            id: record.id.0,
            name: record.identity.name.to_string(),
            state: format!("{:?}", record.state).to_lowercase(),
            host_ifindex: record.host_ifindex,
            pod_ifindex: record.pod_ifindex,
        }
    }
}

fn links(pins: &PinDir, records: &[EdgeRecord], home: u64) -> Vec<LinkStatus> {
    let mut links: Vec<LinkStatus> = pins
        .pinned_links()
        .into_iter()
        .map(|(path, edge)| {
            let record = records.iter().find(|record| record.id == edge);
            let attached = is_attached(&path, record, pins, home);
            LinkStatus { path, edge: edge.0, attached }
        })
        .collect();
    links.sort_by(|one, other| one.path.cmp(&other.path));
    links
}

fn maps(tables: &Tables) -> Vec<MapStatus> {
    tables
        .descriptors()
        .map(|(name, fd)| MapStatus { name, bytes: fdinfo::memlock(fd).ok().flatten() })
        .collect()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pins     {}", self.pin_dir.display())?;
        let Some(ledger) = &self.ledger else {
            return writeln!(f, "state    nothing is pinned");
        };
        let attached = self.links.iter().filter(|link| link.attached).count();
        match self.writer_pid {
            Some(pid) => writeln!(f, "writer   process {pid}")?,
            None if attached > 0 => writeln!(f, "writer   none; the kernel counts by itself")?,
            None => writeln!(f, "writer   none; nothing is counted")?,
        }
        writeln!(f, "abi      {}", ledger.abi)?;
        writeln!(
            f,
            "epoch    {} open, journal {}, commit {}, cleared {}",
            ledger.epoch, ledger.journal, ledger.commit, ledger.cleared
        )?;
        let memory: u64 = self.maps.iter().filter_map(|map| map.bytes).sum();
        writeln!(f, "maps     {}, {memory} bytes of kernel memory", self.maps.len())?;
        let [v4, v6] = [ledger.fill_percent, ledger.fill6_percent];
        writeln!(f, "fill     {v4:.1} % of IPv4 flows, {v6:.1} % of IPv6")?;
        writeln!(f, "links    {} of {} attached", attached, self.links.len())?;
        writeln!(f, "edges    {}", self.edges.len())?;
        for edge in &self.edges {
            writeln!(f, "  {:>5}  {:<10} {}", edge.id, edge.state, edge.name)?;
        }
        Ok(())
    }
}

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// Hooks that were there and are gone.
    pub links: usize,
    /// Whether there was a ledger, and it was removed as well.
    pub ledger_removed: bool,
    /// Packets of the last drain, by direction, as the node's counters end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<[u64; 2]>,
    /// The directory, if somebody else has something in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<PathBuf>,
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.links == 0 && self.packets.is_none() {
            return writeln!(f, "nothing was pinned");
        }
        writeln!(f, "{} hooks removed", self.links)?;
        if let Some([tx, rx]) = self.packets {
            writeln!(f, "last counts: {tx} packets sent, {rx} received")?;
        }
        let ledger = if self.ledger_removed { "removed" } else { "kept" };
        writeln!(f, "the ledger is {ledger}")?;
        match &self.left {
            Some(left) => writeln!(f, "{} stays: it holds what is not ours", left.display()),
            None => Ok(()),
        }
    }
}

/// Drains once, then removes hooks and pins. Nothing there is not an error.
///
/// # Errors
///
/// When another process is the writer and stays, a pin can't be removed, or there is no way
/// to a filter: then its pins stay, so that it is known again.
pub fn detach(dir: &Path, keep_ledger: bool) -> Result<Detached, Error> {
    let nothing = Detached { links: 0, ledger_removed: false, packets: None, left: None };
    let Some(pins) = PinDir::find(dir)? else {
        return Ok(nothing);
    };
    let lock = pins.lock(PATIENCE, |_| ())?;
    let pinned = Tables::is_pinned(pins.path());
    let (mut links, mut packets) = (0, None);
    if pinned {
        let last = last_drain(&pins).map_err(|error| salvage(&pins, error))?;
        (links, packets) = (last.removed, Some(last.packets));
    }
    for (path, _) in pins.pinned_links() {
        links += remove_link(&path)?;
    }
    if !keep_ledger {
        Tables::unpin(pins.path())?;
        drop(lock);
    }
    let left = if keep_ledger { None } else { pins.remove_or_tell()? };
    Ok(Detached { links, ledger_removed: pinned && !keep_ledger, packets, left })
}

/// How long `detach` waits for a writer that is ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes hooks whose ledger can't be read as far as they can be recognised without it.
fn salvage(pins: &PinDir, error: Error) -> Error {
    match error {
        Error::Program(_) | Error::ForeignPins { .. } if error.exit() == Exit::Unavailable => {
            let path = pins.path().to_owned();
            remove_known(pins).map_or_else(
                |error| error,
                |removed| Error::DamagedPins { path, removed, why: Box::new(error) },
            )
        }
        other => other,
    }
}

/// What the last drain of a ledger brought.
struct Last {
    /// Hooks that were there and are gone.
    removed: usize,
    /// Packets of the node, by direction.
    packets: [u64; 2],
}

fn last_drain(pins: &PinDir) -> Result<Last, Error> {
    let sizes = *Tables::open(pins.path(), any_sizes)?.sizes();
    // Whatever limit the series had, none of them is to be given up here.
    let settings = Settings { pod_series: usize::MAX, ..Settings::default() };
    let mut engine = start(sizes, settings, Some(pins), Lane::Tcx, &mut ())?.engine;
    let edges: Vec<EdgeRecord> = engine.ledger().edges().collect();
    let (home, mut removed) = (home(engine.ledger().pages()), 0);
    for edge in edges {
        removed += remove_recorded(&edge, pins, home)
            .map_err(|source| Error::Edge { edge: edge.identity.name.to_string(), source })?;
        engine.abandon_recorded(edge.id)?;
    }
    let drained = engine.drain(&mut ())?;
    let packets = Direction::ALL.map(|at| drained.snapshot.node[at as usize].wire.packets);
    Ok(Last { removed, packets })
}

#[cfg(test)]
mod tests;

//! Looking at pins, and removing them.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use flow_bpf::{Sizes, Tables};
use flow_model::{
    edge::{EdgeRecord, EdgeState},
    flow::{Direction, Slot},
    ledger::Settings,
    page::{ABI, EDGE_WORDS, Geometry, Pages, Region, control},
};
use net_sys::fdinfo;
use serde::Serialize;

use crate::{
    error::Error,
    hook::{Lane, is_attached, remove_recorded},
    pins::PinDir,
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
        status.links = links(&pins, &[]);
        return Ok(status);
    }
    status.pinned = true;
    let tables = Tables::open(pins.path(), any_sizes)?;
    let pages = tables.pages()?;
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
    });
    let known = word(control::ABI) == ABI;
    let records = if known { records(&pages, &geometry) } else { Vec::new() };
    status.edges = records.iter().map(EdgeStatus::from).collect();
    status.links = links(&pins, &records);
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

fn links(pins: &PinDir, records: &[EdgeRecord]) -> Vec<LinkStatus> {
    let mut links: Vec<LinkStatus> = pins
        .pinned_links()
        .into_iter()
        .map(|(path, edge)| {
            let record = records.iter().find(|record| record.id == edge);
            let attached = is_attached(&path, record, pins);
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
        match self.writer_pid {
            Some(pid) => writeln!(f, "writer   process {pid}")?,
            None => writeln!(f, "writer   none; the kernel counts by itself")?,
        }
        writeln!(f, "abi      {}", ledger.abi)?;
        writeln!(
            f,
            "epoch    {} open, journal {}, commit {}, cleared {}",
            ledger.epoch, ledger.journal, ledger.commit, ledger.cleared
        )?;
        let memory: u64 = self.maps.iter().filter_map(|map| map.bytes).sum();
        writeln!(f, "maps     {}, {memory} bytes of kernel memory", self.maps.len())?;
        let attached = self.links.iter().filter(|link| link.attached).count();
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
    /// Links removed.
    pub links: usize,
    /// Whether there was a ledger, and it was removed as well.
    pub ledger_removed: bool,
    /// Packets of the last drain, by direction, as the node's counters end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<[u64; 2]>,
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
        writeln!(f, "the ledger is {ledger}")
    }
}

/// Drains once, then removes hooks and pins. Nothing there is not an error.
///
/// # Errors
///
/// When another process is the writer and stays, or a pin can't be removed.
pub fn detach(dir: &Path, keep_ledger: bool) -> Result<Detached, Error> {
    let nothing = Detached { links: 0, ledger_removed: false, packets: None };
    let Some(pins) = PinDir::find(dir)? else {
        return Ok(nothing);
    };
    let lock = pins.lock(PATIENCE, |_| ())?;
    let links = pins.pinned_links();
    let pinned = Tables::is_pinned(pins.path());
    let packets = if pinned { Some(last_drain(&pins)?) } else { None };
    for (path, _) in pins.pinned_links() {
        crate::pins::unpin(&path)?;
    }
    if !keep_ledger {
        Tables::unpin(pins.path())?;
        drop(lock);
        pins.remove()?;
    }
    Ok(Detached { links: links.len(), ledger_removed: pinned && !keep_ledger, packets })
}

/// How long `detach` waits for a writer that is ending.
const PATIENCE: Duration = Duration::from_secs(10);

fn last_drain(pins: &PinDir) -> Result<[u64; 2], Error> {
    let sizes = *Tables::open(pins.path(), any_sizes)?.sizes();
    // Whatever limit the series had, none of them is to be given up here.
    let settings = Settings { pod_series: usize::MAX, ..Settings::default() };
    let mut engine = start(sizes, settings, Some(pins), Lane::Tcx, &mut ())?.engine;
    let edges: Vec<EdgeRecord> = engine.ledger().edges().collect();
    for edge in edges {
        remove_recorded(&edge, pins)
            .map_err(|source| Error::Edge { edge: edge.identity.name.to_string(), source })?;
        engine.abandon_recorded(edge.id)?;
    }
    let drained = engine.drain(&mut ())?;
    Ok(Direction::ALL.map(|direction| drained.snapshot.node[direction as usize].wire.packets))
}

#[cfg(test)]
mod tests;

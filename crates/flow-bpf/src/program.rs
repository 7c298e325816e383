//! The counting program, loaded onto given tables.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use flow_model::flow::{Direction, Slot};
use libbpf_rs::{
    OpenObject, ProgramMut,
    skel::{OpenSkel, SkelBuilder},
};

use crate::{
    error::{Error, Step},
    layout::Config,
    skel::{FlowSkelBuilder, OpenFlowSkel},
    slots::LinkLayer,
    tables::{Maps, Tables},
};

/// Which packets an instance of the program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every device that has a cell in the slot table.
    Shared,
    /// Those of one device: inside a namespace, where an ifindex says nothing, or where
    /// two devices fall into one cell.
    Single {
        /// The device's slot.
        slot: Slot,
        /// How its frames start.
        link_layer: LinkLayer,
    },
}

/// A loaded instance. Dropping it leaves attached hooks alone.
#[derive(Debug)]
pub struct Program {
    tx: Option<OwnedFd>,
    rx: Option<OwnedFd>,
}

impl Program {
    /// Loads the program for the directions asked for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn load(tables: &Tables, scope: Scope, directions: &[Direction]) -> Result<Self, Error> {
        let mut object = MaybeUninit::uninit();
        let mut open = open(&mut object, &tables.maps)?;
        let wants = |direction| directions.contains(&direction);
        open.progs.tc_pod_tx.set_autoload(wants(Direction::Tx));
        open.progs.tc_pod_rx.set_autoload(wants(Direction::Rx));
        open.progs.read_clock.set_autoload(false);
        configure(&mut open, tables.config(), scope);
        let skel = open.load().map_err(Error::libbpf(Step::Load, "flow"))?;
        let own =
            |wanted: bool, program: &ProgramMut<'_>| wanted.then(|| own_fd(program)).transpose();
        Ok(Self {
            tx: own(wants(Direction::Tx), &skel.progs.tc_pod_tx)?,
            rx: own(wants(Direction::Rx), &skel.progs.tc_pod_rx)?,
        })
    }

    /// The program for one direction, if it was asked for.
    pub fn fd(&self, direction: Direction) -> Option<BorrowedFd<'_>> {
        match direction {
            Direction::Tx => self.tx.as_ref(),
            Direction::Rx => self.rx.as_ref(),
        }
        .map(OwnedFd::as_fd)
    }
}

/// Opens the object with every map replaced by the given ones.
fn open<'obj>(
    object: &'obj mut MaybeUninit<OpenObject>,
    maps: &Maps,
) -> Result<OpenFlowSkel<'obj>, Error> {
    let mut open =
        FlowSkelBuilder::default().open(object).map_err(Error::libbpf(Step::Load, "flow"))?;
    let into = &mut open.maps;
    let pairs = [
        (&mut into.control, &maps.control),
        (&mut into.connection_flows, &maps.connection_flows),
        (&mut into.connection_flows6, &maps.connection_flows6),
        (&mut into.grace, &maps.grace),
        (&mut into.slots, &maps.slots),
        (&mut into.totals, &maps.totals),
        (&mut into.folded, &maps.folded),
        (&mut into.fill, &maps.fill),
        (&mut into.edge_fill, &maps.edge_fill),
        (&mut into.fragments, &maps.fragments),
        (&mut into.events, &maps.events),
        (&mut into.events_seen, &maps.events_seen),
        (&mut into.service_ports, &maps.service_ports),
        (&mut into.clock, &maps.clock),
        (&mut into.edge_book, &maps.edge_book),
        (&mut into.pairs, &maps.pairs),
        (&mut into.redo, &maps.redo),
    ];
    for (slot, map) in pairs {
        slot.reuse_fd(map.as_fd()).map_err(Error::libbpf(Step::Load, "flow"))?;
    }
    Ok(open)
}

fn configure(open: &mut OpenFlowSkel<'_>, mut config: Config, scope: Scope) {
    if let Scope::Single { slot, link_layer } = scope {
        config.single = 1;
        config.own_slot = slot.0;
        config.own_flags = link_layer.flags();
    }
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.cfg = config;
    }
}

/// Loads the program that reads the clocks.
pub(crate) fn load_clock(maps: &Maps) -> Result<OwnedFd, Error> {
    let mut object = MaybeUninit::uninit();
    let mut open = open(&mut object, maps)?;
    open.progs.tc_pod_tx.set_autoload(false);
    open.progs.tc_pod_rx.set_autoload(false);
    let skel = open.load().map_err(Error::libbpf(Step::Load, "read_clock"))?;
    own_fd(&skel.progs.read_clock)
}

/// A descriptor of its own, so that the skeleton can go.
pub(crate) fn own_fd(program: &ProgramMut<'_>) -> Result<OwnedFd, Error> {
    program.as_fd().try_clone_to_owned().map_err(|source| Error::new(Step::Load, "flow", source))
}

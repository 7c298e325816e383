//! The programs of the system in the kernel: loaded, told what they need to know, and
//! attached to the devices that the roles name.
//!
//! A reflector has programs and maps of its own, since what it allows is fixed when they
//! are loaded. Senders share those of the reflector whose port they send from, so that one
//! program sees both what is asked and what is answered there.

mod devices;
mod hooks;
mod pins;
mod seat;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use net_sys::Route;
use net_sys::tcx::Order;
use stamp_bpf::{Doorbell, Event, Knobs, Notice, Peer, PortUse, Program, Sizes, Skew, Tables};
use stamp_proto::reflector::{KeyPair, Keys, Policy, Prefix};
use stamp_proto::timestamp::Format;

use crate::clock::HostClock;
use crate::error::Error;
use crate::parse::Member;

pub use devices::outward;
pub(crate) use devices::{Surroundings, Wanted};
pub use hooks::Lane;
use hooks::{Hooks, Way};
pub(crate) use pins::Pins;
pub use pins::{Detached, detach};
pub(crate) use seat::Seat;

/// What is decided before the programs are loaded.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is answered; that of a reflector without ports where there is none.
    pub(crate) policy: Policy,
    /// Format of T2 and T3.
    pub(crate) format: Format,
    /// Whether each answered request is told of.
    pub(crate) watched: bool,
    pub(crate) ports: BTreeMap<u16, PortUse>,
    pub(crate) wanted: Wanted,
    /// Devices that are member links.
    pub(crate) members: Vec<Member>,
    /// Whether the reflector answers in front of tc as well.
    pub(crate) xdp: bool,
    pub(crate) order: Order,
    /// Where maps and links are to stay.
    pub(crate) pins: Option<Pins>,
    pub(crate) lane: Lane,
    /// How wrong their clock is, on purpose.
    pub(crate) skew: Skew,
    /// For how long the programs work on without us.
    pub(crate) lease: Duration,
}

/// Programs and maps that belong together.
#[derive(Debug)]
pub(crate) struct Kernel {
    plan: Plan,
    tables: Arc<Tables>,
    program: Arc<Program>,
    doorbell: Doorbell,
    hooks: Vec<Hooks>,
    /// The sender's target that each session of ours belongs to.
    sessions: Vec<Option<(usize, usize)>>,
    keys: Vec<KeyPair>,
}

impl Kernel {
    /// Loads the programs and attaches them: from here on they answer.
    pub(crate) fn start(plan: Plan, clock: &HostClock) -> Result<Self, Error> {
        let tables = tables(&plan)?;
        let knobs = Knobs::new(&plan.policy, plan.format)
            .watched(plan.watched)
            .xdp(plan.xdp)
            .skewed(plan.skew);
        let program = Program::load(&tables, &knobs)?;
        tables.end_all_peers()?;
        tables.set_keys(&plan.policy.keys)?;
        tables.set_provisioned(plan.policy.provisioned.as_deref().unwrap_or_default())?;
        tables.set_ports(&plan.ports)?;
        let doorbell = tables.doorbell()?;
        let mut kernel = Self {
            plan,
            tables: Arc::new(tables),
            program: Arc::new(program),
            doorbell,
            hooks: Vec::new(),
            sessions: Vec::new(),
            keys: Vec::new(),
        };
        kernel.publish(clock)?;
        kernel.follow_devices(true)?;
        Ok(kernel)
    }

    /// Maps and programs, for whoever counts and answers by them.
    pub(crate) fn parts(&self) -> (Arc<Tables>, Arc<Program>) {
        (Arc::clone(&self.tables), Arc::clone(&self.program))
    }

    /// What has to do with replies since the last time.
    pub(crate) fn ring(&mut self) -> Result<Vec<Notice>, Error> {
        Ok(self.doorbell.drain()?)
    }

    /// How the programs are attached.
    pub(crate) const fn lane(&self) -> Lane {
        self.plan.lane
    }

    /// What could not be told for want of room.
    pub(crate) fn lost_events(&self) -> u64 {
        self.tables.happened(Event::LostEvent).unwrap_or(0)
    }

    /// Readable when there is something to tell.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    /// Tells the programs what time it is, and that we are there.
    pub(crate) fn publish(&self, clock: &HostClock) -> Result<(), Error> {
        Ok(self.tables.publish(&clock.publication(self.plan.lease))?)
    }

    /// Takes over what has changed of devices and addresses, and puts back what somebody
    /// has detached.
    pub(crate) fn look_at_devices(&mut self, have_changed: bool) -> Result<(), Error> {
        if have_changed || !self.hooks.iter().all(Hooks::are_in_place) {
            self.follow_devices(false)?;
        }
        Ok(())
    }

    /// Begins a session with a reflector, for target `target` of sender `sender`.
    pub(crate) fn seat(
        &mut self,
        (sender, target): (usize, usize),
        peer: &Peer,
        keys: Option<&KeyPair>,
    ) -> Result<Seat, Error> {
        let key = keys.map(|pair| self.key(pair)).transpose()?.unwrap_or(0);
        let free = self.sessions.iter().position(Option::is_none);
        let index = free.unwrap_or(self.sessions.len());
        let window = self.tables.begin_peer(index as u32, &Peer { key, ..*peer })?;
        self.sessions.resize(self.sessions.len().max(index + 1), None);
        self.sessions[index] = Some((sender, target));
        Ok(Seat::new(Arc::clone(&self.tables), index as u32, peer, window))
    }

    /// Ends a session, whose packets are the socket's from now on.
    pub(crate) fn leave(&mut self, seat: &Seat) -> Result<(), Error> {
        let (local, remote) = seat.ends();
        self.tables.end_peer(local, remote)?;
        if let Some(session) = self.sessions.get_mut(seat.index() as usize) {
            *session = None;
        }
        Ok(())
    }

    /// Whose session this is.
    pub(crate) fn owner(&self, index: u32) -> Option<(usize, usize)> {
        self.sessions.get(index as usize).copied().flatten()
    }

    /// Has the programs on a device by which a target is reached as well.
    pub(crate) fn reach(&mut self, ifindex: u32) -> Result<(), Error> {
        if self.hooks.iter().any(|hooks| hooks.device().ifindex == ifindex) {
            return Ok(());
        }
        self.plan.wanted.indices.insert(ifindex);
        self.follow_devices(true)
    }

    /// What is left to a later process, and what is not.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let sent_from = |port: &PortUse| PortUse { sender: false, ..*port };
        let ports = self.plan.ports.iter().map(|(&port, of)| (port, sent_from(of))).collect();
        self.tables.set_ports(&ports)?;
        if self.plan.pins.is_none() {
            self.hooks.into_iter().for_each(|hooks| hooks.detach(None));
        }
        Ok(())
    }

    /// Has the reflector take other keys.
    pub(crate) fn set_keys(&mut self, keys: &Keys) -> Result<(), Error> {
        self.tables.set_keys(keys)?;
        self.plan.policy.keys = keys.clone();
        Ok(())
    }

    /// Puts a key of sessions of ours in the place of another, for all of them.
    pub(crate) fn change_key(&mut self, old: &KeyPair, new: &KeyPair) -> Result<(), Error> {
        let place = self.keys.iter().position(|known| known == old);
        if let Some(number) = place {
            self.tables.set_peer_key(number as u32, Some(new))?;
            self.keys[number] = *new;
        }
        Ok(())
    }

    /// Number of a key that sessions of ours are signed with.
    fn key(&mut self, pair: &KeyPair) -> Result<u32, Error> {
        let known = self.keys.iter().position(|known| known == pair);
        let number = known.unwrap_or(self.keys.len());
        if known.is_none() {
            self.tables.set_peer_key(number as u32, Some(pair))?;
            self.keys.push(*pair);
        }
        Ok(number as u32)
    }

    /// Attaches to what is new, lets go of what is gone, and tells the programs by which
    /// addresses they are called. A device that is named must be there at the start only.
    fn follow_devices(&mut self, is_start: bool) -> Result<(), Error> {
        let mut route = Route::open()?;
        let (links, addresses) = (route.links(None)?, route.addresses(None)?);
        if let Some(device) = self.plan.wanted.missing(&links).filter(|_| is_start) {
            return Err(Error::NoDevice { device: device.to_owned() });
        }
        let devices = self.plan.wanted.among(&links, &addresses);
        self.tables.set_addresses(&devices::locals(&devices, &addresses, &self.plan.members))?;
        let policy = &self.plan.policy;
        let own = devices::subnets(&devices, &addresses);
        let allow: Vec<Prefix> = policy.allow.iter().chain(own).collect();
        let (deny, light) = (policy.deny.iter().collect::<Vec<_>>(), policy.twamp_light.iter());
        self.tables.set_prefixes(&allow, &deny, &light.collect::<Vec<_>>())?;
        self.keep_hooks(&devices);
        let pins = self.plan.pins.as_ref().map(Pins::links);
        let way = Way {
            lane: self.plan.lane,
            order: self.plan.order,
            pins: pins.as_deref(),
            port: self.plan.ports.keys().next().copied().unwrap_or(0),
        };
        for device in devices {
            if self.hooks.iter().any(|hooks| *hooks.device() == device) {
                continue;
            }
            match Hooks::attach(&device, &self.program, &way) {
                Ok(hooks) => self.hooks.push(hooks),
                Err(error) if is_start => return Err(error),
                Err(error) => tracing::warn!(
                    event = "stamp.unattached",
                    device = device.name,
                    %error,
                    "No programs at a device; it is tried again when something changes"
                ),
            }
        }
        Ok(())
    }

    /// Lets go of devices that are not wanted any more, and of what others detached.
    fn keep_hooks(&mut self, devices: &[devices::Device]) {
        let pins = self.plan.pins.as_ref().map(Pins::links);
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.hooks)
            .into_iter()
            .partition(|hooks| devices.contains(hooks.device()) && hooks.are_in_place());
        self.hooks = kept;
        gone.into_iter().for_each(|hooks| hooks.detach(pins.as_deref()));
        let keep: Vec<u32> = devices.iter().map(|device| device.ifindex).collect();
        if let Some(Err(error)) = pins.map(|dir| hooks::detach_others(&dir, &keep)) {
            tracing::warn!(event = "stamp.pins", %error, "Pins of devices that are gone stay");
        }
    }
}

/// The maps of an earlier process where they are ours, or new ones.
fn tables(plan: &Plan) -> Result<Tables, Error> {
    let Some(pins) = &plan.pins else { return Ok(Tables::create(sizes(&plan.policy))?) };
    match Tables::open(pins.maps()) {
        Ok(tables) => {
            tracing::info!(event = "lease.adopted", "A reflector goes on where it was left");
            return Ok(tables);
        }
        Err(error) => tracing::debug!(event = "stamp.fresh", %error, "Sessions begin anew"),
    }
    let tables = Tables::create(sizes(&plan.policy))?;
    Tables::unpin(pins.maps())?;
    tables.pin(pins.maps())?;
    Ok(tables)
}

fn sizes(policy: &Policy) -> Sizes {
    let sessions = u32::try_from(policy.max_sessions).unwrap_or(u32::MAX).max(1);
    Sizes { sessions, ..Sizes::default() }
}

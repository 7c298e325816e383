//! The programs, loaded onto given tables.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::ProgramMut;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use stamp_proto::clock::MonoTime;
use stamp_proto::reflector::{Entered, Place, SessionKey};
use stamp_proto::timestamp::Timestamp;

use crate::error::{Error, Step};
use crate::knobs::Knobs;
use crate::layout::{
    COUNT_AND_NUMBER, COUNT_ONLY, ENTERED_NUMBERED, ENTERED_REPLAY, EntryRecord, NUMBER_ONLY,
    Record as _, XdpConfig, last_reply, session_record_key,
};
use crate::skel::StampSkelBuilder;
use crate::tables::Tables;
use crate::testrun::{self, Frame};
use crate::xdp_skel::StampXdpSkelBuilder;

/// How the frames of a device start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header: tun, WireGuard.
    None,
}

/// The loaded programs. Dropping them leaves attached hooks alone.
#[derive(Debug)]
pub struct Program {
    ingress: OwnedFd,
    ingress_l3: OwnedFd,
    egress: OwnedFd,
    egress_l3: OwnedFd,
    enter: OwnedFd,
    xdp: Option<OwnedFd>,
}

impl Program {
    /// Loads the programs onto `tables`, which others may be loaded onto as well.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn load(tables: &Tables, knobs: &Knobs) -> Result<Self, Error> {
        let failed = || Error::libbpf(Step::Load, "stamp");
        let mut object = MaybeUninit::uninit();
        let mut open = StampSkelBuilder::default().open(&mut object).map_err(failed())?;
        tables.maps.lend(open.open_object_mut()).map_err(failed())?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.cfg = knobs.config();
        }
        let skel = open.load().map_err(failed())?;
        Ok(Self {
            ingress: own_fd(&skel.progs.stamp_ingress)?,
            ingress_l3: own_fd(&skel.progs.stamp_ingress_l3)?,
            egress: own_fd(&skel.progs.stamp_egress)?,
            egress_l3: own_fd(&skel.progs.stamp_egress_l3)?,
            enter: own_fd(&skel.progs.stamp_enter)?,
            xdp: knobs.wants_xdp().then(|| load_xdp(tables, knobs)).transpose()?,
        })
    }

    /// What is attached to the ingress side of a device.
    pub fn ingress(&self, link: LinkLayer) -> BorrowedFd<'_> {
        match link {
            LinkLayer::Ethernet => self.ingress.as_fd(),
            LinkLayer::None => self.ingress_l3.as_fd(),
        }
    }

    /// What is attached to the egress side of a device.
    pub fn egress(&self, link: LinkLayer) -> BorrowedFd<'_> {
        match link {
            LinkLayer::Ethernet => self.egress.as_fd(),
            LinkLayer::None => self.egress_l3.as_fd(),
        }
    }

    /// What is attached in front of tc, as an XDP program; only with [`Knobs::xdp`]. It
    /// takes kernel 5.18, and answers what needs nothing special; the rest goes on to
    /// the ingress program, which is to be attached as well.
    pub fn xdp(&self) -> Option<BorrowedFd<'_>> {
        self.xdp.as_ref().map(OwnedFd::as_fd)
    }

    /// Counts a request that user space is about to answer in its session, which may
    /// begin with it: in one step, whatever packets of the session meet the programs
    /// meanwhile. `sequence` and `sent` are the request's, `now` is when it came;
    /// `numbered` says whether its reply is to have a number of the session.
    ///
    /// With a number goes that T3 of the reply, which the egress program writes, is
    /// remembered for the Follow-Up of the next.
    ///
    /// # Errors
    ///
    /// When the kernel does not run the program.
    pub fn enter(
        &self,
        key: &SessionKey,
        sequence: u32,
        sent: Timestamp,
        now: MonoTime,
        numbered: bool,
    ) -> Result<Entered, Error> {
        self.run_enter(&EntryRecord {
            key: session_record_key(key),
            asked_sequence: sequence,
            numbered: if numbered { COUNT_AND_NUMBER } else { COUNT_ONLY },
            asked: sent.bits(),
            now_ns: now.as_ns().cast_unsigned(),
            ..EntryRecord::default()
        })
    }

    /// The number of one more reply to a request that was counted.
    ///
    /// # Errors
    ///
    /// When the kernel does not run the program.
    pub fn enter_reply(&self, key: &SessionKey, now: MonoTime) -> Result<Entered, Error> {
        self.run_enter(&EntryRecord {
            key: session_record_key(key),
            numbered: NUMBER_ONLY,
            now_ns: now.as_ns().cast_unsigned(),
            ..EntryRecord::default()
        })
    }

    fn run_enter(&self, entry: &EntryRecord) -> Result<Entered, Error> {
        let done = testrun::run(self.enter.as_fd(), &Frame::new(entry.octets()))?;
        let entry = EntryRecord::from_octets(&done.octets).filter(|_| done.verdict == NEXT);
        let broken = || Error::new(Step::TestRun, "stamp_enter", io::ErrorKind::InvalidData.into());
        entry.as_ref().map(entered).ok_or_else(broken)
    }
}

fn entered(entry: &EntryRecord) -> Entered {
    match entry.verdict {
        ENTERED_REPLAY => Entered::Replay,
        ENTERED_NUMBERED => Entered::Numbered(Place {
            number: entry.sequence,
            received: entry.received,
            last_reply: last_reply(entry.answered_sequence, entry.answered),
            ahead: entry.is_ahead != 0,
        }),
        _ => Entered::Unnumbered,
    }
}

fn load_xdp(tables: &Tables, knobs: &Knobs) -> Result<OwnedFd, Error> {
    let failed = || Error::libbpf(Step::Load, "stamp_xdp");
    let mut object = MaybeUninit::uninit();
    let mut open = StampXdpSkelBuilder::default().open(&mut object).map_err(failed())?;
    tables.maps.lend(open.open_object_mut()).map_err(failed())?;
    let config = XdpConfig::from_octets(knobs.config().octets());
    if let Some((rodata, config)) = open.maps.rodata_data.as_deref_mut().zip(config) {
        rodata.cfg = config;
    }
    own_fd(&open.load().map_err(failed())?.progs.stamp_xdp)
}

/// A descriptor of its own, so that the skeleton can go.
fn own_fd(program: &ProgramMut<'_>) -> Result<OwnedFd, Error> {
    program.as_fd().try_clone_to_owned().map_err(|source| Error::new(Step::Load, "stamp", source))
}

/// What a program answers that did what it was asked to.
const NEXT: i32 = -1;

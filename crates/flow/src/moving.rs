//! Moving the ledger to maps of other sizes while packets go on being counted.
//!
//! The new maps are pinned beside the old ones, without a ledger. Every link is given a
//! program on the new maps, so from then on a packet counts there. After a grace period
//! the old maps have no writer; the old ledger takes in what they hold, and the new
//! ledger begins with its snapshot. The new ledger's magic word is the moment of truth:
//! before it a restart goes on with the move, behind it a restart drops the old pins.

mod pods;

use std::{fs, sync::Arc};

use flow_bpf::{Drain, LinkLayer, Program, Scope, SharedPages, Sizes, SlotCell, Tables};
use flow_model::{
    edge::{Attachment, EdgeRecord, EdgeState, Place},
    flow::{Direction, Parity, Slot},
    ledger::{Found, Ledger, Legacy, Settings, inspect},
    page::{Geometry, Pages, Region, control},
    snapshot::{EdgeRow, Snapshot},
};
use net_sys::tcx::TcxLink;
use pods::retire_lightest;

use crate::{
    account::Mark,
    error::{Error, SiteError},
    home::{carry, home},
    hook::{Hook, has_pin, home_of, remove_recorded},
    pins::{PinDir, file},
    site::Site,
    time::now,
};

/// Moves to new maps.
pub(crate) fn begin(
    pins: &PinDir,
    old: Tables,
    new: Tables,
    settings: &Settings,
) -> Result<(), Error> {
    let next = pins.next();
    fs::create_dir_all(&next).map_err(|source| file(&next, source))?;
    new.sizes().geometry.note(&mut new.pages()?);
    new.pin(&next)?;
    carry_over(pins, old, new, settings)
}

/// Goes on with a move that an earlier process did not finish, whatever sizes it had.
pub(crate) fn resume(pins: &PinDir, wanted: Sizes, settings: &Settings) -> Result<(), Error> {
    let next = pins.next();
    if !next.is_dir() {
        return Ok(());
    }
    if !Tables::is_pinned(&next) {
        return drop_next(pins);
    }
    let sized = |geometry: Geometry| Sizes { geometry, ..wanted };
    let new = Tables::open(&next, sized)?;
    let born = inspect(&new.pages()?, &new.sizes().geometry) == Found::Ours;
    if !born {
        // Links may count into the new maps already.
        let old = Tables::open(pins.path(), sized)?;
        return carry_over(pins, old, new, settings);
    }
    finish(pins)
}

fn carry_over(pins: &PinDir, old: Tables, new: Tables, settings: &Settings) -> Result<(), Error> {
    let geometry = old.sizes().geometry;
    let pages = old.pages()?;
    if inspect(&pages, &geometry) != Found::Ours {
        // Nothing to carry: the start deals with what is there.
        return drop_next(pins);
    }
    let mut drain = Drain::new(Arc::new(old))?;
    let (mut ledger, _) =
        Ledger::open(pages, geometry, settings.clone(), &mut drain, now(), &mut ())?;
    let edges: Vec<EdgeRecord> = ledger.edges().collect();
    let opening = opening_epoch(&ledger, &mut new.pages()?);
    let home = home(ledger.pages());
    carry(ledger.pages(), &mut new.pages()?);
    swap_links(pins, &new, &edges, home)?;
    let_go_beyond(pins, &new, &edges, home)?;
    new.grace()?;
    // Both parities have to be drained, and the new ledger has to open in the one that
    // packets count in already.
    let mut past = ledger.drain(&mut drain, now(), &mut ())?.snapshot;
    for _ in 0..2 {
        past = ledger.drain(&mut drain, now(), &mut ())?.snapshot;
        if Parity::of(past.epoch + 1) == Parity::of(opening) {
            break;
        }
    }
    let geometry = new.sizes().geometry;
    let mut past = Snapshot::clone(&past);
    retire_lightest(&mut past, settings.pod_series);
    past.edges.iter_mut().for_each(rebase);
    let legacy = Legacy::Ledger(&past);
    Ledger::create(new.pages()?, geometry, settings.clone(), now(), legacy)?;
    finish(pins)
}

/// The new maps count an edge from zero.
fn rebase(edge: &mut EdgeRow) {
    let words = &mut edge.record.baseline;
    for at in Direction::ALL {
        if let Some(mark) = Mark::load(words, at) {
            mark.rebased(edge.totals[at as usize].wire).store(words, at);
        }
    }
}

/// The epoch that packets count in on the new maps until these have a ledger: the one
/// that it will open with, unless a crash comes between.
fn opening_epoch(old: &Ledger<SharedPages>, new: &mut SharedPages) -> u64 {
    let noted = new.load(Region::Control, control::EPOCH);
    if noted != 0 {
        return noted;
    }
    let opening = old.pages().load(Region::Control, control::EPOCH) + 2;
    new.store(Region::Control, control::EPOCH, opening);
    opening
}

/// Gives every live edge a program on the new maps, in the slot that the new ledger will
/// find it in: the k-th live edge has slot k.
fn swap_links(pins: &PinDir, new: &Tables, edges: &[EdgeRecord], home: u64) -> Result<(), Error> {
    let live = edges.iter().filter(|edge| edge.state == EdgeState::Live);
    let carried = live.take(new.sizes().geometry.max_edges as usize);
    for (slot, edge) in (1..).zip(carried) {
        for direction in Direction::ALL {
            match swap(pins, new, edge, (Slot(slot), direction), home) {
                Err(source) if !is_gone(&source) => {
                    return Err(Error::Edge { edge: edge.identity.name.to_string(), source });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Takes the hooks of live edges away that have no slot in the new maps: nobody would read
/// what they count.
fn let_go_beyond(
    pins: &PinDir,
    new: &Tables,
    edges: &[EdgeRecord],
    home: u64,
) -> Result<(), Error> {
    let live = edges.iter().filter(|edge| edge.state == EdgeState::Live);
    for edge in live.skip(new.sizes().geometry.max_edges as usize) {
        remove_recorded(edge, pins, home)
            .map_err(|source| Error::Edge { edge: edge.identity.name.to_string(), source })?;
    }
    Ok(())
}

fn swap(
    pins: &PinDir,
    new: &Tables,
    edge: &EdgeRecord,
    (slot, direction): (Slot, Direction),
    home: u64,
) -> Result<(), SiteError> {
    let record = edge.hooks[direction as usize];
    let pin = pins.link(edge.id, direction);
    if !has_pin(&pin) {
        // Its process was killed before the hook could outlive it.
        return Ok(());
    }
    let site = home_of(home, pins)
        .and_then(|home| Site::recorded(edge, direction, pins.netns_dirs(), &home));
    let link_layer = site.as_ref().map_or(LinkLayer::Ethernet, |site| site.link_layer);
    if record.place == Place::Host {
        // For the programs that the start puts in place of this one.
        new.assign_slot(SlotCell { ifindex: edge.host_ifindex, slot, link_layer })?;
    }
    let program = Program::load(new, Scope::Single { slot, link_layer }, &[direction])?;
    let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
    if record.attachment == Attachment::Tcx {
        // A link is updated without a way to its device.
        return Ok(TcxLink::open_pinned(&pin)?.update(program)?);
    }
    Hook::adopt(&site?, record, &pin)?.update(direction, program, &pin)
}

/// Whether a hook can't be swapped because its device is gone: then nothing is counted
/// by it either.
fn is_gone(error: &SiteError) -> bool {
    matches!(error.reason(), "device_gone" | "no_netns")
}

/// The new ledger is complete: its maps take the place of the old ones.
fn finish(pins: &PinDir) -> Result<(), Error> {
    Tables::unpin(pins.path())?;
    Tables::move_pins(&pins.next(), pins.path())?;
    drop_next(pins)
}

fn drop_next(pins: &PinDir) -> Result<(), Error> {
    Tables::unpin(&pins.next())?;
    fs::remove_dir(pins.next()).map_err(|source| file(&pins.next(), source))
}

#[cfg(test)]
mod tests;

//! From a pin directory to an engine: fresh, continued, or moved to other sizes.

use std::sync::Arc;

use flow_bpf::{Drain, Sizes, Step, Tables};
use flow_model::{
    flow::{Counts, Parity, Totals},
    kernel::Kernel as _,
    ledger::{Foreign, Found, Ledger, Legacy, Observer, Recovery, Settings, inspect},
    page::Geometry,
};

use crate::{
    engine::Engine, error::Error, fitting::fit, hook::Lane, moving, pins::PinDir, time::now,
};

/// An engine and what its start had to do.
#[derive(Debug)]
pub(crate) struct Started {
    /// The engine.
    pub(crate) engine: Engine,
    /// What became of an epoch that another process left unfinished.
    pub(crate) recovery: Option<Recovery>,
    /// Whether the ledger had to move to maps of other sizes.
    pub(crate) moved: bool,
}

/// Opens or makes the kernel side. The caller holds the lock of `pins`.
pub(crate) fn start(
    sizes: Sizes,
    settings: Settings,
    pins: Option<&PinDir>,
    lane: Lane,
    observer: &mut impl Observer,
) -> Result<Started, Error> {
    let Some(pins) = pins else {
        let engine = Engine::private(sizes, settings, lane)?;
        return Ok(Started { engine, recovery: None, moved: false });
    };
    moving::resume(pins, sizes, &settings)?;
    if !Tables::is_pinned(pins.path()) {
        return fresh(pins, sizes, settings, lane, Legacy::None);
    }
    let tables = open(pins, |geometry| Sizes { geometry, ..sizes })?;
    let pages = tables.pages()?;
    match inspect(&pages, &sizes.geometry) {
        Found::Ours => {}
        Found::Fresh => {
            Tables::unpin(pins.path())?;
            return fresh(pins, sizes, settings, lane, Legacy::None);
        }
        Found::OtherGeometry(mismatch) => {
            drop(pages);
            let (new, fitted) = fit(sizes, Tables::create)?;
            // Where memory is short the sizes that are there may be those that fit.
            let moves = fitted.geometry != tables.sizes().geometry;
            if moves {
                tracing::info!(event = "ledger.migrated", %mismatch, "The ledger moves to maps of other sizes");
                moving::begin(pins, tables, new, &settings)?;
            }
            let started = start(fitted, settings, Some(pins), lane, observer)?;
            return Ok(Started { moved: moves, ..started });
        }
        Found::Foreign(Foreign::Magic) => return Err(not_ours(pins, Foreign::Magic.to_string())),
        Found::Foreign(why) => {
            return totals_only(pins, tables, sizes, settings, lane, &why.to_string());
        }
        Found::Previous { abi } => {
            return totals_only(pins, tables, sizes, settings, lane, &format!("ABI {abi}"));
        }
    }
    let tables = Arc::new(tables);
    let mut drain = Drain::new(Arc::clone(&tables))?;
    let (ledger, recovery) =
        Ledger::open(pages, sizes.geometry, settings, &mut drain, now(), observer)?;
    let engine = Engine::new(tables, drain, ledger, lane);
    Ok(Started { engine, recovery: Some(recovery), moved: false })
}

fn open(pins: &PinDir, sizes: impl Fn(Geometry) -> Sizes) -> Result<Tables, Error> {
    Tables::open(pins.path(), sizes).map_err(|error| match error {
        flow_bpf::Error::Foreign { .. } | flow_bpf::Error::Kernel { step: Step::Pin, .. }
            if !error.is_permission() =>
        {
            not_ours(pins, error.to_string())
        }
        other => other.into(),
    })
}

fn not_ours(pins: &PinDir, why: String) -> Error {
    Error::ForeignPins { path: pins.path().to_owned(), why }
}

fn fresh(
    pins: &PinDir,
    sizes: Sizes,
    settings: Settings,
    lane: Lane,
    legacy: Legacy<'_>,
) -> Result<Started, Error> {
    let (tables, sizes) = fit(sizes, Tables::create)?;
    let tables = Arc::new(tables);
    let drain = Drain::new(Arc::clone(&tables))?;
    let ledger = Ledger::create(tables.pages()?, sizes.geometry, settings, now(), legacy)?;
    tables.pin(pins.path())?;
    let engine = Engine::new(tables, drain, ledger, lane);
    Ok(Started { engine, recovery: None, moved: false })
}

/// Nothing but the kernel's totals can be believed: they go on as retired amounts, in
/// new maps. Hooks on the old maps go with their pins.
fn totals_only(
    pins: &PinDir,
    tables: Tables,
    sizes: Sizes,
    settings: Settings,
    lane: Lane,
    why: &str,
) -> Result<Started, Error> {
    tracing::warn!(event = "ledger.foreign", why, "Only totals of the pinned maps are kept");
    for (path, _) in pins.pinned_links() {
        crate::pins::unpin(&path)?;
    }
    tables.grace()?;
    let totals = all_totals(tables)?;
    Tables::unpin(pins.path())?;
    fresh(pins, sizes, settings, lane, Legacy::Totals(totals))
}

/// What the kernel counted in all slots and both parities, by direction.
fn all_totals(tables: Tables) -> Result<[Totals; 2], Error> {
    let slots = tables.sizes().geometry.slots();
    let mut drain = Drain::new(Arc::new(tables))?;
    let mut sums = [Totals::default(); 2];
    let mut cells = vec![[Totals::default(); 2]; slots];
    for parity in Parity::ALL {
        drain.totals(parity, &mut cells)?;
        for slot in &cells {
            for (sum, cell) in sums.iter_mut().zip(slot) {
                add(&mut sum.wire, cell.wire);
                add(&mut sum.skb, cell.skb);
            }
        }
    }
    Ok(sums)
}

fn add(sum: &mut Counts, counts: Counts) {
    *sum += counts;
}

//! From a pin directory to an engine: fresh, continued, or moved to other sizes.

use std::sync::Arc;

use flow_bpf::{Drain, Sizes, Step, Tables};
use flow_model::{
    flow::{Counts, Parity, Totals},
    kernel::Kernel as _,
    ledger::{Foreign, Found, Ledger, Legacy, Observer, Recovery, Settings, inspect},
    page::{Geometry, Mismatch},
};

use crate::{
    engine::Engine,
    error::Error,
    fitting::fit,
    hook::Lane,
    moving,
    pins::{PinDir, unpin},
    time::now,
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
    Wanted { pins, sizes, settings, lane }.open(observer)
}

/// What there is to be.
struct Wanted<'a> {
    pins: &'a PinDir,
    sizes: Sizes,
    settings: Settings,
    lane: Lane,
}

impl Wanted<'_> {
    fn open(self, observer: &mut impl Observer) -> Result<Started, Error> {
        moving::resume(self.pins, self.sizes, &self.settings)?;
        if !Tables::is_pinned(self.pins.path()) {
            return self.fresh(Legacy::None);
        }
        let tables = self.tables()?;
        let found = inspect(&tables.pages()?, &self.sizes.geometry);
        match found {
            Found::Ours => self.go_on(tables, observer),
            Found::Fresh => {
                Tables::unpin(self.pins.path())?;
                self.fresh(Legacy::None)
            }
            Found::OtherGeometry(mismatch) => self.resize(tables, &mismatch, observer),
            Found::Foreign(Foreign::Magic) => Err(not_ours(self.pins, Foreign::Magic.to_string())),
            Found::Foreign(why) => self.totals_only(tables, &why.to_string()),
            Found::Previous { abi } => self.totals_only(tables, &format!("ABI {abi}")),
        }
    }

    fn tables(&self) -> Result<Tables, Error> {
        let sized = |geometry: Geometry| Sizes { geometry, ..self.sizes };
        Tables::open(self.pins.path(), sized).map_err(|error| match error {
            flow_bpf::Error::Foreign { .. } | flow_bpf::Error::Kernel { step: Step::Pin, .. }
                if !error.is_permission() =>
            {
                not_ours(self.pins, error.to_string())
            }
            other => other.into(),
        })
    }

    /// Moves to the wanted sizes, or to those that fit.
    fn resize(
        self,
        tables: Tables,
        mismatch: &Mismatch,
        observer: &mut impl Observer,
    ) -> Result<Started, Error> {
        let (new, fitted) = fit(self.sizes, Tables::create)?;
        // Where memory is short the sizes that are there may be those that fit.
        let moves = fitted.geometry != tables.sizes().geometry;
        if moves {
            tracing::info!(event = "ledger.migrated", %mismatch, "The ledger moves to maps of other sizes");
            moving::begin(self.pins, tables, new, &self.settings)?;
        }
        let started = Self { sizes: fitted, ..self }.open(observer)?;
        Ok(Started { moved: moves, ..started })
    }

    fn go_on(self, tables: Tables, observer: &mut impl Observer) -> Result<Started, Error> {
        let (pages, geometry) = (tables.pages()?, self.sizes.geometry);
        let tables = Arc::new(tables);
        let mut drain = Drain::new(Arc::clone(&tables))?;
        let settings = self.settings.clone();
        let (ledger, recovery) =
            Ledger::open(pages, geometry, settings, &mut drain, now(), observer)?;
        let engine = Engine::new(tables, drain, ledger, self.lane).pinned_in(self.pins);
        let started = Started { engine, recovery: Some(recovery), moved: false };
        let pods = started.engine.ledger().snapshot().pods.rows.len();
        if pods <= self.settings.pod_series {
            return Ok(started);
        }
        self.retire_pods(started, pods, observer)
    }

    /// Moves to maps of the same sizes, because a ledger gives series up where it begins.
    fn retire_pods(
        self,
        started: Started,
        pods: usize,
        observer: &mut impl Observer,
    ) -> Result<Started, Error> {
        let (new, fitted) = fit(self.sizes, Tables::create)?;
        let (limit, fits) = (self.settings.pod_series, fitted == self.sizes);
        if !fits {
            tracing::warn!(
                event = "ledger.migrated",
                pods,
                limit,
                "Memory is short: all pods keep their series"
            );
            return Ok(started);
        }
        tracing::info!(
            event = "ledger.migrated",
            pods,
            limit,
            "The lightest pods give up their series"
        );
        let recovery = started.recovery;
        drop(started);
        moving::begin(self.pins, self.tables()?, new, &self.settings)?;
        Ok(Started { recovery, moved: true, ..self.open(observer)? })
    }

    fn fresh(self, legacy: Legacy<'_>) -> Result<Started, Error> {
        let (tables, sizes) = fit(self.sizes, Tables::create)?;
        let tables = Arc::new(tables);
        let drain = Drain::new(Arc::clone(&tables))?;
        let ledger = Ledger::create(tables.pages()?, sizes.geometry, self.settings, now(), legacy)?;
        tables.pin(self.pins.path())?;
        let engine = Engine::new(tables, drain, ledger, self.lane).pinned_in(self.pins);
        Ok(Started { engine, recovery: None, moved: false })
    }

    /// Nothing but the kernel's totals can be believed: they go on as retired amounts, in
    /// new maps. Hooks on the old maps go with their pins.
    fn totals_only(self, tables: Tables, why: &str) -> Result<Started, Error> {
        tracing::warn!(event = "ledger.foreign", why, "Only totals of the pinned maps are kept");
        for (path, _) in self.pins.pinned_links() {
            unpin(&path)?;
        }
        tables.grace()?;
        let totals = all_totals(tables)?;
        Tables::unpin(self.pins.path())?;
        self.fresh(Legacy::Totals(totals))
    }
}

fn not_ours(pins: &PinDir, why: String) -> Error {
    Error::ForeignPins { path: pins.path().to_owned(), why }
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

#[cfg(test)]
mod tests;

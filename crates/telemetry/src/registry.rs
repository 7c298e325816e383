//! The life of every collector, and what the process says about itself.
//!
//! A collector registers its catalogue once, then publishes whole snapshots that replace
//! each other atomically: a scrape never sees half of one and never waits for the next.
//! State, readiness and liveness are kept beside the numbers. The registry never calls a
//! collector; only cheap sources about the process itself are read at scrape time.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use crate::catalogue::{Catalogue, Fault};
use crate::metric::Family;

mod collector;
mod health;
mod own;
mod process;

pub use self::collector::{CollectorHandle, Options};
pub use self::health::{Check, Health};
pub use self::own::Build;

use self::collector::Collector;
use self::own::{Own, Reloads};

/// Every catalogue that this crate itself brings, for the reference documentation.
pub const CATALOGUES: &[Catalogue] = &[
    own::CATALOGUE,
    process::CATALOGUE,
    crate::admin::CATALOGUE,
    crate::logs::CATALOGUE,
    crate::otlp::CATALOGUE,
];

/// Something about the process that is read at scrape time.
pub trait Source: Send + Sync {
    /// The present numbers; must be quick and must not block.
    fn families(&self) -> Vec<Family>;
}

/// Where collectors register and where scrapes, pushes and probes read.
///
/// Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    began: Instant,
    started: SystemTime,
    reloads: Reloads,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    names: HashMap<&'static str, &'static str>,
    catalogues: Vec<Catalogue>,
    collectors: Vec<Arc<Collector>>,
    sources: Vec<Arc<dyn Source>>,
}

impl Registry {
    /// A registry that already tells about the build, the process and configuration reloads.
    pub fn new(build: Build) -> Self {
        let inner = Inner {
            began: Instant::now(),
            started: SystemTime::now(),
            reloads: Reloads::default(),
            entries: RwLock::default(),
        };
        let registry = Self { inner: Arc::new(inner) };
        registry.bring(own::CATALOGUE, Arc::new(Own::new(build)));
        registry.bring(process::CATALOGUE, Arc::new(process::Process::detect()));
        registry
    }

    /// Registers a collector with the usual options.
    pub fn collector(
        &self,
        name: &'static str,
        catalogue: Catalogue,
    ) -> Result<CollectorHandle, RegistryError> {
        self.collector_with(name, catalogue, Options::default())
    }

    /// Registers a collector.
    pub fn collector_with(
        &self,
        name: &'static str,
        catalogue: Catalogue,
        options: Options,
    ) -> Result<CollectorHandle, RegistryError> {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.collectors.iter().any(|collector| collector.name() == name) {
            return Err(RegistryError::CollectorTwice { name });
        }
        entries.claim(name, catalogue)?;
        let collector = Arc::new(Collector::new(name, catalogue, options, self.inner.began));
        entries.collectors.push(Arc::clone(&collector));
        Ok(CollectorHandle::new(collector))
    }

    /// Registers numbers that are read at scrape time.
    pub fn source(
        &self,
        name: &'static str,
        catalogue: Catalogue,
        source: Arc<dyn Source>,
    ) -> Result<(), RegistryError> {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.claim(name, catalogue)?;
        entries.sources.push(source);
        Ok(())
    }

    /// Notes how a reload of the configuration ended.
    pub fn config_reloaded(&self, good: bool) {
        self.inner.reloads.note(good, SystemTime::now());
    }

    /// Everything that is known now, consistent for each collector.
    pub fn snapshot(&self) -> Snapshot {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut parts: Vec<_> = entries.collectors.iter().map(|c| c.snapshot()).collect();
        let mut about = own::collectors(&entries.collectors);
        let sources = entries.sources.clone();
        drop(entries);
        about.extend(self.inner.reloads.families());
        about.extend(sources.iter().flat_map(|source| source.families()));
        for family in &mut about {
            family.settle(usize::MAX, |_| true);
        }
        parts.push(Arc::new(about));
        Snapshot { parts }
    }

    /// The first collector that still withholds `/metrics` because it has not started.
    pub fn withheld_by(&self) -> Option<&'static str> {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.collectors.iter().find(|c| c.withholds()).map(|c| c.name())
    }

    /// Whether every condition that collectors declared is met.
    pub fn readiness(&self) -> Health {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        Health::of(entries.collectors.iter().flat_map(|c| c.readiness()).collect())
    }

    /// Whether every collector that beats has done so within its limit before `now`.
    pub fn liveness(&self, now: Instant) -> Health {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        Health::of(entries.collectors.iter().filter_map(|c| c.liveness(now)).collect())
    }

    /// Every catalogue that was registered, for reference and for look-ups.
    pub fn catalogues(&self) -> Vec<Catalogue> {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.catalogues.clone()
    }

    /// When the registry was made; the start time of series that know no other.
    pub fn started(&self) -> SystemTime {
        self.inner.started
    }

    fn bring(&self, catalogue: Catalogue, source: Arc<dyn Source>) {
        let brought = self.source("telemetry", catalogue, source);
        debug_assert!(brought.is_ok(), "own catalogues are tested to be faultless: {brought:?}");
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("started", &self.inner.started).finish_non_exhaustive()
    }
}

/// All families at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    parts: Vec<Arc<Vec<Family>>>,
}

impl Snapshot {
    /// The families, sorted by name.
    pub fn families(&self) -> Vec<&Family> {
        let mut families: Vec<_> = self.parts.iter().flat_map(|part| part.iter()).collect();
        families.sort_by_key(|family| family.metric().name);
        families
    }

    /// The family of that name, if it was published.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.parts.iter().flat_map(|part| part.iter()).find(|f| f.metric().name == name)
    }
}

/// Why a registration was refused. All of these are mistakes in the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two collectors of one name.
    #[error("a collector named {name} exists already; register each collector once")]
    CollectorTwice {
        /// The name.
        name: &'static str,
    },
    /// A catalogue with faults.
    #[error("the catalogue of {owner} has faults: {}", list(.faults))]
    Catalogue {
        /// Who brought it.
        owner: &'static str,
        /// Everything that is wrong with it.
        faults: Vec<Fault>,
    },
}

impl Entries {
    fn claim(&mut self, owner: &'static str, catalogue: Catalogue) -> Result<(), RegistryError> {
        let faults = catalogue.faults(&self.names);
        if !faults.is_empty() {
            return Err(RegistryError::Catalogue { owner, faults });
        }
        self.names.extend(catalogue.names());
        self.catalogues.push(catalogue);
        Ok(())
    }
}

fn list(faults: &[Fault]) -> String {
    let faults: Vec<_> = faults.iter().map(Fault::to_string).collect();
    faults.join("; ")
}

#[cfg(test)]
mod tests;

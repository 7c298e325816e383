//! What readers of the API see: one consistent view, replaced after each commit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use flow_model::{
    connections::TickClock, edge::EdgeId, flow::Counts, page::FlowKeyMode, snapshot::Snapshot,
};

use crate::{
    audit::InterfaceCheck, degradation::Degradation, engine::Edge, plan::EdgePlan, watch::Epoch,
};

/// Names by edge.
pub(crate) type EdgeNames = HashMap<EdgeId, String>;

/// A hooked edge.
#[derive(Debug, Clone)]
pub(crate) struct Hooked {
    /// Where.
    pub(crate) plan: EdgePlan,
    /// Why it is not counted as it should be, if it is not.
    pub(crate) degraded: Option<Degradation>,
    /// The interface law as of the last resync, by direction.
    pub(crate) checks: [Option<InterfaceCheck>; 2],
}

impl From<&Edge> for Hooked {
    fn from(edge: &Edge) -> Self {
        Self { plan: edge.plan.clone(), degraded: edge.degradation(), checks: edge.checks }
    }
}

/// The state as of one commit.
#[derive(Debug)]
pub(crate) struct View {
    /// The ledger.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Flows of the last committed epoch.
    pub(crate) epoch: Arc<Epoch>,
    /// Names of the edges in it.
    pub(crate) names: Arc<EdgeNames>,
    /// Edges that are hooked.
    pub(crate) hooked: BTreeMap<EdgeId, Hooked>,
    /// Its ticks; absent before the first drain.
    pub(crate) clock: Option<TickClock>,
    /// Which ports mean something.
    pub(crate) mode: FlowKeyMode,
    /// Edges that could not be hooked, and why.
    pub(crate) refused: Vec<(String, &'static str)>,
    /// What hooks and devices differ by.
    pub(crate) interface_drift: Counts,
}

/// Where the view is.
pub(crate) type Published = Arc<ArcSwapOption<View>>;

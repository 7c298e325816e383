//! What readers of the API see: one consistent view, replaced after each commit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use flow_bpf::Clock;
use flow_model::{edge::EdgeId, flow::Counts, page::FlowKeyMode, snapshot::Snapshot};

use crate::{site::EdgePlan, watch::Epoch};

/// Names by edge.
pub(crate) type EdgeNames = HashMap<EdgeId, String>;

/// The state as of one commit.
#[derive(Debug)]
pub(crate) struct View {
    /// The ledger.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Flows of the last committed epoch.
    pub(crate) epoch: Arc<Epoch>,
    /// Names of the edges in it.
    pub(crate) names: Arc<EdgeNames>,
    /// Edges that are hooked, and where.
    pub(crate) plans: BTreeMap<EdgeId, EdgePlan>,
    /// Its ticks; absent before the first drain.
    pub(crate) clock: Option<Clock>,
    /// Which ports mean something.
    pub(crate) mode: FlowKeyMode,
    /// Edges that could not be hooked, and why.
    pub(crate) refused: Vec<(String, &'static str)>,
    /// What hooks and devices differ by.
    pub(crate) interface_drift: Counts,
}

/// Where the view is.
pub(crate) type Published = Arc<ArcSwapOption<View>>;

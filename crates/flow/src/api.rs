//! The HTTP API of the flows system.

mod query;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use flow_model::{
    edge::{EdgeState, Place},
    flow::{Counts, Direction},
    snapshot::EdgeRow,
};
use query::FlowQuery;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    command::Command,
    document::FlowRow,
    published::{Published, View},
    rows::Row,
    site::{EdgePlan, Site},
    time::WallClock,
};

#[derive(Debug, Clone)]
struct Api {
    published: Published,
    sender: SyncSender<Command>,
}

/// The routes below `/api/v1/flows`.
pub(crate) fn routes(published: Published, sender: SyncSender<Command>) -> Router {
    Router::new()
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/flows/edges", get(edges))
        .route("/api/v1/flows/pairs", get(pairs))
        .route("/api/v1/flows/audit", get(audit))
        .with_state(Api { published, sender })
}

/// Why a request has no answer.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(BTreeMap::from([("error", self.1)]))).into_response()
    }
}

impl Api {
    fn view(&self) -> Result<Arc<View>, Failure> {
        self.published.load_full().ok_or_else(|| {
            Failure(StatusCode::SERVICE_UNAVAILABLE, "recovery is not done yet".into())
        })
    }

    /// Has the open epoch drained; concurrent callers share one drain.
    async fn refresh(&self) -> Result<(), Failure> {
        let busy =
            || Failure(StatusCode::SERVICE_UNAVAILABLE, "the drain is busy; try again".into());
        let (reply, done) = oneshot::channel();
        match self.sender.try_send(Command::Fresh(reply)) {
            Ok(()) => done.await.map_err(|_| busy()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(busy()),
        }
    }
}

#[derive(Serialize)]
struct Flows {
    epoch: u64,
    at: String,
    flows: Vec<FlowRow>,
    truncated: bool,
}

async fn flows(
    State(api): State<Api>,
    query: Result<Query<FlowQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Flows>, Failure> {
    let Query(query) =
        query.map_err(|error| Failure(StatusCode::BAD_REQUEST, error.body_text()))?;
    let query = query.check().map_err(|why| Failure(StatusCode::BAD_REQUEST, why))?;
    if query.fresh {
        api.refresh().await?;
    }
    let view = api.view()?;
    let wall = WallClock::read();
    let Some(clock) = view.clock else {
        return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "no epoch was drained yet".into()));
    };
    let mut found: Vec<(&str, &flow_model::flow::FlowEntry)> = view
        .epoch
        .iter()
        .map(|(edge, flow)| (view.names.get(edge).map_or("", String::as_str), flow))
        .filter(|(edge, flow)| query.wants(edge, flow))
        .collect();
    found.sort_unstable_by(|(_, one), (_, other)| query.order(one, other));
    let truncated = found.len() > query.limit;
    let flows = found
        .into_iter()
        .take(query.limit)
        .map(|(edge, flow)| {
            FlowRow::new(edge, &flow.key, &Row::new(flow, &clock), view.mode, &wall)
        })
        .collect();
    let at = std::time::Duration::from_nanos(view.snapshot.at_ns);
    Ok(Json(Flows {
        epoch: view.snapshot.epoch,
        at: crate::time::timestamp(at).to_string(),
        flows,
        truncated,
    }))
}

#[derive(Serialize)]
struct EdgeView {
    edge: String,
    id: u32,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<HookView>,
}

#[derive(Serialize)]
struct HookView {
    direction: &'static str,
    #[serde(flatten)]
    site: Option<SiteView>,
    packets: u64,
    bytes: u64,
    skbs: u64,
    skb_bytes: u64,
}

/// Where a hook is; absent once it is gone.
#[derive(Serialize)]
struct SiteView {
    interface: String,
    ifindex: u32,
    netns_inode: u64,
    place: &'static str,
}

impl SiteView {
    fn new(site: &Site) -> Self {
        Self {
            interface: site.interface.clone(),
            ifindex: site.ifindex,
            netns_inode: site.namespace.inode,
            place: if site.place == Place::Pod { "pod" } else { "host" },
        }
    }
}

async fn edges(State(api): State<Api>) -> Result<Json<Vec<EdgeView>>, Failure> {
    let view = api.view()?;
    let attached = view.snapshot.edges.iter().map(|edge| {
        let record = &edge.record;
        let rx_on_host = record.hooks[Direction::Rx as usize].place == Place::Host;
        let degraded = rx_on_host && record.netns_inode != 0;
        EdgeView {
            edge: record.identity.name.to_string(),
            id: record.id.0,
            state: match record.state {
                EdgeState::Draining => "draining",
                _ if degraded => "degraded",
                _ => "attached",
            },
            reason: degraded.then_some("host_egress"),
            hooks: hooks(edge, view.plans.get(&record.id)),
        }
    });
    let refused = view.refused.iter().map(|(name, reason)| EdgeView {
        edge: name.clone(),
        id: 0,
        state: "refused",
        reason: Some(reason),
        hooks: Vec::new(),
    });
    Ok(Json(attached.chain(refused).collect()))
}

fn hooks(edge: &EdgeRow, plan: Option<&EdgePlan>) -> Vec<HookView> {
    Direction::ALL
        .into_iter()
        .map(|direction| {
            let totals = edge.totals[direction as usize];
            HookView {
                direction: direction.as_str(),
                site: plan.map(|plan| SiteView::new(plan.site(direction))),
                packets: totals.wire.packets,
                bytes: totals.wire.bytes,
                skbs: totals.skb.packets,
                skb_bytes: totals.skb.bytes,
            }
        })
        .collect()
}

#[derive(Serialize)]
struct PairsView {
    pairs: Vec<PairView>,
    other: Amount,
    ignored: Amount,
    retired: Amount,
}

#[derive(Serialize)]
struct PairView {
    src_ip: String,
    dst_ip: String,
    protocol: &'static str,
    created: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Serialize, PartialEq, Eq)]
struct Amount {
    packets: u64,
    bytes: u64,
}

impl From<Counts> for Amount {
    fn from(counts: Counts) -> Self {
        Self { packets: counts.packets, bytes: counts.bytes }
    }
}

async fn pairs(State(api): State<Api>) -> Result<Json<PairsView>, Failure> {
    let view = api.view()?;
    let pairs = &view.snapshot.pairs;
    let rows = pairs.rows.iter().map(|row| PairView {
        src_ip: row.src.to_string(),
        dst_ip: row.dst.to_string(),
        protocol: row.protocol.as_str(),
        created: crate::time::timestamp(std::time::Duration::from_nanos(row.created_ns))
            .to_string(),
        amount: row.counts.into(),
    });
    Ok(Json(PairsView {
        pairs: rows.collect(),
        other: pairs.other.into(),
        ignored: pairs.ignored.into(),
        retired: pairs.retired.into(),
    }))
}

/// One equation with both sides.
#[derive(Serialize)]
struct LawView {
    law: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    direction: &'static str,
    left: Amount,
    right: Amount,
    holds: bool,
}

impl LawView {
    fn new(law: &'static str, direction: Direction, left: Counts, right: Counts) -> Self {
        Self {
            law,
            edge: None,
            family: None,
            direction: direction.as_str(),
            holds: left == right,
            left: left.into(),
            right: right.into(),
        }
    }
}

#[derive(Serialize)]
struct AuditView {
    laws: Vec<LawView>,
    interface_drift: Amount,
}

async fn audit(State(api): State<Api>) -> Result<Json<AuditView>, Failure> {
    let view = api.view()?;
    let laws = &view.snapshot.laws;
    let flow = laws.flow.iter().map(|check| LawView {
        edge: Some(check.edge.0),
        ..LawView::new("flow", check.direction, check.totals, check.committed + check.folded)
    });
    let ledger = Direction::ALL
        .into_iter()
        .zip(&laws.ledger)
        .map(|(direction, check)| LawView::new("ledger", direction, check.book, check.node));
    let series = laws.series.iter().map(|check| LawView {
        family: Some(check.family.as_str()),
        ..LawView::new(
            "series",
            check.direction,
            check.exposed + check.other + check.ignored + check.retired + check.unnamed,
            check.base,
        )
    });
    Ok(Json(AuditView {
        laws: flow.chain(ledger).chain(series).collect(),
        interface_drift: view.interface_drift.into(),
    }))
}

//! The HTTP API of the flows system.

mod audit;
mod edges;
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
use flow_model::flow::{Counts, FlowEntry};
use query::FlowQuery;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    command::Command,
    document::FlowRow,
    published::{Published, View},
    rows::Row,
    time::{WallClock, rfc3339, timestamp},
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
        .route("/api/v1/flows/edges", get(edges::edges))
        .route("/api/v1/flows/pairs", get(pairs))
        .route("/api/v1/flows/audit", get(audit::audit))
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
    let mut found: Vec<(&str, &FlowEntry)> = view
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
    Ok(Json(Flows { epoch: view.snapshot.epoch, at: rfc3339(timestamp(at)), flows, truncated }))
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
        created: rfc3339(timestamp(std::time::Duration::from_nanos(row.created_ns))),
        amount: row.counts.into(),
    });
    Ok(Json(PairsView {
        pairs: rows.collect(),
        other: pairs.other.into(),
        ignored: pairs.ignored.into(),
        retired: pairs.retired.into(),
    }))
}

#[cfg(test)]
mod tests;

//! Which edges there are, and where they are hooked.

use axum::{Json, extract::State};
use flow_model::{
    edge::{EdgeState, Place},
    flow::Direction,
    snapshot::EdgeRow,
};
use serde::Serialize;

use super::{Api, Failure};
use crate::{degradation::Degradation, plan::EdgePlan, site::Site};

#[derive(Serialize)]
pub(super) struct EdgeView {
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

/// The edge book with the places of its hooks.
pub(super) async fn edges(State(api): State<Api>) -> Result<Json<Vec<EdgeView>>, Failure> {
    let view = api.view()?;
    let attached = view.snapshot.edges.iter().map(|edge| {
        let record = &edge.record;
        let hooked = view.hooked.get(&record.id);
        let degraded = hooked.and_then(|hooked| hooked.degraded);
        EdgeView {
            edge: record.identity.name.to_string(),
            id: record.id.0,
            state: match record.state {
                EdgeState::Draining => "draining",
                _ if degraded.is_some() => "degraded",
                _ => "attached",
            },
            reason: degraded.map(Degradation::as_str),
            hooks: hooks(edge, hooked.map(|hooked| &hooked.plan)),
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

//! The laws as of the last commit, and the interface law as of the last resync.

use axum::{Json, extract::State};
use flow_model::flow::{Counts, Direction};
use serde::Serialize;

use super::{Amount, Api, Failure};
use crate::{audit::InterfaceCheck, published::View};

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
pub(super) struct AuditView {
    laws: Vec<LawView>,
    interfaces: Vec<InterfaceView>,
    interface_drift: Amount,
}

/// Every law with both sides.
pub(super) async fn audit(State(api): State<Api>) -> Result<Json<AuditView>, Failure> {
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
        interfaces: interfaces(&view),
        interface_drift: view.interface_drift.into(),
    }))
}

/// The interface law at one hook: a device counts a segmented buffer as anything between
/// one packet and all its segments, so both sides are ranges and the law is that they
/// meet.
#[derive(Serialize)]
struct InterfaceView {
    edge: u32,
    direction: &'static str,
    interface: String,
    counter: &'static str,
    device: [Amount; 2],
    hook: [Amount; 2],
    holds: bool,
}

fn interfaces(view: &View) -> Vec<InterfaceView> {
    let mut rows = Vec::new();
    for (id, hooked) in &view.hooked {
        for direction in Direction::ALL {
            let Some(check) = hooked.checks[direction as usize] else {
                continue;
            };
            let InterfaceCheck { passed, hook } = check;
            let site = hooked.plan.site(direction);
            rows.push(InterfaceView {
                edge: id.0,
                direction: direction.as_str(),
                interface: site.interface.clone(),
                counter: site.counter(),
                device: [passed.least.counts().into(), passed.most.counts().into()],
                hook: [hook.skb.into(), hook.wire.into()],
                holds: check.drift().counts().is_zero(),
            });
        }
    }
    rows
}

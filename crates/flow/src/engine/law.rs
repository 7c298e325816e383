//! What devices counted against what our hooks counted.

use flow_model::{
    edge::{EdgeId, Place},
    flow::{Counts, Direction, Parity, Slot, Totals},
    kernel::Kernel as _,
};
use net_sys::{Route, link::Link};

use super::{Checkpoint, Engine};
use crate::{
    audit::{Bracket, InterfaceCheck, Passed, Shortfall},
    error::{Error, SiteError},
    plan::EdgePlan,
    site::Reading,
};

/// How often a hook is compared with its device before they are said to differ.
const LOOKS: usize = 4;

impl Engine {
    /// Holds every hook against its device since the last check: the sum of what they
    /// differ by.
    ///
    /// A packet on its way from the device to the hook is counted by one of them only. It
    /// has arrived by the next look, so a difference is believed when it stays.
    pub(crate) fn check_interfaces(&mut self) -> Result<Counts, Error> {
        let all = self.edges.keys().flat_map(|id| Direction::ALL.map(|direction| (*id, direction)));
        let mut pending: Vec<(EdgeId, Direction)> = all.collect();
        for _ in 1..LOOKS {
            pending = self.look(pending, |check| check.drift() == Reading::default())?;
        }
        let mut drift = Counts::ZERO;
        self.look(pending, |check| {
            drift += check.drift().counts();
            true
        })?;
        let ids: Vec<EdgeId> = self.edges.keys().copied().collect();
        ids.into_iter().for_each(|id| self.mark(id));
        Ok(drift)
    }

    /// Compares some hooks with their devices, and answers those whose result was not
    /// accepted.
    fn look(
        &mut self,
        hooks: Vec<(EdgeId, Direction)>,
        mut accepts: impl FnMut(&InterfaceCheck) -> bool,
    ) -> Result<Vec<(EdgeId, Direction)>, Error> {
        if hooks.is_empty() {
            return Ok(hooks);
        }
        let before: Vec<_> = hooks.iter().map(|(id, at)| self.reading(*id, *at)).collect();
        let totals = self.totals()?;
        let mut again = Vec::new();
        for ((id, direction), before) in hooks.into_iter().zip(before) {
            let after = self.reading(id, direction);
            let Some(edge) = self.edges.get_mut(&id) else { continue };
            let (at, slot) = (direction as usize, usize::from(edge.slot.0));
            let totals = totals.get(slot).map(|slot| slot[at]).unwrap_or_default();
            let next = before
                .zip(after)
                .map(|(before, after)| Checkpoint { bracket: Bracket { before, after }, totals });
            let check = edge.checked[at].zip(next).and_then(|(last, next)| last.check(&next));
            if check.as_ref().is_some_and(|check| !accepts(check)) {
                again.push((id, direction));
                continue;
            }
            edge.checks[at] = check;
            edge.checked[at] = next.or(edge.checked[at]);
        }
        Ok(again)
    }

    fn reading(&self, id: EdgeId, direction: Direction) -> Option<Reading> {
        self.edges.get(&id)?.plan.site(direction).reading().ok()
    }

    /// What has reached pods around their receive hooks on the host side since the last
    /// call, by edge. An edge whose devices can't be read is passed over.
    pub(crate) fn check_bypass(&mut self) -> Vec<(EdgeId, Counts)> {
        let mut found = Vec::new();
        for (id, edge) in &mut self.edges {
            let Some((pod, host)) = comparable_ends(&edge.plan) else {
                continue;
            };
            let watch = edge.bypass.get_or_insert_with(|| Shortfall::new(pod, host));
            let around = watch.observe(pod, host);
            if around.packets > 0 {
                found.push((*id, around.counts()));
            }
        }
        found
    }

    /// Whether a hooked device has an XDP program, which may keep packets from a hook.
    pub(crate) fn has_xdp(&self) -> bool {
        let mut sites = self.edges.values().flat_map(|edge| &edge.plan.sites);
        sites.any(|site| site.has_xdp())
    }

    /// What every hook has counted up to now, by slot and direction.
    pub(super) fn totals(&mut self) -> Result<Vec<[Totals; 2]>, Error> {
        self.totals_below(self.tables.sizes().geometry.slots())
    }

    /// What one hook has counted up to now.
    pub(super) fn hook_totals(
        &mut self,
        slot: Slot,
        direction: Direction,
    ) -> Result<Totals, Error> {
        let totals = self.totals_below(usize::from(slot.0) + 1)?;
        Ok(totals.last().copied().unwrap_or_default()[direction as usize])
    }

    fn totals_below(&mut self, slots: usize) -> Result<Vec<[Totals; 2]>, Error> {
        let mut sums = vec![[Totals::default(); 2]; slots];
        let mut cells = sums.clone();
        for parity in Parity::ALL {
            self.drain.totals(parity, &mut cells)?;
            for (sums, cells) in sums.iter_mut().zip(&cells) {
                for (sum, cell) in sums.iter_mut().zip(cells) {
                    sum.wire += cell.wire;
                    sum.skb += cell.skb;
                }
            }
        }
        Ok(sums)
    }
}

impl Checkpoint {
    /// What device and hook have counted between two checkpoints.
    fn check(&self, next: &Self) -> Option<InterfaceCheck> {
        let hook = Totals {
            wire: next.totals.wire.saturating_sub(self.totals.wire),
            skb: next.totals.skb.saturating_sub(self.totals.skb),
        };
        let passed = Passed::between(self.bracket, next.bracket)?;
        Some(InterfaceCheck { passed, hook })
    }
}

/// Where the comparison of a receive hook on the host side starts: at the attach, so that
/// what goes around it before the first check is told as well.
pub(super) fn start_of_bypass(plan: &EdgePlan) -> Option<Shortfall> {
    comparable_ends(plan).map(|(pod, host)| Shortfall::new(pod, host))
}

/// What the pod's device received and the host's sent, where a hook relies on the latter.
fn comparable_ends(plan: &EdgePlan) -> Option<(Reading, Reading)> {
    let on_host = plan.site(Direction::Rx).place == Place::Host && plan.pod_ifindex != 0;
    if on_host { both_ends(plan).ok().flatten() } else { None }
}

/// What the pod's device received and what the host's device sent, in this order: what
/// arrives between the two readings is on the host's side of the comparison. Without
/// entering the namespace; only a veth hands over what it sends without a queue between.
fn both_ends(plan: &EdgePlan) -> Result<Option<(Reading, Reading)>, SiteError> {
    let host = plan.site(Direction::Rx);
    host.namespace.within(|| {
        let mut route = Route::open()?;
        let near = route.link(host.ifindex, None)?;
        if near.kind.as_deref() != Some("veth") {
            return Ok(None);
        }
        let pod = received(&route.link(plan.pod_ifindex, near.link_netnsid)?)?;
        let sent = host.counted(&route.link(host.ifindex, None)?)?;
        Ok(Some((pod, sent)))
    })
}

fn received(link: &Link) -> Result<Reading, SiteError> {
    let counters = link.counters.ok_or(SiteError::NoCounters)?;
    Ok(Reading { packets: counters.rx_packets, bytes: counters.rx_bytes })
}

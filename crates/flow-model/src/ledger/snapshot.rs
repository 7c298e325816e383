//! What a commit publishes, read off pages and memory.

use std::collections::BTreeMap;

use super::Ledger;
use super::book::add_folded;
use crate::audit::{Family, FlowCheck, Laws, LedgerCheck, SeriesCheck};
use crate::edge::{Departed, EdgeState, Exposure, Text};
use crate::flow::{Counts, Direction, Folded, Parity, Totals};
use crate::page::{Pages, Region, control, control_word, load_words};
use crate::series::{PairRecord, amount, reserved};
use crate::snapshot::{EdgeRow, PairFamily, PairRow, PodFamily, PodRow, Recovered, Snapshot};

impl<P: Pages> Ledger<P> {
    /// Everything that the ledger knows as of the last commit.
    pub fn snapshot(&self) -> Snapshot {
        let departed = Departed::load(&self.pages);
        let edges = self.edge_rows();
        let folded = folded(&departed, &edges);
        let node = node(&departed, &edges);
        let pairs = self.pair_family(&folded);
        let pods = self.pod_family(&departed, &edges);
        let laws = self.laws(&node, &pairs, &pods);
        let word = |number| control_word(&self.pages, number);
        Snapshot {
            epoch: word(control::COMMIT),
            at_ns: self.at_ns,
            created_ns: word(control::CREATED_NS),
            node,
            folded,
            edges,
            pairs,
            pods,
            next_edge_id: u32::try_from(word(control::NEXT_EDGE_ID)).unwrap_or(u32::MAX),
            laws,
            activity: self.activity,
            recovered: self.recovered(),
        }
    }

    fn edge_rows(&self) -> Vec<EdgeRow> {
        let rows = self.edges().map(|record| EdgeRow {
            flows: Direction::ALL.map(|direction| record.flows(direction)),
            folded: self.arrays.folded(record.slot),
            totals: self.arrays.totals(record.slot),
            record,
        });
        rows.collect()
    }

    /// Folded amounts have no addresses: they belong to `other`.
    fn pair_family(&self, folded: &Folded) -> PairFamily {
        let [folded_tx, _] = folded;
        let folded_tx: Counts = folded_tx.iter().copied().sum();
        PairFamily {
            rows: self.pairs.records().filter_map(|record| self.pair_row(record)).collect(),
            other: amount(&self.pages, reserved::OTHER) + folded_tx,
            ignored: amount(&self.pages, reserved::IGNORED),
            retired: amount(&self.pages, reserved::RETIRED),
            refused: self.pairs.refused(),
            batch: self.pair_batch,
        }
    }

    fn pair_row(&self, record: usize) -> Option<PairRow> {
        let words = load_words(&self.pages, Region::Pairs, record, 0);
        let pair = PairRecord::decode(record, &words).ok()??;
        Some(PairRow {
            src: pair.key.src(),
            dst: pair.key.dst(),
            protocol: pair.key.protocol(),
            owner: pair.owner,
            created_ns: pair.created_ns,
            counts: pair.counts,
        })
    }

    fn pod_family(&self, departed: &Departed, edges: &[EdgeRow]) -> PodFamily {
        let mut family = PodFamily {
            other: departed.pod_other,
            retired: departed.pod_retired,
            refused: self.pods_refused,
            ..PodFamily::default()
        };
        let mut pods = BTreeMap::new();
        for edge in edges {
            let amounts = [0, 1].map(|i| edge.wire(i) + edge.record.inherited[i]);
            match edge.record.exposure {
                Exposure::Unnamed => add(&mut family.unnamed, amounts),
                Exposure::Other => add(&mut family.other, amounts),
                Exposure::Series => add_to_pod(&mut pods, edge, amounts),
            }
        }
        family.rows = pods.into_values().collect();
        family
    }

    fn laws(&self, node: &[Totals; 2], pairs: &PairFamily, pods: &PodFamily) -> Laws {
        let [tx, rx] = Direction::ALL;
        Laws {
            flow: self.flow_law(),
            ledger: [0, 1].map(|i| LedgerCheck { book: node[i].wire, node: self.node[i] }),
            series: vec![
                pair_law(pairs, node[tx as usize].wire),
                pod_law(pods, tx, node[tx as usize].wire),
                pod_law(pods, rx, node[rx as usize].wire),
            ],
        }
    }

    /// Resting slots are checked, too: a packet on one of them would be a bug.
    fn flow_law(&self) -> Vec<FlowCheck> {
        let parity = Parity::of(control_word(&self.pages, control::COMMIT));
        let counted = |state: EdgeState| state.counts() || state == EdgeState::Quarantined;
        let records = self.roster.in_state(counted).filter_map(|slot| self.record(slot));
        let checks = records.flat_map(|record| {
            let slot = usize::from(record.slot.0);
            Direction::ALL.map(|direction| FlowCheck {
                edge: record.id,
                slot: record.slot,
                parity,
                direction,
                totals: self.arrays.totals[parity as usize][slot][direction as usize].wire,
                committed: record.sums[parity as usize][direction as usize],
                folded: self.arrays.folded[parity as usize][slot][direction as usize]
                    .into_iter()
                    .sum(),
            })
        });
        checks.collect()
    }

    pub(super) fn recovered(&self) -> Recovered {
        let word = |i| control_word(&self.pages, control::RECOVERED + i);
        Recovered { redrained: word(0), replayed: word(1), cleared: word(2), foreign: word(3) }
    }

    /// What the edge book says now; where the ledger law starts from.
    pub(super) fn book_sums(&self) -> [Counts; 2] {
        node(&Departed::load(&self.pages), &self.edge_rows()).map(|totals| totals.wire)
    }
}

fn folded(departed: &Departed, edges: &[EdgeRow]) -> Folded {
    let mut sum = departed.folded;
    for edge in edges {
        add_folded(&mut sum, &edge.folded);
    }
    sum
}

fn node(departed: &Departed, edges: &[EdgeRow]) -> [Totals; 2] {
    [0, 1].map(|i| Totals {
        wire: departed.wire(i) + edges.iter().map(|edge| edge.wire(i)).sum(),
        skb: departed.skb[i] + edges.iter().map(|edge| edge.totals[i].skb).sum(),
    })
}

/// By namespace and name.
type Pods = BTreeMap<(Text, Text), PodRow>;

fn add_to_pod(pods: &mut Pods, edge: &EdgeRow, amounts: [Counts; 2]) {
    let identity = edge.record.identity;
    let row = pods.entry((identity.namespace, identity.name)).or_insert(PodRow {
        namespace: identity.namespace,
        name: identity.name,
        uid: identity.uid,
        created_ns: edge.record.pod_created_ns,
        counts: [Counts::ZERO; 2],
    });
    row.created_ns = row.created_ns.min(edge.record.pod_created_ns);
    add(&mut row.counts, amounts);
}

fn add(sums: &mut [Counts; 2], gains: [Counts; 2]) {
    for (sum, gain) in sums.iter_mut().zip(gains) {
        *sum += gain;
    }
}

fn pair_law(pairs: &PairFamily, base: Counts) -> SeriesCheck {
    SeriesCheck {
        family: Family::Pair,
        direction: Direction::Tx,
        exposed: pairs.rows.iter().map(|row| row.counts).sum(),
        other: pairs.other,
        ignored: pairs.ignored,
        retired: pairs.retired,
        unnamed: Counts::ZERO,
        base,
    }
}

fn pod_law(pods: &PodFamily, direction: Direction, base: Counts) -> SeriesCheck {
    let i = direction as usize;
    SeriesCheck {
        family: Family::Pod,
        direction,
        exposed: pods.rows.iter().map(|row| row.counts[i]).sum(),
        other: pods.other[i],
        ignored: Counts::ZERO,
        retired: pods.retired[i],
        unnamed: pods.unnamed[i],
        base,
    }
}

//! The program loads onto its maps, and the maps survive being pinned.

use std::sync::Arc;

use flow_bpf::{Drain, LinkLayer, Program, Scope, Sizes, Tables};
use flow_model::{
    flow::{Direction, Parity, Slot, Totals},
    kernel::Kernel as _,
    page::{FlowKeyMode, Geometry},
};

fn sizes() -> Sizes {
    let geometry = Geometry {
        flow_capacity4: 4096,
        flow_capacity6: 1024,
        shards: 2,
        max_edges: 16,
        pair_series: 64,
        flow_key: FlowKeyMode::FiveTuple,
    };
    Sizes { geometry, edge_quota_percent: 50, early_drain_percent: 75 }
}

#[test]
#[ignore = "root: loads a program"]
fn fresh_tables_take_a_program_and_hold_nothing() {
    let tables = Arc::new(Tables::create(sizes()).unwrap());
    for scope in
        [Scope::Shared, Scope::Single { slot: Slot(3), link_layer: LinkLayer::Ethernet }]
    {
        let at = std::time::Instant::now();
        let program = Program::load(&tables, scope, &Direction::ALL).unwrap();
        println!("{scope:?} {:?}", at.elapsed());
        assert!(Direction::ALL.iter().all(|direction| program.fd(*direction).is_some()));
    }
    let mut drain = Drain::new(tables).unwrap();
    drain.grace().unwrap();
    let mut flows = 0;
    drain.read(Parity::Even, &mut |_| flows += 1).unwrap();
    assert_eq!(flows, 0, "nothing was sent");
    let mut totals = [[Totals::default(); 2]; 17];
    drain.totals(Parity::Odd, &mut totals).unwrap();
    assert_eq!(totals, [[Totals::default(); 2]; 17]);
    drain.zero_slot(Slot(3)).unwrap();
    drain.clear(Parity::Even).unwrap();
}

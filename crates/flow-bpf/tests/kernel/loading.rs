//! Loading: what it costs and what stands behind it.

use std::{sync::Arc, time::Instant};

use flow_bpf::{Program, Scope, Tables};
use flow_model::{
    flow::{Direction, Folded, Parity, Slot, Totals},
    kernel::Kernel as _,
};
use libbpf_rs::query::ProgInfoIter;

use crate::lab::{Lab, SLOT, single, sizes};

/// A pod's hook is in place after a few milliseconds only as long as this holds.
const BUDGET: u32 = 12_000;

#[test]
#[ignore = "root: loads programs"]
fn the_verifier_walks_no_more_instructions_than_the_budget() {
    let tables = Tables::create(sizes()).unwrap();
    for scope in [Scope::Shared, single(SLOT)] {
        let at = Instant::now();
        let program = Program::load(&tables, scope, &[Direction::Rx]).unwrap();
        let took = at.elapsed();
        let id = program_id(&program);
        let info = ProgInfoIter::default().find(|info| info.id == id).unwrap();
        println!("{scope:?}: {} instructions, loaded in {took:?}", info.verified_insns);
        assert_ne!(info.verified_insns, 0, "the kernel tells since 5.16");
        assert!(
            info.verified_insns < BUDGET,
            "{scope:?}: the verifier walked {} instructions",
            info.verified_insns
        );
    }
}

fn program_id(program: &Program) -> u32 {
    use std::os::fd::AsRawFd as _;
    let fd = program.fd(Direction::Rx).unwrap().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("prog_id:")).unwrap();
    id.trim().parse().unwrap()
}

#[test]
#[ignore = "root: loads programs"]
fn a_program_holds_only_the_directions_asked_for() {
    let tables = Tables::create(sizes()).unwrap();
    let program = Program::load(&tables, single(SLOT), &[Direction::Rx]).unwrap();
    assert!(program.fd(Direction::Rx).is_some());
    assert!(program.fd(Direction::Tx).is_none());
}

#[test]
#[ignore = "root: loads programs"]
fn fresh_tables_hold_nothing() {
    let mut lab = Lab::on(Arc::new(Tables::create(sizes()).unwrap()), Scope::Shared);
    let slots = lab.tables.sizes().geometry.slots();
    for parity in Parity::ALL {
        assert_eq!(lab.flows(parity), []);
        for slot in 0..slots {
            let slot = Slot(u16::try_from(slot).unwrap());
            assert_eq!(lab.folded(parity, slot), Folded::default());
            assert_eq!(lab.totals(parity, slot), [Totals::default(); 2]);
        }
        lab.drain.clear(parity).unwrap();
    }
}

//! Proof that the C records and what Rust makes of them have one shape.

use std::mem::{offset_of, size_of};

use flow_model::{
    flow::Class,
    page::{Region, control},
};

use crate::skel::types;
pub(crate) use crate::skel::types::{
    flow_clock as ClockRecord, flow_config as Config, flow_events as EventsCell,
    flow_fill as FillCell, flow_folded as FoldedCell, flow_fragment as Fragment,
    flow_fragment_key as FragmentKey, flow_skb_layout as SkbLayout, flow_slot_cell as RawSlotCell,
    flow_totals as TotalsCell, flow_value as FlowValue, flow4_key as Flow4Key,
    flow6_key as Flow6Key,
};

pub(crate) const KEY_RX: u8 = 0x01;
pub(crate) const KEY_FRAGMENT: u8 = 0x02;

const _: () = {
    assert!(size_of::<Flow4Key>() == 16);
    assert!(size_of::<Flow6Key>() == 40);
    assert!(size_of::<FlowValue>() == 40);
    assert!(size_of::<TotalsCell>() == 32);
    assert!(size_of::<FoldedCell>() == 16 * Class::CELLS);
    assert!(size_of::<RawSlotCell>() == 8);
    assert!(size_of::<types::flow_control>() == Region::Control.record_bytes());
    assert!(size_of::<types::edge_record>() == Region::EdgeBook.record_bytes());
    assert!(size_of::<types::pair_record>() == Region::Pairs.record_bytes());
    assert!(size_of::<types::redo_record>() == Region::Redo.record_bytes());
    assert!(offset_of!(types::flow_control, magic) == 8 * control::MAGIC);
    assert!(offset_of!(types::flow_control, abi) == 8 * control::ABI);
    assert!(offset_of!(types::flow_control, epoch) == 8 * control::EPOCH);
    assert!(offset_of!(types::flow_control, journal) == 8 * control::JOURNAL);
    assert!(offset_of!(types::flow_control, commit) == 8 * control::COMMIT);
    assert!(offset_of!(types::flow_control, cleared) == 8 * control::CLEARED);
    assert!(offset_of!(types::flow_control, next_edge_id) == 8 * control::NEXT_EDGE_ID);
};

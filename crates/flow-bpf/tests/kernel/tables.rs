//! Keys, quotas, full tables, slots: what happens to a packet once it is parsed.

use std::{collections::BTreeSet, time::Duration};

use flow_bpf::{Event, LinkLayer, NoticeKind, Scope, Sizes, SlotCell, testrun::Frame};
use flow_model::{
    flow::{Class, Counts, Direction, FlowKey, Parity, Protocol, Slot},
    kernel::Kernel as _,
    page::FlowKeyMode,
};

use crate::{
    frames::{
        self, ACK, ARP, Extension, ICMP, IPV4, IPV6, MORE4, SCTP, SYN, TCP, UDP, V4, ethernet,
        ipv4, ipv6, ipv6_chain,
    },
    lab::{Lab, SLOT, pin_to_cpu, single, sizes},
};

fn keyed(flow_key: FlowKeyMode) -> Sizes {
    let mut sizes = sizes();
    sizes.geometry.flow_key = flow_key;
    sizes
}

/// A table of `capacity` flows per family and epoch.
fn narrow(capacity: u32, shards: u32) -> Sizes {
    let mut sizes = sizes();
    sizes.geometry.flow_capacity4 = capacity;
    sizes.geometry.flow_capacity6 = capacity;
    sizes.geometry.shards = shards;
    sizes
}

fn tcp4(ports: [u16; 2]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(TCP, &frames::tcp(ports, ACK, 0, 0)))
}

fn udp4(ports: [u16; 2]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(UDP, &frames::udp(ports, &[])))
}

fn udp6(ports: [u16; 2]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(UDP, &frames::udp(ports, &[])))
}

fn ports(key: &FlowKey) -> [u16; 2] {
    [key.src_port, key.dst_port]
}

#[test]
#[ignore = "root: loads programs"]
fn pair_keys_drop_all_ports() {
    let mut lab = Lab::with(keyed(FlowKeyMode::Pair), single(SLOT));
    for port in 1..=5 {
        lab.send(&tcp4([port, 80]));
    }
    lab.send(&ethernet(IPV4, &V4 { fragment: 9, ..V4::default() }.packet(TCP, &[0; 40])));
    lab.send(&ethernet(IPV4, &ipv4(ICMP, &frames::icmp(8, 3, 0))));
    let mut flows = lab.flows(Parity::Even);
    flows.sort_by_key(|flow| flow.key.protocol);
    let shown: Vec<_> = flows
        .iter()
        .map(|flow| (flow.key.protocol, ports(&flow.key), flow.key.fragment, flow.counts.packets))
        .collect();
    assert_eq!(shown, [(ICMP, [0, 0], false, 1), (TCP, [0, 0], false, 6)]);
    lab.assert_law(Parity::Even, SLOT);
}

/// The ports that a service-port key keeps of a packet.
fn kept(lab: &mut Lab, frame: &[u8]) -> [u16; 2] {
    lab.send(frame);
    let flows = lab.flows(Parity::Even);
    lab.drain.clear(Parity::Even).unwrap();
    assert_eq!(flows.len(), 1, "one packet, one flow");
    ports(&flows[0].key)
}

#[test]
#[ignore = "root: loads programs"]
fn service_port_keys_keep_the_known_server() {
    let mut lab = Lab::with(keyed(FlowKeyMode::PairServicePort), single(SLOT));
    for port in [40_000, 65_535, 0, 63, 64] {
        lab.tables.add_service_port(Protocol::Tcp, port).unwrap();
    }
    lab.tables.add_service_port(Protocol::Udp, 50_000).unwrap();
    assert_eq!(kept(&mut lab, &tcp4([40_000, 80])), [40_000, 0], "known beats lower");
    assert_eq!(kept(&mut lab, &tcp4([80, 40_000])), [0, 40_000]);
    assert_eq!(kept(&mut lab, &tcp4([30, 63])), [0, 63]);
    assert_eq!(kept(&mut lab, &tcp4([64, 30])), [64, 0]);
    assert_eq!(kept(&mut lab, &tcp4([65_535, 30])), [65_535, 0]);
    assert_eq!(kept(&mut lab, &tcp4([64, 40_000])), [64, 0], "both known: the lower");
    assert_eq!(kept(&mut lab, &udp4([40_000, 80])), [0, 80], "TCP's set is not UDP's");
    assert_eq!(kept(&mut lab, &udp6([50_000, 80])), [50_000, 0]);
}

#[test]
#[ignore = "root: loads programs"]
fn a_server_with_the_higher_port_is_known_by_its_answer() {
    let mut lab = Lab::with(keyed(FlowKeyMode::PairServicePort), single(SLOT));
    let mut notices = lab.tables.notices().unwrap();
    assert_eq!(kept(&mut lab, &tcp4([20_000, 50_000])), [20_000, 0], "not known yet");
    let answer = ethernet(IPV4, &ipv4(TCP, &frames::tcp([50_000, 20_000], SYN | ACK, 0, 0)));
    assert_eq!(kept(&mut lab, &answer), [50_000, 0], "the answer itself tells");
    assert_eq!(notices.poll(Duration::ZERO).unwrap(), [], "nothing that others have to know");
    assert_eq!(kept(&mut lab, &tcp4([20_001, 50_000])), [0, 50_000]);
    assert_eq!(kept(&mut lab, &answer), [50_000, 0]);
    assert_eq!(lab.event(Event::LostNotice), 0);
}

#[test]
#[ignore = "root: loads programs"]
fn service_port_keys_keep_the_lower_port_of_unknown_servers() {
    let mut lab = Lab::with(keyed(FlowKeyMode::PairServicePort), single(SLOT));
    assert_eq!(kept(&mut lab, &tcp4([443, 40_000])), [443, 0]);
    assert_eq!(kept(&mut lab, &udp6([40_000, 53])), [0, 53]);
    assert_eq!(kept(&mut lab, &tcp4([7, 7])), [0, 7]);
    let sctp = ethernet(IPV4, &ipv4(SCTP, &frames::sctp([38_412, 50_000], 0)));
    assert_eq!(kept(&mut lab, &sctp), [38_412, 0]);
}

#[test]
#[ignore = "root: loads programs"]
fn service_port_keys_leave_icmp_and_fragments_alone() {
    let mut lab = Lab::with(keyed(FlowKeyMode::PairServicePort), single(SLOT));
    assert_eq!(kept(&mut lab, &ethernet(IPV4, &ipv4(ICMP, &frames::icmp(3, 1, 0)))), [3, 1]);
    let part = |fragment| {
        ethernet(IPV4, &V4 { fragment, ..V4::default() }.packet(UDP, &frames::udp([9, 5], &[])))
    };
    assert_eq!(kept(&mut lab, &part(7)), [0, 0], "first part not seen yet");
    assert_eq!(kept(&mut lab, &part(MORE4)), [0, 5]);
    assert_eq!(kept(&mut lab, &part(7)), [0, 5], "now its ports are known");
}

#[test]
#[ignore = "root: loads programs"]
fn both_directions_have_flows_of_their_own() {
    let mut lab = Lab::new();
    let frame = tcp4([1, 2]);
    for direction in Direction::ALL {
        lab.show(direction, &Frame::new(&frame), 1 + direction as u32);
    }
    let mut seen: Vec<_> = lab
        .flows(Parity::Even)
        .iter()
        .map(|flow| (flow.key.direction, flow.counts.packets))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(Direction::Tx, 1), (Direction::Rx, 2)]);
    lab.assert_law(Parity::Even, SLOT);
}

#[test]
#[ignore = "root: loads programs"]
fn repeats_are_counted_one_by_one() {
    let mut lab = Lab::new();
    let frame = ethernet(IPV6, &ipv6(TCP, &frames::tcp([1, 2], SYN, 0, 10)));
    lab.show(Direction::Tx, &Frame::new(&frame), 12_345);
    let flows = lab.flows(Parity::Even);
    let bytes = 12_345 * frame.len() as u64;
    assert_eq!(flows[0].counts, Counts { packets: 12_345, bytes });
    assert_eq!(flows[0].syn, 12_345);
    lab.assert_law(Parity::Even, SLOT);
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_beyond_its_quota_is_folded_and_others_are_not() {
    pin_to_cpu(0);
    let sizes = Sizes { edge_quota_percent: 25, ..narrow(64, 1) };
    let mut lab = Lab::with(sizes, single(SLOT));
    for make in [udp4, udp6] {
        for port in 0..40 {
            lab.send(&make([port, 80]));
        }
        lab.send(&make([3, 80]));
    }
    assert_eq!(lab.flows(Parity::Even).len(), 2 * 16);
    assert_eq!(lab.class(Direction::Tx, Class::Quota).packets, 2 * 24);
    assert_eq!(lab.event(Event::Overflow), 0, "a quota is not an overflow");
    lab.assert_law(Parity::Even, SLOT);

    let other = Lab::on(lab.tables.clone(), single(Slot(4)));
    other.send(&udp4([1, 80]));
    assert_eq!(lab.flows(Parity::Even).len(), 2 * 16 + 1);
    lab.assert_law(Parity::Even, Slot(4));

    lab.drain.clear(Parity::Even).unwrap();
    lab.send(&udp4([1, 80]));
    assert_eq!(lab.flows(Parity::Even).len(), 1, "a new epoch, a new quota");
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_leaves_others_their_share_of_each_shard_that_it_reaches() {
    pin_to_cpu(0);
    let sizes = Sizes { edge_quota_percent: 50, ..narrow(128, 8) };
    let mut lab = Lab::with(sizes, single(SLOT));
    for port in 0..40 {
        lab.send(&udp4([port, 80]));
    }
    assert_eq!(lab.flows(Parity::Even).len(), 8 + 8, "half of its CPU's shard and of the next");
    assert_eq!(lab.class(Direction::Tx, Class::Quota).packets, 24);
    assert_eq!(lab.event(Event::Overflow), 0, "nothing is full");

    let other = Lab::on(lab.tables.clone(), single(Slot(4)));
    for port in 0..16 {
        other.send(&udp4([port, 80]));
    }
    let flows = lab.flows(Parity::Even);
    let of_other = flows.iter().filter(|flow| flow.key.slot == Slot(4)).count();
    assert_eq!(of_other, 16, "the spraying edge takes nothing from another");
    lab.assert_law(Parity::Even, SLOT);
    lab.assert_law(Parity::Even, Slot(4));
}

#[test]
#[ignore = "root: loads programs"]
fn a_full_shard_overflows_into_its_neighbour_and_then_folds() {
    pin_to_cpu(1);
    let mut lab = Lab::with(narrow(8, 2), single(SLOT));
    for _ in 0..2 {
        for port in 0..12 {
            lab.send(&udp4([port, 80]));
        }
    }
    let flows = lab.flows(Parity::Even);
    assert_eq!(flows.len(), 8, "both shards are full");
    assert!(flows.iter().all(|flow| flow.counts.packets == 2), "the neighbour is looked into");
    assert_eq!(lab.class(Direction::Tx, Class::OverflowUdp).packets, 2 * 4);
    assert_eq!(lab.event(Event::Overflow), 2 * 4);
    lab.assert_law(Parity::Even, SLOT);
}

#[test]
#[ignore = "root: loads programs"]
fn overflow_is_told_by_protocol() {
    pin_to_cpu(0);
    let mut lab = Lab::with(narrow(2, 1), single(SLOT));
    for port in 0..4 {
        for protocol in [TCP, UDP, SCTP, 253] {
            let payload = frames::tcp([port, 80], ACK, 0, 0);
            lab.send(&ethernet(IPV4, &ipv4(protocol, &payload)));
            lab.send(&ethernet(IPV6, &ipv6(protocol, &payload)));
        }
    }
    lab.send(&ethernet(ARP, &[0; 28]));
    let classes = [Class::OverflowTcp, Class::OverflowUdp, Class::OverflowOther, Class::NonIp]
        .map(|class| lab.class(Direction::Tx, class).packets);
    // Of each family two flows found room: the first of TCP and of UDP.
    assert_eq!(classes, [6, 6, 16, 1]);
    lab.assert_law(Parity::Even, SLOT);
}

#[test]
#[ignore = "root: loads programs"]
fn a_filling_table_gives_notice_once_an_epoch() {
    pin_to_cpu(0);
    let mut lab = Lab::with(narrow(8, 1), single(SLOT));
    let mut notices = lab.tables.notices().unwrap();
    for _ in 0..2 {
        let told = |notices: &mut flow_bpf::Notices| -> Vec<_> {
            let told = notices.poll(Duration::from_millis(200)).unwrap();
            told.iter().map(|notice| notice.kind).collect()
        };
        for port in 0..7 {
            lab.send(&udp4([port, 80]));
        }
        assert_eq!(told(&mut notices), [NoticeKind::Filling]);
        let fill = lab.drain.fill(Parity::Even);
        assert_eq!((fill.v4, fill.v6), (7.0 / 8.0, 0.0));
        for port in 7..12 {
            lab.send(&udp4([port, 80]));
        }
        assert_eq!(told(&mut notices), [NoticeKind::Overflow]);
        lab.drain.clear(Parity::Even).unwrap();
        assert_eq!(lab.drain.fill(Parity::Even).v4, 0.0);
    }
    assert_eq!(lab.event(Event::LostNotice), 0);
}

#[test]
#[ignore = "root: loads programs"]
fn notices_that_nobody_reads_are_lost_and_counted_and_cost_no_count() {
    pin_to_cpu(0);
    let mut lab = Lab::with(narrow(2, 1), single(SLOT));
    for _ in 0..2_000 {
        for port in 0..3 {
            lab.send(&udp4([port, 80]));
        }
        lab.drain.clear(Parity::Even).unwrap();
    }
    // 64 KiB hold 2 730 notices of 24 octets, and two were sent in each round.
    assert_eq!(lab.event(Event::LostNotice), 4_000 - 2_730);
    let told = lab.tables.notices().unwrap().poll(Duration::from_secs(5)).unwrap();
    assert_eq!(told.len(), 2_730);
    assert_eq!(lab.class(Direction::Tx, Class::OverflowUdp).packets, 2_000);
}

fn cell(ifindex: u32, slot: u16, link_layer: LinkLayer) -> SlotCell {
    SlotCell { ifindex, slot: Slot(slot), link_layer }
}

#[test]
#[ignore = "root: loads programs"]
fn shared_programs_find_the_slot_of_a_device() {
    let mut lab = Lab::with(sizes(), Scope::Shared);
    lab.send(&tcp4([1, 2]));
    assert_eq!(lab.event(Event::Unslotted), 1, "the loopback device has no slot yet");
    lab.tables.assign_slot(cell(1, 5, LinkLayer::Ethernet)).unwrap();
    assert_eq!(lab.tables.slot_holder(1).unwrap(), Some(1));
    lab.send(&tcp4([1, 2]));
    assert_eq!(lab.flows(Parity::Even)[0].key.slot, Slot(5));
    lab.assert_law(Parity::Even, Slot(5));
    lab.tables.release_slot(1).unwrap();
    lab.send(&tcp4([1, 2]));
    assert_eq!(lab.event(Event::Unslotted), 2);
    lab.assert_law(Parity::Even, Slot(5));
}

#[test]
#[ignore = "root: loads programs"]
fn a_device_in_anothers_cell_is_not_taken_for_it() {
    let mut lab = Lab::with(sizes(), Scope::Shared);
    let twin = 1 + 16_384;
    lab.tables.assign_slot(cell(twin, 6, LinkLayer::Ethernet)).unwrap();
    assert_eq!(lab.tables.slot_holder(1).unwrap(), Some(twin), "one cell for both");
    lab.send(&tcp4([1, 2]));
    assert_eq!(lab.event(Event::Unslotted), 1);
    lab.tables.release_slot(1).unwrap();
    assert_eq!(lab.tables.slot_holder(twin).unwrap(), Some(twin), "not ours to release");

    let single = Lab::on(lab.tables.clone(), single(Slot(7)));
    single.send(&tcp4([1, 2]));
    assert_eq!(lab.flows(Parity::Even)[0].key.slot, Slot(7), "an instance needs no cell");
}

#[test]
#[ignore = "root: loads programs"]
fn an_opaque_link_is_counted_without_flows() {
    let scope = Scope::Single { slot: SLOT, link_layer: LinkLayer::Opaque };
    let mut lab = Lab::with(sizes(), scope);
    let frame = tcp4([1, 2]);
    lab.send(&frame);
    let segmented = Frame { gso_size: 10, gso_segs: 4, ..Frame::new(&frame) };
    lab.show(Direction::Tx, &segmented, 1);
    let bytes = 2 * frame.len() as u64;
    assert_eq!(lab.class(Direction::Tx, Class::Unparsed), Counts { packets: 5, bytes });
    assert_eq!(lab.event(Event::LinkType), 2);
    assert_eq!(lab.event(Event::GsoHeaders), 0, "told by the link type");
    lab.assert_law(Parity::Even, SLOT);
}

#[test]
#[ignore = "root: loads programs"]
fn a_flow_is_timed_by_the_clock_that_the_tables_show() {
    let mut lab = Lab::new();
    let before = lab.tables.clock().unwrap();
    lab.send(&udp4([1, 2]));
    let after = lab.tables.clock().unwrap();
    let flow = lab.flows(Parity::Even)[0];
    let slack = 2 * after.tick() + Duration::from_millis(5);
    for tick in [flow.first, flow.last] {
        let at = after.at(tick);
        assert!(at + slack >= before.monotonic() && at <= after.monotonic() + slack, "{at:?}");
    }
}

#[test]
#[ignore = "root: loads programs"]
fn each_epoch_has_its_own_flows() {
    let mut lab = Lab::new();
    lab.send(&udp4([1, 2]));
    assert_eq!(lab.flip(), Parity::Even);
    lab.send(&udp4([3, 4]));
    let of = |lab: &mut Lab, parity| {
        lab.flows(parity).iter().map(|flow| ports(&flow.key)).collect::<Vec<_>>()
    };
    assert_eq!(of(&mut lab, Parity::Even), [[1, 2]]);
    assert_eq!(of(&mut lab, Parity::Odd), [[3, 4]]);
    lab.drain.clear(Parity::Even).unwrap();
    assert!(of(&mut lab, Parity::Even).is_empty());
    assert_eq!(of(&mut lab, Parity::Odd), [[3, 4]], "the open epoch is left alone");
    for parity in Parity::ALL {
        assert_eq!(lab.totals(parity, SLOT)[0].wire.packets, 1, "totals are never cleared");
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_zeroed_slot_forgets_both_epochs_and_leaves_its_neighbours() {
    let mut lab = Lab::new();
    let neighbour = Lab::on(lab.tables.clone(), single(Slot(SLOT.0 + 1)));
    for _ in Parity::ALL {
        lab.send(&ethernet(ARP, &[0; 28]));
        neighbour.send(&ethernet(ARP, &[0; 28]));
        lab.flip();
    }
    lab.drain.zero_slot(SLOT).unwrap();
    for parity in Parity::ALL {
        assert_eq!(lab.totals(parity, SLOT)[0].wire, Counts::ZERO);
        assert!(lab.folded(parity, SLOT).iter().flatten().all(|counts| counts.is_zero()));
        assert_eq!(lab.totals(parity, Slot(SLOT.0 + 1))[0].wire.packets, 1);
        lab.assert_law(parity, Slot(SLOT.0 + 1));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn tens_of_thousands_of_flows_are_read_once_each_and_cleared() {
    let mut lab = Lab::with(narrow(65_536, 2), single(SLOT));
    let count = 20_000_u16;
    for port in 0..count {
        lab.send(&udp4([port, 80]));
        lab.send(&udp6([port, 80]));
    }
    let mut keys = BTreeSet::new();
    let flows = lab.flows(Parity::Even);
    assert!(flows.iter().all(|flow| flow.counts.packets == 1));
    // One flow may stand in two shards when the thread changed its CPU, but this one
    // sent each only once.
    for flow in &flows {
        assert!(keys.insert((flow.key.src, flow.key.src_port)), "read twice: {flow:?}");
    }
    assert_eq!(keys.len(), 2 * usize::from(count));
    lab.assert_law(Parity::Even, SLOT);
    lab.drain.clear(Parity::Even).unwrap();
    assert_eq!(lab.flows(Parity::Even), []);
}

#[test]
#[ignore = "root: loads programs"]
fn a_flood_of_fragments_costs_detail_and_no_count() {
    let mut lab = Lab::with(narrow(65_536, 1), single(SLOT));
    let part = |id, offset, more| {
        let chain = [Extension::Fragment { id, offset, more }];
        ethernet(IPV6, &ipv6_chain(&chain, UDP, &frames::udp([5, 6], &[])))
    };
    for id in 0..10_000 {
        lab.send(&part(id, 0, true));
    }
    for id in 0..10_000 {
        lab.send(&part(id, 4, false));
    }
    let sent = lab.totals(Parity::Even, SLOT)[0].wire.packets;
    assert_eq!(sent, 20_000);
    lab.assert_law(Parity::Even, SLOT);
    let flows = lab.flows(Parity::Even);
    assert!(flows.iter().any(|flow| flow.key.fragment), "some first parts were forgotten");
}

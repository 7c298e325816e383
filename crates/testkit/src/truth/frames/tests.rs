use super::*;

/// A row with the given fields set, by name.
fn row(set: &[(&str, &str)]) -> String {
    let value = |name: &&str| set.iter().find(|(n, _)| n == name).map_or("", |(_, value)| *value);
    FIELDS.iter().map(value).collect::<Vec<_>>().join("\t")
}

fn frames(rows: &[String]) -> Frames {
    sum(rows.join("\n").as_bytes()).unwrap()
}

const WHEN: (&str, &str) = ("frame.time_epoch", "1763733133.250000000");

#[test]
fn positions_and_names_of_the_fields_agree() {
    let named = [
        (V4_FRAGMENT, "ip.frag_offset"),
        (V6_FRAGMENT, "ipv6.fraghdr.offset"),
        (TCP_FLAGS, "tcp.flags"),
        (TCP[1], "tcp.dstport"),
        (UDP[0], "udp.srcport"),
        (ICMPV6[1], "icmpv6.code"),
        (V6_HEADERS[3].1, "ipv6.fraghdr.nxt"),
    ];
    for (at, name) in named {
        assert_eq!(FIELDS.get(at), Some(&name));
    }
}

#[test]
fn a_tunnel_is_its_outer_header() {
    let vxlan = row(&[
        ("frame.protocols", "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp"),
        ("frame.len", "150"),
        WHEN,
        ("ip.src", "192.168.77.1,10.244.1.11"),
        ("ip.dst", "192.168.77.2,10.244.2.11"),
        ("ip.proto", "17,6"),
        ("ip.frag_offset", "0,0"),
        ("udp.srcport", "40000"),
        ("udp.dstport", "4789"),
        ("tcp.srcport", "80"),
        ("tcp.flags", "0x0002"),
    ]);
    let frames = frames(&[vxlan]);
    let (key, seen) = frames.flows.first_key_value().unwrap();
    assert_eq!((key.protocol, key.destination_port), (17, Some(4789)));
    assert_eq!((seen.amount, seen.syn), (Amount::new(1, 150), 0));
}

#[test]
fn an_extension_chain_is_walked_to_its_end() {
    let chained = row(&[
        ("frame.protocols", "eth:ethertype:ipv6:ipv6.hopopts:ipv6.dstopts:udp"),
        ("frame.len", "100"),
        WHEN,
        ("ipv6.src", "fd00::1"),
        ("ipv6.dst", "fd00::2"),
        ("ipv6.nxt", "0"),
        ("ipv6.hopopts.nxt", "60"),
        ("ipv6.dstopts.nxt", "17"),
        ("udp.srcport", "5"),
        ("udp.dstport", "6"),
    ]);
    let frames = frames(&[chained]);
    let (key, _) = frames.flows.first_key_value().unwrap();
    assert_eq!((key.protocol, key.source_port, key.destination_port), (17, Some(5), Some(6)));
}

#[test]
fn a_later_fragment_has_no_ports() {
    let fragment = row(&[
        ("frame.protocols", "eth:ethertype:ip:data"),
        ("frame.len", "60"),
        WHEN,
        ("ip.src", "10.0.0.1"),
        ("ip.dst", "10.0.0.2"),
        ("ip.proto", "17"),
        ("ip.frag_offset", "1480"),
        ("udp.srcport", "99"),
    ]);
    let frames = frames(&[fragment]);
    let (key, _) = frames.flows.first_key_value().unwrap();
    assert_eq!((key.fragment, key.source_port), (true, None));
}

#[test]
fn an_error_message_is_icmp_and_not_the_packet_it_quotes() {
    let quoted = row(&[
        ("frame.protocols", "eth:ethertype:ip:icmp:ip:udp"),
        ("frame.len", "70"),
        WHEN,
        ("ip.src", "10.0.0.2,10.0.0.1"),
        ("ip.dst", "10.0.0.1,10.0.0.2"),
        ("ip.proto", "1,17"),
        ("icmp.type", "3"),
        ("icmp.code", "3"),
        ("udp.srcport", "5"),
    ]);
    let frames = frames(&[quoted]);
    let (key, _) = frames.flows.first_key_value().unwrap();
    assert_eq!((key.protocol, key.source_port, key.destination_port), (1, Some(3), Some(3)));
}

#[test]
fn tcp_flags_and_times_are_kept_per_flow() {
    let frame = |flags, time| {
        row(&[
            ("frame.protocols", "eth:ethertype:ip:tcp"),
            ("frame.len", "66"),
            ("frame.time_epoch", time),
            ("ip.src", "10.0.0.1"),
            ("ip.dst", "10.0.0.2"),
            ("ip.proto", "6"),
            ("tcp.srcport", "1"),
            ("tcp.dstport", "2"),
            ("tcp.flags", flags),
        ])
    };
    let rows = [frame("0x0002", "5.5"), frame("0x0011", "6.000000001"), frame("0x0004", "7.0")];
    let frames = frames(&rows);
    let (_, seen) = frames.flows.first_key_value().unwrap();
    assert_eq!((seen.syn, seen.fin, seen.rst), (1, 1, 1));
    assert_eq!(seen.first, Duration::from_millis(5500));
    assert_eq!(seen.last, Duration::from_secs(7));
    assert_eq!(seen.amount, Amount::new(3, 198));
}

#[test]
fn what_is_not_ip_is_kept_by_sender_and_type() {
    let arp = row(&[
        ("frame.protocols", "eth:ethertype:arp"),
        ("frame.len", "42"),
        WHEN,
        ("eth.src", "2a:00:00:00:00:01"),
        ("eth.type", "0x0806"),
    ]);
    let frames = frames(&[arp.clone(), arp]);
    let (key, _) = frames.other.first_key_value().unwrap();
    assert_eq!((key.source.as_deref(), key.ethertype), (Some("2a:00:00:00:00:01"), Some(0x0806)));
    assert_eq!((frames.other(), frames.total()), (Amount::new(2, 84), Amount::new(2, 84)));
}

#[test]
fn a_row_without_a_length_is_an_error_and_not_a_zero() {
    let broken = row(&[("frame.protocols", "eth:ethertype:arp"), WHEN]);
    assert!(matches!(sum(broken.as_bytes()), Err(TruthError::Form { program: "tshark", .. })));
}

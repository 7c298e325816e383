/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Protocol numbers and headers as they stand on the wire, in network order. */
#ifndef WIRE_BPF_H
#define WIRE_BPF_H

#include "bpf_base.bpf.h"

#define ETH_LEN 14
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_8021Q 0x8100
#define ETHERTYPE_8021AD 0x88a8
#define ETHERTYPE_TEB 0x6558

#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_IPIP 4
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_IPV6 41
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_GRE 47
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60
#define PROTO_SCTP 132

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define TCP_LEN 20
#define UDP_LEN 8
#define SCTP_LEN 12
#define ICMP_LEN 8

struct ipv4_header {
	u8 version_ihl, tos;
	u16 total, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 src, dst;
};

struct ipv6_header {
	u8 version_class, class_label;
	u16 label, payload;
	u8 next, hops;
	u32 src[4], dst[4];
};

struct tcp_header {
	u16 src_port, dst_port;
	u32 seq, ack;
	u8 offset, flags;
	u16 window, checksum, urgent;
};

struct udp_header {
	u16 src_port, dst_port, len, checksum;
};

struct ipv6_extension {
	u8 next, len;
	u16 fragment;
	u32 id;
};

#endif

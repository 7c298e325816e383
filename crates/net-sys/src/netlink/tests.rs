use super::wire::{Attributes, HEADER, Nested};
use super::*;

/// A reply as the kernel frames it.
fn reply(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    Request::new(kind, body).with_flags(flags).finish(7)
}

fn only(bytes: &[u8]) -> Message<'_> {
    Messages::new(bytes).next().unwrap().unwrap()
}

#[test]
fn a_request_is_framed_as_rfc_3549_says() {
    let bytes = Request::new(18, &[9]).with_flags(4).with_text(3, "lo").finish(1);
    let mut expected = 28_u32.to_ne_bytes().to_vec();
    expected.extend(18_u16.to_ne_bytes());
    expected.extend(5_u16.to_ne_bytes());
    expected.extend(1_u32.to_ne_bytes());
    expected.extend([0; 4]);
    expected.extend([9, 0, 0, 0]);
    expected.extend(7_u16.to_ne_bytes());
    expected.extend(3_u16.to_ne_bytes());
    expected.extend(*b"lo\0\0");
    assert_eq!(bytes, expected);
}

#[test]
fn nested_attributes_come_back_as_they_went_in() {
    let inner = Nested::new().with(6, &5_u32.to_ne_bytes()).with_text(7, "name");
    let bytes = Request::new(1, &[]).with_nested(2, inner).finish(1);
    let outer = Attributes::new(only(&bytes).body).next().unwrap().unwrap();
    assert_eq!(outer.kind, 2, "the flag bit of a nested attribute is not part of its type");
    let inner: Vec<_> = outer.nested().map(Result::unwrap).collect();
    assert_eq!(inner[0].u32("number"), Ok(5));
    assert_eq!(inner[1].text(), "name");
}

#[test]
fn messages_of_one_datagram_are_read_one_by_one() {
    let mut datagram = reply(1, 0, b"abc");
    datagram.extend(reply(2, 0, b""));
    let kinds: Vec<_> = Messages::new(&datagram).map(|message| message.unwrap().kind).collect();
    assert_eq!(kinds, [1, 2]);
}

#[test]
fn one_octet_short_is_an_error_at_every_length() {
    let bytes = reply(1, 0, &[1, 2, 3, 4]);
    for length in 1..bytes.len() {
        let first = Messages::new(&bytes[..length]).next();
        assert!(matches!(first, Some(Err(_))), "{length} octets were read as a message");
    }
}

#[test]
fn a_length_below_the_header_ends_the_datagram() {
    let mut bytes = reply(1, 0, &[]);
    bytes[..4].copy_from_slice(&(HEADER as u32 - 1).to_ne_bytes());
    let read: Vec<_> = Messages::new(&bytes).collect();
    assert!(matches!(read[..], [Err(ParseError::Length { claimed: 15, have: 16, .. })]));
}

#[test]
fn a_length_of_four_gigabytes_is_refused() {
    let mut bytes = reply(1, 0, &[]);
    bytes[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(matches!(Messages::new(&bytes).next(), Some(Err(ParseError::Length { .. }))));
}

#[test]
fn attributes_that_overlap_or_overrun_are_refused() {
    for claimed in [0_u16, 3, 9, u16::MAX] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&claimed.to_ne_bytes());
        let read: Vec<_> = Attributes::new(&bytes).collect();
        assert!(matches!(read[..], [Err(ParseError::Length { .. })]), "length {claimed}");
    }
}

#[test]
fn an_attribute_text_ends_at_its_first_nul_and_need_not_be_utf8() {
    let bytes = Request::new(1, &[]).with(3, b"a\xffb\0c").finish(1);
    let attribute = Attributes::new(only(&bytes).body).next().unwrap().unwrap();
    assert_eq!(attribute.text(), "a\u{fffd}b");
}

#[test]
fn an_acknowledgement_is_success() {
    let bytes = reply(libc::NLMSG_ERROR as u16, 0, &[0; 4 + HEADER]);
    assert_eq!(only(&bytes).verdict(), Ok(Some(Verdict::Done)));
}

#[test]
fn a_refusal_carries_the_kernels_words_without_control_characters() {
    let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
    body.extend([0; HEADER]);
    let flags = libc::NLM_F_ACK_TLVS as u16;
    let request = Request::new(libc::NLMSG_ERROR as u16, &body).with_flags(flags);
    let bytes = request.with_text(1, "not\x1b[2J so").finish(7);
    let detail = Some("not[2J so".into());
    let expected = Verdict::Refused { errno: libc::EINVAL, detail };
    assert_eq!(only(&bytes).verdict(), Ok(Some(expected)));
}

#[test]
fn a_dump_may_end_in_an_error() {
    let bytes = reply(libc::NLMSG_DONE as u16, 0, &(-libc::ENODEV).to_ne_bytes());
    let expected = Verdict::Refused { errno: libc::ENODEV, detail: None };
    assert_eq!(only(&bytes).verdict(), Ok(Some(expected)));
}

#[test]
fn the_most_negative_error_number_is_refused() {
    let bytes = reply(libc::NLMSG_DONE as u16, 0, &i32::MIN.to_ne_bytes());
    assert!(matches!(only(&bytes).verdict(), Err(ParseError::Value { .. })));
}

#[test]
fn an_interrupted_dump_is_recognised_by_its_flag() {
    let bytes = reply(16, libc::NLM_F_DUMP_INTR as u16, &[]);
    assert!(only(&bytes).interrupted());
}

#[test]
fn an_interruption_anywhere_in_a_datagram_spoils_the_dump() {
    let mut datagram = reply(16, 0, b"one");
    datagram.extend(reply(16, libc::NLM_F_DUMP_INTR as u16, b"two"));
    datagram.extend(reply(libc::NLMSG_DONE as u16, 0, &[0; 4]));
    datagram.extend(reply(16, 0, b"behind the verdict"));
    let mut seen = 0;
    let progress = digest(&datagram, 7, &mut |_message| {
        seen += 1;
        Ok(())
    });
    assert_eq!(progress, Ok(Progress { consistent: false, verdict: Some(Verdict::Done) }));
    assert_eq!(seen, 2);
}

#[test]
fn a_datagram_of_another_exchange_says_nothing_about_ours() {
    let mut datagram = reply(16, libc::NLM_F_DUMP_INTR as u16, b"one");
    datagram.extend(reply(libc::NLMSG_DONE as u16, 0, &[0; 4]));
    let progress = digest(&datagram, 8, &mut |_message| Err(ParseError::Value { what: "none" }));
    assert_eq!(progress, Ok(Progress { consistent: true, verdict: None }));
}

#[test]
fn error_numbers_become_kinds() {
    let kind = |errno| NetlinkError::refused(Operation::Links, errno, None).reason();
    assert_eq!(kind(libc::ENODEV), "no_device");
    assert_eq!(kind(libc::EPERM), "not_permitted");
    assert_eq!(kind(libc::EACCES), "not_permitted");
    assert_eq!(kind(libc::EEXIST), "exists");
    assert_eq!(kind(libc::ENOENT), "not_found");
    assert_eq!(kind(libc::EBUSY), "refused");
}

#[test]
fn replies_to_an_earlier_request_are_passed_over() {
    let mut connection = Connection::open().unwrap();
    let header = [0; 16];
    let stale = Request::new(libc::RTM_GETLINK, &header).with_flags(libc::NLM_F_DUMP as u16);
    connection.send(Operation::Links, stale).unwrap();
    let mut seen = Vec::new();
    let mut header = header;
    header[4] = 1;
    let request = Request::new(libc::RTM_GETLINK, &header);
    connection
        .exchange(Operation::Links, request, |message| {
            seen.push(message.sequence);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [2], "only the second request's reply is to be seen");
}

#[test]
fn a_verdict_from_anybody_but_the_kernel_is_not_believed() {
    let mut connection = Connection::open().unwrap();
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    // A socket pair has no kernel behind it, so its datagrams are foreign and never believed.
    set_socket_timeout(&ours, Timeout::Recv, Some(Duration::from_millis(20))).unwrap();
    connection.socket = ours;
    send(&theirs, &reply(libc::NLMSG_DONE as u16, 0, &[0; 4]), SendFlags::empty()).unwrap();
    let request = Request::new(libc::RTM_GETLINK, &[0; 16]);
    let outcome = connection.dump(Operation::Links, &request, |_| Ok(Some(())));
    assert!(matches!(outcome, Err(NetlinkError::Timeout { .. })), "{outcome:?}");
}

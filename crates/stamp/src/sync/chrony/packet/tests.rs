use super::{Origin, Tracking, request, tracking};
use crate::sync::exchange::Unheard;

/// 1, 1/2, -1/4 and 2^-20 as the protocol writes them.
const ONE: [u8; 4] = [0x04, 0x80, 0, 0];
const HALF: [u8; 4] = [0x02, 0x80, 0, 0];
const MINUS_QUARTER: [u8; 4] = [0x01, 0x80, 0, 0];
const MILLIONTH: [u8; 4] = [0xdc, 0x80, 0, 0];
const ZERO: [u8; 4] = [0; 4];

/// A header that belongs to `request`.
pub(in crate::sync::chrony) fn answer(request: &[u8], kind: u8, status: u8) -> Vec<u8> {
    let mut reply = vec![6, 2, 0, 0, request[4], request[5], 0, kind, 0, status, 0, 0, 0, 0, 0, 0];
    reply.extend(&request[8..12]);
    reply.extend([0; 8]);
    reply
}

/// The body of one that follows `reference` at `address`.
pub(in crate::sync::chrony) fn body(
    reference: [u8; 4],
    family: u8,
    stratum: u8,
    leap: u8,
) -> Vec<u8> {
    body_with(reference, family, stratum, leap, [MINUS_QUARTER, HALF, ONE])
}

fn body_with(
    reference: [u8; 4],
    family: u8,
    stratum: u8,
    leap: u8,
    [correction, delay, dispersion]: [[u8; 4]; 3],
) -> Vec<u8> {
    let mut body = [reference, reference].concat();
    body.extend([0; 12]);
    body.extend([0, family, 0, 0, 0, stratum, 0, leap]);
    body.extend([0, 0, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, 9]);
    body.extend([correction, ONE, ONE, MILLIONTH, MILLIONTH, MILLIONTH].concat());
    body.extend([delay, dispersion, ONE].concat());
    body
}

/// What chronyd 4.3 says to request 77 when it follows a server on 127.0.0.1.
const FOLLOWS_SERVER: &str = "060200000021000500000000000000000000004d0000000000000000\
    7f0000017f0000010000000000000000000000000001000000020000000000006b022e760bb6b05c\
    d90f2bbed4e3cb7edafa17de01303561f8b7650502917cd4e0a87179dc9b21aefe81e36e";

/// The same when it follows a clock called PHC0.
const FOLLOWS_CLOCK: &str = "060200000021000500000000000000000000004d0000000000000000\
    50484330000000000000000000000000000000000000000000010000000000006b022e541c96ec64\
    0000000000000000000000000000000000000000dc8636fac889705fd6e385b600000000";

fn octets(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().as_chunks::<2>().0;
    let octet = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(octet).collect()
}

#[test]
fn a_daemon_on_a_server_and_one_on_a_clock_are_read_as_their_own_tool_reads_them() {
    let server = tracking(77, &octets(FOLLOWS_SERVER)).unwrap().unwrap();
    assert_eq!((server.origin(), server.is_synchronised()), (Origin::Server, true));
    // 1155.820 ns of dispersion, 5020.000 of delay, 448.579 to correct.
    assert_eq!(server.error_ns(), 4_116);
    let clock = tracking(77, &octets(FOLLOWS_CLOCK)).unwrap().unwrap();
    assert_eq!((clock.origin(), clock.is_synchronised()), (Origin::Clock(*b"PHC0"), true));
    // 211.895 ns of dispersion, 1.000 of delay, nothing to correct.
    assert_eq!(clock.error_ns(), 214);
}

#[test]
fn a_request_is_as_long_as_its_answer_and_says_what_it_asks() {
    let request = request(0x0102_0304);
    assert_eq!(request[..12], [6, 1, 0, 0, 0, 33, 0, 0, 1, 2, 3, 4]);
    assert!(request[12..].iter().all(|&octet| octet == 0));
    assert_eq!(request.len(), octets(FOLLOWS_CLOCK).len());
}

#[test]
fn the_error_is_dispersion_and_half_the_delay_and_what_is_not_corrected() {
    let told = Tracking::parse(&body([10, 0, 0, 1], 1, 3, 0)).unwrap();
    assert_eq!(told.error_ns(), 1_500_000_001, "1 + 1/2 / 2 + |-1/4| seconds, rounded up");
    let small = [ZERO, MILLIONTH, MILLIONTH];
    let told = Tracking::parse(&body_with([10, 0, 0, 1], 1, 3, 0, small)).unwrap();
    assert_eq!(told.error_ns(), 1_432, "1.5 times 2^-20 seconds are 1,430.5 ns");
    let nothing = body_with([10, 0, 0, 1], 1, 3, 0, [ZERO; 3]);
    assert_eq!(Tracking::parse(&nothing).unwrap().error_ns(), 1, "no clock is right");
}

#[test]
fn numbers_at_both_ends_of_the_format_neither_overflow_nor_pass_for_small() {
    let (most, least) = ([0x7e, 0xff, 0xff, 0xff], [0x7f, 0, 0, 0]);
    let huge = Tracking::parse(&body_with(*b"PHC0", 1, 1, 0, [least, most, most])).unwrap();
    assert_eq!(huge.error_ns(), u64::MAX);
    for negative in [[least, least, ONE], [least, ONE, least], [ZERO, MINUS_QUARTER, ONE]] {
        assert_eq!(Tracking::parse(&body_with(*b"PHC0", 1, 1, 0, negative)), None);
    }
}

#[test]
fn a_cut_answer_is_malformed_and_a_cut_header_is_none() {
    let full = octets(FOLLOWS_CLOCK);
    for len in 0..28 {
        assert!(tracking(77, &full[..len]).is_none(), "{len} octets");
    }
    for len in 28..full.len() {
        let told = tracking(77, &full[..len]);
        assert!(matches!(told, Some(Err(Unheard::Malformed))), "{len} octets: {told:?}");
    }
}

#[test]
fn only_what_belongs_to_the_request_is_its_answer() {
    let right = octets(FOLLOWS_CLOCK);
    // Version, type, reserved octets, command and sequence number.
    for at in [0, 1, 2, 3, 4, 5, 16, 17, 18, 19] {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        assert!(tracking(77, &wrong).is_none(), "octet {at}");
    }
    let newer = [right, vec![0xa5; 8]].concat();
    assert!(matches!(tracking(77, &newer), Some(Ok(_))), "it may grow at its end");
}

#[test]
fn a_refusal_tells_its_code_and_another_body_is_malformed() {
    let told = |kind, status| tracking(77, &answer(&request(77), kind, status)).unwrap();
    assert!(matches!(told(1, 2), Err(Unheard::Refused { code: 2 })));
    assert!(matches!(told(5, 2), Err(Unheard::Refused { code: 2 })));
    assert!(matches!(told(6, 0), Err(Unheard::Malformed)));
}

#[test]
fn nothing_is_followed_without_a_stratum_a_leap_status_and_a_reference() {
    let follows = |reference, stratum, leap| {
        Tracking::parse(&body(reference, 1, stratum, leap)).unwrap().is_synchronised()
    };
    let server = [10, 0, 0, 1];
    assert!(follows(server, 1, 0) && follows(server, 15, 2));
    assert!(!follows(server, 0, 0) && !follows(server, 16, 0));
    assert!(!follows(server, 2, 3) && !follows(server, 2, 4) && !follows([0; 4], 2, 0));
}

#[test]
fn what_has_an_address_is_a_server_whatever_it_reads_like() {
    let origin =
        |reference, family| Tracking::parse(&body(reference, family, 1, 0)).unwrap().origin();
    assert_eq!(origin(*b"PHC0", 0), Origin::Clock(*b"PHC0"));
    assert_eq!(origin(*b"PHC0", 1), Origin::Server, "80.72.67.48");
    assert_eq!(origin(*b"PHC0", 2), Origin::Server, "the digest of an IPv6 address");
    assert_eq!(origin([127, 127, 1, 1], 0), Origin::Itself);
    assert_eq!(origin([127, 127, 1, 1], 1), Origin::Server);
}

use super::{
    Asked, Asker, DefaultDataSet, GrandmasterSettings, Id, PortDataSet, PortState, Question,
    TimeStatus,
};
use crate::sync::Source;
use crate::sync::exchange::Unheard;

const IDENTITY: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Octets of a TIME_STATUS_NP that hold -5 ns, an ingress of 7 ns and a grandmaster.
const STATUS: [u8; 50] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x9e, 0xe3, 0x49, 0xff, 0xfe, 0xc5, 0xa3,
    0xbb,
];

const fn asked(id: Id) -> Asked {
    Asked { identity: IDENTITY, sequence: 0x0b0c, id, port: 0xffff }
}

/// The answer to `request` with a TLV of this kind.
pub(in crate::sync::ptp) fn response(
    request: &[u8],
    kind: u8,
    code: [u8; 2],
    body: &[u8],
) -> Vec<u8> {
    let len = 54 + body.len() as u8;
    let mut packet = request[..48].to_vec();
    packet[3] = len;
    packet[20..30].copy_from_slice(&[0x56, 0xd4, 0x99, 0xff, 0xfe, 0x52, 0x93, 0xc3, 0, 0]);
    packet[34..44].copy_from_slice(&request[20..30]);
    packet[46] = 2;
    packet.extend([0, kind, 0, 2 + body.len() as u8]);
    packet.extend(code);
    packet.extend(body);
    packet
}

/// The same, as it should be.
pub(in crate::sync::ptp) fn right(request: &[u8], body: &[u8]) -> Vec<u8> {
    response(request, 1, [request[52], request[53]], body)
}

/// A TIME_STATUS_NP.
pub(in crate::sync::ptp) fn status(offset_ns: i64, ingress: i64, has_grandmaster: bool) -> Vec<u8> {
    let mut body = STATUS.to_vec();
    body[..8].copy_from_slice(&offset_ns.to_be_bytes());
    body[8..16].copy_from_slice(&ingress.to_be_bytes());
    body[41] = u8::from(has_grandmaster);
    body
}

#[test]
fn a_question_reads_as_the_standard_has_it_and_crosses_no_boundary() {
    let request = asked(Id::TimeStatus).request(24);
    let expected = [
        0x0d, 2, 0, 54, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
        10, 0x0b, 0x0c, 4, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        0, 0, 0, 1, 0, 2, 0xc0, 0,
    ];
    assert_eq!(request, expected);
}

#[test]
fn no_two_askers_have_one_identity_and_no_two_questions_one_number() {
    let (mut one, other) = (Asker::new(), Asker::new());
    assert_ne!(one.identity, other.identity);
    let (first, second) = (one.next(Id::TimeStatus, 1), one.next(Id::TimeStatus, 1));
    assert_ne!(first.sequence, second.sequence);
}

#[test]
fn an_answer_gives_its_domain_and_body() {
    let question = asked(Id::TimeStatus);
    let mut packet = right(&question.request(44), &STATUS);
    // Behind the message, and so not in it.
    packet.extend([0xa5; 9]);
    let (domain, body) = question.response(&packet).unwrap();
    let status = TimeStatus::parse(body.unwrap()).unwrap();
    assert_eq!((domain, status.offset_ns, status.ingress), (44, -5, 7));
    assert!(status.has_grandmaster);
}

#[test]
fn what_is_cut_is_no_answer() {
    let question = asked(Id::TimeStatus);
    let packet = right(&question.request(0), &STATUS);
    for len in 0..packet.len() {
        let told = question.response(&packet[..len]);
        assert!(told.is_none(), "{len} octets: {told:?}");
    }
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let question = asked(Id::TimeStatus);
    let packet = right(&question.request(0), &STATUS);
    for (at, value) in [(3, 48), (3, 51), (3, 53), (3, 103), (50, 0xff), (51, 0), (51, 1), (51, 53)]
    {
        let mut wrong = packet.clone();
        wrong[at] = value;
        let told = question.response(&wrong);
        assert!(matches!(told, Some((_, Err(Unheard::Malformed)))), "{at} {value}: {told:?}");
    }
    let mut wrong = packet;
    wrong[3] = 20;
    assert!(question.response(&wrong).is_none(), "shorter than a header");
}

#[test]
fn an_answer_to_somebody_else_is_none() {
    let question = asked(Id::TimeStatus);
    let packet = right(&question.request(0), &STATUS);
    // Type, version, sequence, and whom it is for; then a question instead of an answer.
    for at in [0, 1, 30, 31].into_iter().chain(34..44).chain([46]) {
        let mut wrong = packet.clone();
        wrong[at] ^= 1;
        assert!(question.response(&wrong).is_none(), "octet {at}");
    }
    let mut other = packet;
    other[0] |= 0x10;
    other[1] |= 0x10;
    assert!(question.response(&other).is_some(), "the profile and the minor version are theirs");
}

#[test]
fn an_error_tells_its_code_and_another_subject_is_malformed() {
    let question = asked(Id::GrandmasterSettings);
    let request = question.request(0);
    let error = response(&request, 2, [0, 6], &[0xc0, 1, 0, 0, 0, 0]);
    let (_, refused) = question.response(&error).unwrap();
    assert!(matches!(refused, Err(Unheard::Refused { code: 6 })), "{refused:?}");
    for (kind, code) in [(1, [0xc0, 0]), (3, [0xc0, 1])] {
        let packet = response(&request, kind, code, &STATUS);
        let (_, other) = question.response(&packet).unwrap();
        assert!(matches!(other, Err(Unheard::Malformed)), "{other:?}");
    }
}

#[test]
fn a_cut_body_is_none() {
    fn none<Q: Question>(full: usize) {
        for len in 0..full {
            assert!(Q::parse(&vec![0; len]).is_none(), "{:?} of {len} octets", Q::ID);
        }
        assert!(Q::parse(&vec![0; full]).is_some(), "{:?}", Q::ID);
    }
    none::<DefaultDataSet>(20);
    none::<PortDataSet>(26);
    none::<TimeStatus>(50);
    none::<GrandmasterSettings>(8);
}

#[test]
fn ports_are_counted_and_masters_and_slaves_known() {
    let mut clock = [0; 20];
    clock[2..4].copy_from_slice(&[1, 2]);
    assert_eq!(DefaultDataSet::parse(&clock).unwrap().ports, 0x0102);
    let state = |code| {
        let mut port = [0; 26];
        port[10] = code;
        PortDataSet::parse(&port).unwrap().state
    };
    for code in 0..=u8::MAX {
        let expected = match code {
            6 | 10 => PortState::Master,
            9 => PortState::Slave,
            _ => PortState::Other,
        };
        assert_eq!(state(code), expected, "{code}");
    }
}

#[test]
fn a_grandmaster_is_as_good_as_its_class_of_accuracy() {
    let settings = |accuracy, source| {
        GrandmasterSettings::parse(&[6, accuracy, 0x4e, 0x5d, 0, 37, 0x3c, source]).unwrap()
    };
    assert_eq!(
        settings(0x21, 0x20),
        GrandmasterSettings { accuracy_ns: Some(100), source: Source::Gnss }
    );
    assert_eq!(settings(0x30, 0x50).accuracy_ns, Some(10_000_000_000));
    assert_eq!(settings(0x30, 0x50).source, Source::Ntp);
    assert_eq!(settings(0x23, 0x40).source, Source::Ptp);
    for unknown in [0, 0x16, 0x31, 0x80, 0xfe, 0xff] {
        assert_eq!(settings(unknown, 0xa0).accuracy_ns, None, "{unknown}");
    }
    assert_eq!(settings(0xfe, 0xa0).source, Source::Local);
    let known: Vec<_> = (0x17..=0x30).map(|code| settings(code, 0).accuracy_ns.unwrap()).collect();
    assert!(known.is_sorted(), "{known:?}");
}

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::packet::tests::{answer, body};
use super::{ask, clock};
use crate::sync::exchange::Unheard;
use crate::sync::{Choice, Discipline, Source};

const SERVER: [u8; 4] = [10, 0, 0, 1];

/// A daemon that answers each of `requests` requests with what `reply` makes of it.
fn daemon(
    requests: usize,
    reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (Choice<SocketAddr>, JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let address = socket.local_addr().unwrap();
    let thread = thread::spawn(move || {
        for _ in 0..requests {
            let mut buffer = [0; 512];
            let (len, asker) = socket.recv_from(&mut buffer).expect("a request");
            for packet in reply(&buffer[..len]) {
                socket.send_to(&packet, asker).unwrap();
            }
        }
    });
    (Choice::At(address), thread)
}

fn told(
    requests: usize,
    reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> Result<Discipline, Unheard> {
    let (choice, thread) = daemon(requests, reply);
    let told = ask(&choice, Instant::now() + Duration::from_secs(5));
    thread.join().unwrap();
    told
}

fn ok(request: &[u8], body: Vec<u8>) -> Vec<u8> {
    [answer(request, 5, 0), body].concat()
}

#[test]
fn a_server_is_the_source_with_its_error() {
    let told = told(1, |request| vec![ok(request, body(SERVER, 1, 2, 0))]).unwrap();
    assert_eq!((told.source, told.error_ns, told.ptp), (Source::Ntp, Some(1_500_000_001), false));
}

#[test]
fn its_own_clock_is_a_source_whose_error_nobody_knows() {
    let own = |request: &[u8]| vec![ok(request, body([127, 127, 1, 1], 0, 1, 0))];
    let told = told(1, own).unwrap();
    assert_eq!((told.source, told.error_ns, told.ptp), (Source::Local, None, false));
}

#[test]
fn a_card_is_ptp() {
    let card = |request: &[u8]| vec![ok(request, body(*b"PHC0", 0, 1, 0))];
    let told = told(1, card).unwrap();
    assert_eq!((told.source, told.error_ns, told.ptp), (Source::Ptp, Some(1_500_000_001), true));
}

#[test]
fn names_tell_what_a_clock_is() {
    for (name, source) in [
        (b"PHC0", Source::Ptp),
        (b"ptp1", Source::Ptp),
        (b"PPS0", Source::Gnss),
        (b"uPPS", Source::Gnss),
        (b"GPS\0", Source::Gnss),
        (b"SHM2", Source::Gnss),
        (b"RTC0", Source::Local),
        (b"XTAL", Source::Local),
    ] {
        assert_eq!(clock(*name), source, "{name:?}");
    }
}

#[test]
fn an_unsynchronised_daemon_keeps_nothing() {
    let lost = |request: &[u8]| vec![ok(request, body(SERVER, 1, 0, 3))];
    assert!(matches!(told(1, lost), Err(Unheard::Unsynchronised)));
}

#[test]
fn an_answer_to_somebody_else_is_passed_over() {
    let told = told(1, |request| {
        let mut other = ok(request, body([127, 127, 1, 1], 0, 1, 0));
        other[16] ^= 0xff;
        vec![other, vec![], vec![0xa5; 1_400], ok(request, body(SERVER, 1, 2, 0))]
    });
    assert_eq!(told.unwrap().source, Source::Ntp);
}

#[test]
fn cut_answers_and_refusals_are_told_apart() {
    let cut = |request: &[u8]| vec![ok(request, body(SERVER, 1, 2, 0)[..75].to_vec())];
    assert!(matches!(told(1, cut), Err(Unheard::Malformed)));
    let refuse = |request: &[u8]| vec![answer(request, 1, 2)];
    assert!(matches!(told(1, refuse), Err(Unheard::Refused { code: 2 })));
}

#[test]
fn a_flood_of_what_nobody_asked_for_ends_before_the_deadline() {
    let began = Instant::now();
    assert!(matches!(told(1, |_| vec![vec![0xa5; 104]; 64]), Err(Unheard::Silent)));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_silent_daemon_is_waited_for_until_the_deadline() {
    let (choice, thread) = daemon(1, |_| Vec::new());
    let (began, patience) = (Instant::now(), Duration::from_millis(50));
    assert!(matches!(ask(&choice, began + patience), Err(Unheard::Silent)));
    let took = began.elapsed();
    assert!(patience <= took && took < Duration::from_secs(3), "{took:?}");
    thread.join().unwrap();
}

#[test]
fn where_nobody_listens_that_is_known_at_once() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let began = Instant::now();
    let told = ask(&Choice::At(closed), began + Duration::from_secs(5));
    assert!(matches!(told, Err(Unheard::Unreachable(_))), "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(matches!(ask(&Choice::Off, began), Err(Unheard::Off)));
}

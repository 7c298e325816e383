use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stamp_proto::clock::MonoTime;

use super::management::TimeStatus;
use super::management::tests::{response, right, status};
use super::{Ptp, STALE_NS};
use crate::sync::exchange::Unheard;
use crate::sync::{Choice, Discipline, Settings, Source, look};

/// A daemon that answers each of `requests` requests with what `reply` makes of it.
fn daemon(
    path: &Path,
    requests: usize,
    mut reply: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> JoinHandle<()> {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    thread::spawn(move || {
        for _ in 0..requests {
            let mut buffer = [0; 512];
            let (len, asker) = socket.recv_from(&mut buffer).expect("a request");
            for packet in reply(&buffer[..len]) {
                socket.send_to_addr(&packet, &asker).unwrap();
            }
        }
    })
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ptp4l");
    (folder, path)
}

fn ask(ptp: &mut Ptp, path: &Path) -> Result<Discipline, Unheard> {
    ptp.ask(&Choice::At(path.to_owned()), Instant::now() + Duration::from_secs(5))
}

/// The body that a clock with these port states answers a question with.
fn body(request: &[u8], states: &[u8], status: &[u8]) -> Vec<u8> {
    match (request[52], request[53]) {
        (0x20, 0x00) => {
            let mut clock = vec![0; 20];
            clock[3] = states.len() as u8;
            clock
        }
        (0x20, 0x04) => {
            let mut port = vec![0; 26];
            port[10] = states[usize::from(request[43]) - 1];
            port
        }
        (0xc0, 0x00) => status.to_vec(),
        // Class 6, 100 ns, from satellites.
        _ => vec![6, 0x21, 0x4e, 0x5d, 0, 37, 0x3c, 0x20],
    }
}

fn measured(offset_ns: i64, ingress: i64) -> TimeStatus {
    TimeStatus { offset_ns, ingress, has_grandmaster: true }
}

fn at(seconds: i64) -> MonoTime {
    MonoTime::from_ns(seconds * 1_000_000_000)
}

#[test]
fn a_measurement_counts_once_another_has_taken_its_place() {
    let mut ptp = Ptp::default();
    assert!(matches!(ptp.follow(measured(40, 1), at(0)), Err(Unheard::Unproven)));
    assert!(matches!(ptp.follow(measured(40, 1), at(1)), Err(Unheard::Unproven)));
    let told = ptp.follow(measured(-300, 2), at(2)).unwrap();
    let expected = Discipline { source: Source::Ptp, error_ns: Some(1_300), ptp: true, at: at(2) };
    assert_eq!(told, expected);
}

#[test]
fn a_master_that_fell_silent_is_stale_until_it_speaks_again() {
    let mut ptp = Ptp::default();
    assert!(ptp.follow(measured(1, 1), at(0)).is_err());
    assert!(ptp.follow(measured(1, 2), at(1)).is_ok());
    assert!(ptp.follow(measured(1, 2), at(6)).is_ok(), "five seconds are not too many");
    let late = MonoTime::from_ns(at(1).as_ns() + STALE_NS + 1);
    assert!(matches!(ptp.follow(measured(1, 2), late), Err(Unheard::Stale)));
    assert!(ptp.follow(measured(1, 3), at(9)).is_ok());
    let mut never = Ptp::default();
    assert!(never.follow(measured(1, 1), at(0)).is_err());
    assert!(matches!(never.follow(measured(1, 1), at(6)), Err(Unheard::Stale)));
}

#[test]
fn the_worst_of_ten_reads_counts_and_then_is_forgotten() {
    let mut ptp = Ptp::default();
    assert!(ptp.follow(measured(7, 0), at(0)).is_err());
    assert!(ptp.follow(measured(-9_000, 1), at(1)).is_ok());
    for read in 2..=10 {
        let told = ptp.follow(measured(50, read), at(read)).unwrap();
        assert_eq!(told.error_ns, Some(10_000), "read {read}");
    }
    assert_eq!(ptp.follow(measured(50, 11), at(11)).unwrap().error_ns, Some(1_050));
    let worst = ptp.follow(measured(i64::MIN, 12), at(12)).unwrap();
    assert_eq!(worst.error_ns, Some((1 << 63) + 1_000));
}

#[test]
fn a_slave_without_a_grandmaster_follows_nothing() {
    let mut ptp = Ptp::default();
    let alone = TimeStatus { has_grandmaster: false, ..measured(0, 1) };
    assert!(matches!(ptp.follow(alone, at(0)), Err(Unheard::Unsynchronised)));
}

#[test]
fn a_slave_is_found_among_the_ports() {
    let (_folder, path) = place();
    let mut ingress = 0;
    // The first question is put in five domains.
    let daemon = daemon(&path, 5 + 3 + 1 + 1 + 3 + 1, move |request| {
        if request[4] != 0 {
            return Vec::new();
        }
        ingress += 1;
        vec![right(request, &body(request, &[4, 6, 9], &status(-200, ingress, true)))]
    });
    let mut ptp = Ptp::default();
    assert!(matches!(ask(&mut ptp, &path), Err(Unheard::Unproven)));
    let told = ask(&mut ptp, &path).unwrap();
    assert_eq!((told.source, told.error_ns, told.ptp), (Source::Ptp, Some(1_200), true));
    daemon.join().unwrap();
}

#[test]
fn a_look_waits_for_the_next_word_of_the_master() {
    let (_folder, path) = place();
    let mut reads = 0;
    let daemon = daemon(&path, 5 + 1 + 1 + 3 + 3, move |request| {
        if request[4] != 0 {
            return Vec::new();
        }
        reads += i64::from(request[52..54] == [0xc0, 0]);
        vec![right(request, &body(request, &[9], &status(-200, reads / 3, true)))]
    });
    let settings = Settings { chrony: Choice::Off, ptp: Choice::At(path) };
    let told = look(&settings).unwrap().expect("the third read is another one");
    assert_eq!((told.source, told.error_ns), (Source::Ptp, Some(1_200)));
    daemon.join().unwrap();
}

#[test]
fn a_master_is_as_good_as_it_says() {
    let (_folder, path) = place();
    let daemon = daemon(&path, 5 + 2, |request| match request[4] {
        24 => vec![right(request, &body(request, &[6], &[]))],
        _ => Vec::new(),
    });
    let mut ptp = Ptp::default();
    let told = ask(&mut ptp, &path).unwrap();
    assert_eq!((told.source, told.error_ns, told.ptp), (Source::Gnss, Some(1_100), true));
    assert_eq!(ptp.domain, Some(24), "the others are not asked again");
    daemon.join().unwrap();
}

#[test]
fn a_port_that_listens_keeps_nothing() {
    let (_folder, path) = place();
    let daemon = daemon(&path, 5 + 2, |request| match request[4] {
        0 => vec![right(request, &body(request, &[4, 8], &[]))],
        _ => Vec::new(),
    });
    assert!(matches!(ask(&mut Ptp::default(), &path), Err(Unheard::Unsynchronised)));
    daemon.join().unwrap();
}

#[test]
fn answers_that_are_foreign_refused_or_cut_give_nothing() {
    let outcome = |reply: fn(&[u8]) -> Vec<u8>| {
        let (_folder, path) = place();
        let daemon = daemon(&path, 5, move |request| match request[4] {
            0 => vec![reply(request)],
            _ => Vec::new(),
        });
        let mut ptp = Ptp::default();
        let told = ptp.ask(&Choice::At(path), Instant::now() + Duration::from_millis(300));
        daemon.join().unwrap();
        assert_eq!(ptp.domain, None, "it may be started again with another one");
        told
    };
    let foreign = |request: &[u8]| {
        let mut other = right(request, &[0; 20]);
        other[34] ^= 1;
        other
    };
    assert!(matches!(outcome(foreign), Err(Unheard::Silent)));
    let refused = |request: &[u8]| response(request, 2, [0, 6], &[0; 6]);
    assert!(matches!(outcome(refused), Err(Unheard::Refused { code: 6 })));
    assert!(matches!(outcome(|request| right(request, &[0; 19])), Err(Unheard::Malformed)));
}

#[test]
fn a_full_or_missing_socket_is_not_waited_for() {
    let (_folder, path) = place();
    let began = Instant::now();
    let missing = ask(&mut Ptp::default(), &path);
    assert!(matches!(missing, Err(Unheard::Unreachable(_))), "{missing:?}");
    let socket = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let filled = (0..100_000).any(|_| filler.send_to(b"x", &path).is_err());
    assert!(filled, "the queue of a socket is bounded");
    let full = ask(&mut Ptp::default(), &path);
    assert!(matches!(full, Err(Unheard::Unreachable(_))), "{full:?}");
    assert!(began.elapsed() < Duration::from_secs(4));
    assert!(matches!(Ptp::default().ask(&Choice::Off, began), Err(Unheard::Off)));
    drop(socket);
}

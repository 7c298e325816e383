use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use stamp_proto::clock::MonoTime;
use stamp_proto::tlv::SyncSource;

use super::{Choice, Discipline, STALE_NS, Settings, Shared, Source, Watch, best, look};
use crate::clock::monotonic;

const NOBODY: Settings = Settings { chrony: Choice::Off, ptp: Choice::Off };

fn discipline(source: Source, error_ns: Option<u64>, ptp: bool) -> Option<Discipline> {
    Some(Discipline { source, error_ns, ptp, at: MonoTime::from_ns(1) })
}

#[test]
fn the_smaller_error_wins_and_ptp_is_not_forgotten() {
    let ntp = discipline(Source::Ntp, Some(900), false);
    let ptp = discipline(Source::Ptp, Some(1_200), true);
    assert_eq!(best([ntp, ptp]), discipline(Source::Ntp, Some(900), true));
    assert_eq!(best([ptp, None]), ptp);
    assert_eq!(best([None, None]), None);
}

#[test]
fn an_error_that_nobody_knows_is_never_the_smaller_one() {
    let own = discipline(Source::Local, None, false);
    let ptp = discipline(Source::Ptp, Some(u64::MAX - 1), true);
    assert_eq!(best([own, ptp]), ptp);
    assert_eq!(best([own, None]), own);
}

#[test]
fn a_choice_is_written_as_a_word_or_a_place() {
    assert_eq!("auto".parse(), Ok(Choice::<std::net::SocketAddr>::Auto));
    assert_eq!("off".parse(), Ok(Choice::<std::path::PathBuf>::Off));
    assert_eq!("/run/ptp".parse(), Ok(Choice::At(std::path::PathBuf::from("/run/ptp"))));
    let address = "[::1]:323".parse::<std::net::SocketAddr>().unwrap();
    assert_eq!("[::1]:323".parse(), Ok(Choice::At(address)));
    assert!("sometimes".parse::<Choice<std::net::SocketAddr>>().is_err());
}

#[test]
fn sources_have_the_codes_of_the_extension() {
    let sources = [Source::Ntp, Source::Ptp, Source::Gnss, Source::Local];
    assert_eq!(sources.map(|source| SyncSource::from(source) as u8), [1, 2, 4, 5]);
    assert_eq!(sources.map(Source::name), ["ntp", "ptp", "gnss", "local"]);
}

#[test]
fn what_was_told_long_ago_is_told_no_more() {
    let watch = Watch { shared: Shared::default().into(), thread: None };
    let tell = |age_ns: i64| {
        let at = monotonic().after(-age_ns);
        watch.shared.lock().latest =
            Some(Discipline { source: Source::Ntp, error_ns: Some(1), ptp: false, at });
        watch.latest().is_some()
    };
    assert!(tell(STALE_NS - 2_000_000_000));
    assert!(!tell(STALE_NS + 1));
}

#[test]
fn a_watch_ends_as_soon_as_it_is_dropped() {
    let watch = Watch::start(NOBODY).unwrap();
    assert_eq!(watch.latest(), None);
    let began = Instant::now();
    drop(watch);
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
}

#[test]
fn a_look_at_nobody_returns_at_once() {
    let began = Instant::now();
    assert_eq!(look(&NOBODY).unwrap(), None);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_look_at_daemons_that_say_nothing_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ptp4l");
    let _mute = UnixDatagram::bind(&path).unwrap();
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings =
        Settings { chrony: Choice::At(mute.local_addr().unwrap()), ptp: Choice::At(path) };
    let began = Instant::now();
    assert_eq!(look(&settings).unwrap(), None);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

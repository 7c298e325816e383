//! What the time daemons say of a clock against what they say to their own tools.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fathom_tests::binary::SOON;
use stamp::sync::{Choice, Discipline, Settings, Source, Watch, look};
use tempfile::TempDir;
use testkit::proc::{Process, wait_for, wait_until};
use testkit::topology::Cidr;
use testkit::{Namespace, Place, Veth};

fn good<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// A daemon and the folder of its files; dropping it ends it.
struct Daemon {
    process: Process,
    folder: TempDir,
}

impl Daemon {
    /// Starts a program that may do everything but touch the clock.
    fn start(place: &Place, line: &[&str], configuration: &str) -> Self {
        let folder = good(tempfile::Builder::new().prefix("fathom-clock").tempdir());
        let path = folder.path().join("conf");
        let here = folder.path().display().to_string();
        good(std::fs::write(&path, configuration.replace("HERE", &here)));
        let command = place
            .command("setpriv")
            .args(["--bounding-set=-sys_time", "--inh-caps=-all"])
            .args(line)
            .arg("-f")
            .arg(&path);
        Self { process: good(command.spawn()), folder }
    }

    fn chronyd(place: &Place, configuration: &str, flags: &[&str]) -> Self {
        let configuration = format!("{configuration}\npidfile HERE/pid\nbindcmdaddress /\n");
        let line = [&["chronyd", "-d", "-x", "-u", "root"], flags].concat();
        let mut daemon = Self::start(place, &line, &configuration);
        good(daemon.process.wait_for_stderr("Disabled control of system clock", SOON));
        daemon
    }

    /// A clock that measures on `eth0` and leaves its own time as it is.
    fn ptp4l(place: &Place, configuration: &str) -> Self {
        let configuration = format!(
            "[global]\n{PTP}\ndomainNumber {DOMAIN}\nuds_address HERE/ptp4l\n{configuration}\n[eth0]\n"
        );
        let mut daemon = Self::start(place, &["ptp4l", "-S", "-m"], &configuration);
        let socket = daemon.socket();
        good(daemon.process.wait_for_file(&socket, SOON));
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("ptp4l")
    }

    /// What the project's own tool is told by ptp4l.
    fn pmc(&self, place: &Place, request: &str) -> String {
        let client = self.folder.path().join("pmc");
        let command = place.command("pmc").args(["-u", "-b", "0", "-d", DOMAIN, "-i"]).arg(client);
        let command = command.arg("-s").arg(self.socket()).arg(request);
        good(command.succeed(SOON)).text()
    }
}

fn namespace(label: &str) -> Namespace {
    good(Namespace::create(label))
}

fn looked(place: &Place, settings: &Settings) -> Option<Discipline> {
    good(good(place.run(|| look(settings))))
}

/// Waits until something keeps the clock of `place` that `is_it` accepts.
fn kept(place: &Place, settings: &Settings, is_it: impl Fn(&Discipline) -> bool) -> Discipline {
    let seen = || looked(place, settings).filter(&is_it);
    good(wait_for("clock that is kept so", SOON, seen))
}

/// chronyd alone is asked, where it usually listens.
const CHRONY: Settings = Settings { chrony: Choice::Auto, ptp: Choice::Off };

/// ptp4l alone is asked.
fn ptp_at(path: &Path) -> Settings {
    Settings { chrony: Choice::Off, ptp: Choice::At(path.to_owned()) }
}

/// Dispersion, delay and correction as chrony's own tool tells them, in nanoseconds.
fn told_by_chronyc(place: &Place) -> f64 {
    let told = good(place.command("chronyc").args(["-c", "-n", "tracking"]).succeed(SOON)).text();
    let field = |at: usize| {
        let text = told.trim().split(',').nth(at).unwrap_or_else(|| panic!("{told}"));
        good(text.parse::<f64>())
    };
    let (correction, delay, dispersion) = (field(4), field(10), field(11));
    (dispersion + delay / 2.0 + correction.abs()) * 1e9
}

/// A server that answers on `address` of its own loopback.
fn server(place: &Place, address: &str) -> Daemon {
    good(place.ip(["address", "replace", &format!("{address}/32"), "dev", "lo"]));
    let lines = format!("local stratum 1\nport 11123\nallow {address}\ncmdport 0");
    Daemon::chronyd(place, &lines, &[])
}

fn follower(place: &Place, address: &str) -> Daemon {
    let source = format!("server {address} port 11123 iburst minpoll -4 maxpoll -4");
    Daemon::chronyd(place, &format!("{source}\nport 0\ncmdport 323"), &[])
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_error_is_what_chrony_tells_its_own_tool() {
    let site = namespace("ntp");
    assert_eq!(looked(&site, &CHRONY), None, "nobody is there");
    let reference = server(&site, "127.0.0.1");
    let _follower = follower(&site, "127.0.0.1");
    kept(&site, &CHRONY, |told| told.source == Source::Ntp);
    // Without a server nothing is corrected any more, and dispersion only grows.
    good(reference.process.stop(SOON));
    let settled = || {
        let before = told_by_chronyc(&site);
        let told = looked(&site, &CHRONY)?;
        let after = told_by_chronyc(&site);
        assert_eq!((told.source, told.ptp), (Source::Ntp, false));
        let error = told.error_ns? as f64;
        // The tool writes three numbers of nine decimals.
        (before - 3.0 <= error && error <= after + 3.0 && error > 0.0).then_some(())
    };
    good(wait_for("the same error from both", SOON, settled));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn chronys_own_clock_is_no_measure_and_an_unsynchronised_one_is_none() {
    let site = namespace("ntp");
    let lost = Daemon::chronyd(&site, "port 0\ncmdport 323", &[]);
    assert_eq!(looked(&site, &CHRONY), None);
    drop(lost);
    // It listens on IPv6 alone, the second of the usual places.
    let _alone = Daemon::chronyd(&site, "local stratum 1\nport 0\ncmdport 323", &["-6"]);
    let told = kept(&site, &CHRONY, |told| told.source == Source::Local);
    assert_eq!((told.error_ns, told.ptp), (None, false));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_card_is_ptp_and_a_server_that_reads_like_one_is_not() {
    let site = namespace("card");
    let socket_clock = |name: &str| {
        format!("refclock SOCK HERE/clock refid {name} poll 0 filter 2\nport 0\ncmdport 323")
    };
    for (name, source) in [("PHC0", Source::Ptp), ("GPS", Source::Gnss)] {
        let daemon = Daemon::chronyd(&site, &socket_clock(name), &[]);
        let clock = daemon.folder.path().join("clock");
        let fed = || {
            feed(&clock);
            looked(&site, &CHRONY)
        };
        let told = good(wait_for("clock that is followed", SOON, fed));
        assert_eq!((told.source, told.ptp), (source, source == Source::Ptp), "{name}");
        assert!(told.error_ns.is_some_and(|error| error > 0), "{told:?}");
        drop(daemon);
    }
    // The octets of this address are the letters PHC0.
    let _server = server(&site, "80.72.67.48");
    let _follower = follower(&site, "80.72.67.48");
    let told = kept(&site, &CHRONY, |_| true);
    assert_eq!((told.source, told.ptp), (Source::Ntp, false));
}

/// One sample for a clock of chrony's driver SOCK: the time, and that it is right.
fn feed(path: &Path) {
    let now = good(SystemTime::now().duration_since(UNIX_EPOCH));
    let mut sample = Vec::from(now.as_secs().to_ne_bytes());
    sample.extend(u64::from(now.subsec_micros()).to_ne_bytes());
    sample.extend(0f64.to_ne_bytes());
    // No pulse, no leap second, padding, and the number that tells it from anything else.
    sample.extend([0, 0, 0, 0x534f_434b].map(i32::to_ne_bytes).as_flattened());
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(&sample, path));
    assert_eq!(good(sent), sample.len());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn ptp_is_what_its_own_tool_says_and_ends_with_the_master() {
    let (near, far) = (namespace("master"), namespace("slave"));
    let veth = good(Veth::join((near.place(), "eth0"), (far.place(), "eth0")));
    for (end, address) in veth.ends().into_iter().zip([1, 2]) {
        good(end.address(good(Cidr::new([10, 99, 0, address], 24))));
        good(end.ready(SOON));
    }
    let master = Daemon::ptp4l(&near, "priority1 100");
    let slave = Daemon::ptp4l(&far, "slaveOnly 1");
    let told = kept(&near, &ptp_at(&master.socket()), |_| true);
    assert_eq!((told.source, told.error_ns), (Source::Local, None), "it has but its oscillator");
    assert!(told.ptp, "others go by it");
    // It leaves its clock alone, and so calls itself uncertain until it is told otherwise.
    slave.pmc(&far, "SET SYNCHRONIZATION_UNCERTAIN_NP 0");
    let settings = ptp_at(&slave.socket());
    let told = kept(&far, &settings, |_| true);
    assert_eq!((told.source, told.ptp), (Source::Ptp, true));
    let watch = good(good(far.run(|| Watch::start(settings.clone()))));
    let agrees = || {
        let error = watch.latest()?.error_ns?;
        let told = slave.pmc(&far, "GET TIME_STATUS_NP");
        let offset = told.split_whitespace().skip_while(|word| *word != "master_offset").nth(1)?;
        // Both ends go by one clock, so what is measured is jitter; ours is the worst of ten.
        let offset = good(offset.parse::<i64>()).unsigned_abs();
        (offset + 1_000 <= error && error < 100_000_000).then_some(())
    };
    good(wait_for("the same offset from both", SOON, agrees));
    drop(master);
    good(wait_until("the end of it", SOON, || watch.latest().is_none()));
    assert_eq!(looked(&far, &settings), None, "nobody leads");
}

/// Not the one that is tried first.
const DOMAIN: &str = "24";

/// Fast enough for a test; times are read, never set.
const PTP: &str = "free_running 1\nlogAnnounceInterval -2\nlogSyncInterval -3\n\
                   logMinDelayReqInterval -3\nannounceReceiptTimeout 3";

//! Both commands as a user gives them, over the loopback device.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use stamp::settings::{Host, Reflect, Send, expand};
use stamp::{Controls, Error, Exit, System};

#[derive(Parser)]
struct SendLine {
    #[command(flatten)]
    settings: Send,
}

#[derive(Parser)]
struct ReflectLine {
    #[command(flatten)]
    settings: Reflect,
}

fn parse<L: Parser>(line: &str) -> Result<L, clap::Error> {
    let arguments = ["fathom"].into_iter().chain(line.split_whitespace()).map(Into::into);
    L::try_parse_from(expand(arguments).unwrap())
}

fn send(line: &str) -> Result<Value, Error> {
    let settings = parse::<SendLine>(&format!("{line} --backend socket"))
        .unwrap_or_else(|error| panic!("{error}"))
        .settings;
    let finished = System::new(&[settings], &[], &Host::default())?.run()?;
    Ok(serde_json::to_value(finished.sender).unwrap())
}

/// A reflector on a port of its own, until it is dropped or asked for its summary.
struct Reflector {
    port: u16,
    controls: Controls,
    thread: Option<JoinHandle<Value>>,
}

impl Reflector {
    fn start(flags: &str) -> Self {
        let (port, system) = free_ports()
            .find_map(|port| {
                let settings =
                    parse::<ReflectLine>(&format!("auto -p {port} --backend socket {flags}"));
                let settings = settings.unwrap_or_else(|error| panic!("{error}")).settings;
                System::new(&[], &[settings], &Host::default()).ok().map(|system| (port, system))
            })
            .unwrap();
        let controls = system.controls();
        let thread =
            thread::spawn(move || serde_json::to_value(system.run().unwrap().reflector).unwrap());
        Self { port, controls, thread: Some(thread) }
    }

    fn summary(mut self) -> Value {
        self.controls.stop();
        self.thread.take().unwrap().join().unwrap()
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.controls.stop();
    }
}

/// Ports that were free a moment ago; somebody else may be faster.
fn free_ports() -> impl Iterator<Item = u16> {
    let port = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::iter::repeat_with(port).take(20)
}

fn key_file(octets: &[u8]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, octets).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

#[test]
fn every_packet_is_answered_and_timed() {
    let reflector = Reflector::start("");
    let port = reflector.port;
    let summary = send(&format!("auto 127.0.0.1 ::1 -s 0 -d {port} -c 20 -i 5ms")).unwrap();
    for target in summary["targets"].as_array().unwrap() {
        assert_eq!(
            (&target["packets"]["sent"], &target["packets"]["received"]),
            (&json!(20), &json!(20)),
            "{target}"
        );
        assert_eq!(target["packets"]["pending"], 0);
        assert_eq!(target["up"], true);
        assert_eq!(target["peer"]["ttl_forward"], 255);
        let rtt = &target["roundtrip"];
        assert_eq!(rtt["count"], 20);
        assert!((1..50_000_000).contains(&rtt["min"].as_i64().unwrap()), "{rtt}");
        assert!(target["residence"]["min"].as_i64() > Some(0));
        // Both ends have one clock: it must be inside of its own bounds.
        let (offset, bound) = (
            target["offset"]["offset_ns"].as_i64().unwrap(),
            target["offset"]["bound_ns"].as_i64().unwrap(),
        );
        assert!(offset.abs() <= bound, "{offset} ± {bound}");
    }
    let told = reflector.summary();
    assert_eq!((&told["requests"], &told["replies"]), (&json!(40), &json!(40)));
    let sessions: Vec<_> =
        told["sessions"].as_array().unwrap().iter().map(|session| &session["received"]).collect();
    assert_eq!(sessions, [20, 20]);
}

#[test]
fn signed_packets_need_the_same_key_on_both_ends() {
    let (_a, key) = key_file(b"a key that both ends have");
    let (_b, other) = key_file(b"a key that one of them has");
    let reflector = Reflector::start(&format!("--key-file {key}"));
    let port = reflector.port;
    let line = |key: &str| {
        format!(
            "auto 127.0.0.1 -s 0 -d {port} -c 5 -i 5ms -w 0.2 --tlv timestamp-info --key-file {key}"
        )
    };
    assert_eq!(send(&line(&key)).unwrap()["targets"][0]["packets"]["received"], 5);
    let refused = send(&line(&other)).unwrap();
    assert_eq!(
        (&refused["targets"][0]["packets"]["received"], &refused["targets"][0]["packets"]["lost"]),
        (&json!(0), &json!(5))
    );
    let told = reflector.summary();
    assert_eq!((&told["dropped"]["hmac"], &told["replies"]), (&json!(5), &json!(5)));
}

#[test]
fn nobody_answers_and_the_cause_is_told() {
    let port = free_ports().next().unwrap();
    let summary = send(&format!("auto 127.0.0.1 -s 0 -d {port} -c 3 -i 10ms -w 0.1")).unwrap();
    let target = &summary["targets"][0];
    assert_eq!(
        (&target["packets"]["lost_unknown"], &target["roundtrip"]),
        (&json!(3), &Value::Null)
    );
    assert!(target["packets"]["send_errors"]["icmp_unreachable"].as_u64() > Some(0), "{target}");
    assert_eq!(target["cause"], "icmp_unreachable");
}

#[test]
fn what_a_reflector_sends_is_never_answered() {
    let reflectors = [Reflector::start(""), Reflector::start("")];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = [0; 44];
    request[4..8].copy_from_slice(&[0xee, 0xab, 0x56, 0xe2]);
    socket.send_to(&request, reflectors[0].address()).unwrap();
    let mut reply = [0; 100];
    let (len, from) = socket.recv_from(&mut reply).unwrap();
    assert_eq!((len, from), (44, reflectors[0].address()));
    for reflector in &reflectors {
        socket.send_to(&reply[..len], reflector.address()).unwrap();
        socket.send_to(&request, reflector.address()).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 100]).unwrap();
        assert_eq!(from, reflector.address());
    }
    for (reflector, replies) in reflectors.into_iter().zip([2, 1]) {
        let told = reflector.summary();
        assert_eq!(
            (&told["replies"], &told["dropped"]["loop_guard"]),
            (&json!(replies), &json!(1))
        );
    }
}

#[test]
fn an_endless_measurement_ends_in_good_order_when_it_is_told_to() {
    let reflector = Reflector::start("");
    let line = format!("auto 127.0.0.1 -s 0 -d {} -i 1ms", reflector.port);
    let settings = parse::<SendLine>(&line).unwrap().settings;
    let prepared = System::new(&[settings], &[], &Host::default()).unwrap();
    let controls = prepared.controls();
    let thread =
        thread::spawn(move || serde_json::to_value(prepared.run().unwrap().sender).unwrap());
    thread::sleep(Duration::from_millis(300));
    controls.stop();
    let summary = thread.join().unwrap();
    assert_eq!(summary["complete"], false);
    let packets = &summary["targets"][0]["packets"];
    assert_eq!(packets["lost"], 0, "what is under way at the end is waited for: {packets}");
    let sum = packets["received"].as_u64().unwrap() + packets["lost"].as_u64().unwrap();
    assert_eq!((packets["sent"].as_u64().unwrap(), &packets["pending"]), (sum, &json!(0)));
}

#[test]
fn a_measurement_ends_with_its_time_and_waits_for_what_is_under_way() {
    let reflector = Reflector::start("");
    let began = Instant::now();
    let summary =
        send(&format!("auto 127.0.0.1 -s 0 -d {} -i 1ms --duration 0.2", reflector.port)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200));
    let packets = &summary["targets"][0]["packets"];
    assert!(packets["sent"].as_u64() > Some(20), "{packets}");
    assert_eq!((&summary["complete"], &packets["lost"]), (&json!(true), &json!(0)));
}

#[test]
fn each_reply_is_a_line_and_each_target_has_a_histogram() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (samples, hist) = (path("samples"), path("hist"));
    let reflector = Reflector::start("");
    let line = format!(
        "auto 127.0.0.1 ::1 -s 0 -d {} -c=10 -i=0.005000 --hist --bins=4 --floor=0 --ceiling=1000 --histpath {hist} --samples {samples}",
        reflector.port
    );
    send(&line).unwrap();
    let lines: Vec<Value> = std::fs::read_to_string(&samples)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 20);
    for line in &lines {
        let ns = |field: &str| line[field].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(
            (&line["schema"], &line["outcome"]),
            (&json!("fathom.stamp.sample/1"), &json!("ok"))
        );
        assert_eq!(line["residence_ns"], ns("t3") - ns("t2"));
        assert!(ns("t1") < ns("t4"));
    }
    for target in ["127.0.0.1", "::1"] {
        assert_eq!(std::fs::read_to_string(format!("{hist}.{target}")).unwrap(), "0 10 0 0 \n");
    }
}

#[test]
fn replaced_command_lines_still_parse() {
    for line in [
        "eth0 10.0.0.1 -s=1001 -d=1000 -c=5 -i=0.500000 -w=2 --debug --hist --bins=30 --floor=10 --ceiling=20 --histpath=/x --enforce-sync --enforce-ptp",
        "eth0 10.0.0.2 -c100 -i 0.5",
        "eth0 10.0.0.1 --hist 28 100 200 --histpath /home/hist",
        "--hist eth0 10.0.0.1",
        "-c 3 eth0 fd00::1 [fd00::2] fe80::1%eth0 node-1.example",
    ] {
        assert!(parse::<SendLine>(line).is_ok(), "{line}");
    }
    for line in [
        "eth0 -p=1000 --debug --output --hist --bins=30 --floor=1 --ceiling=9 --histpath=/y --enforce-sync --enforce-ptp",
        "eth0 --hist 28 100 200",
        "eth0",
    ] {
        assert!(parse::<ReflectLine>(line).is_ok(), "{line}");
    }
    let settings = parse::<SendLine>("eth0 10.0.0.1 -c=5 -i=0.500000 -w=2").unwrap().settings;
    assert_eq!(
        (settings.count, settings.interval, settings.timeout),
        (5, Duration::from_millis(500), Duration::from_secs(2))
    );
}

#[test]
fn wrong_command_lines_are_refused_at_once() {
    for line in [
        "eth0",
        "eth0 10.0.0.1 -i x",
        "eth0 10.0.0.1 --hist 28",
        "eth0 10.0.0.1 --hist 1 2",
        "eth0 10.0.0.1 --ssid 0",
        "eth0 10.0.0.1 --dscp 64",
        "eth0 10.0.0.1 --ttl 0",
        "eth0 10.0.0.1 -d 0",
        "eth0 10.0.0.1 --tlv what",
    ] {
        assert!(parse::<SendLine>(line).is_err(), "{line}");
    }
    let targets: Vec<_> = (0..1_025).map(|n| format!("127.1.{}.{}", n / 256, n % 256)).collect();
    let many_targets = format!("auto -s 0 {}", targets.join(" "));
    for (line, words) in [
        ("auto 127.0.0.1 -s 0 -i 50us", "--interval"),
        ("auto 127.0.0.1 -s 0 -w 0", "--timeout"),
        ("auto 127.0.0.1 127.0.0.1 -s 0", "named twice"),
        ("auto 127.0.0.1 -s 0 --hist 2 1 5", "3 to"),
        ("auto 127.0.0.1 -s 0 --hist --floor 5 --ceiling 5", "below its ceiling"),
        ("auto 127.0.0.1 -s 0 --hist --floor 0 --hist-scale log10", "floor above 0"),
        ("auto 127.0.0.1 -s 0 --size 20", "--size"),
        (&many_targets, "1025 targets are too many"),
        ("auto 127.0.0.1 -s 0 -i 100us --max-rate 100", "--max-rate"),
        ("auto 127.0.0.1 -s 0 --key-file /nowhere/key", "/nowhere/key"),
    ] {
        let error = send(line).unwrap_err();
        assert!(error.to_string().contains(words), "{line}: {error}");
        assert_eq!(error.exit(), Exit::Usage, "{line}");
    }
    let both = send("auto 127.0.0.1 -s 0 -w 0 -i 50us").unwrap_err().to_string();
    assert!(both.contains("--timeout") && both.contains("--interval"), "{both}");
}

#[test]
fn what_is_not_there_is_named() {
    for (line, words) in [
        ("nosuch0 127.0.0.1 -s 0 -c 1", "nosuch0"),
        ("auto no-such-name.invalid -s 0 -c 1", "no-such-name.invalid"),
        ("auto fe80::1%nosuch0 -s 0 -c 1", "nosuch0"),
        ("lo 127.0.0.1 -s 0 -c 1 --timestamps hardware", "times of the network card of lo"),
        ("auto 127.0.0.1 -s 0 -c 1 --hist --histpath /nowhere/hist", "/nowhere/hist"),
        ("auto 127.0.0.1 -s 0 -c 1 --samples /nowhere/samples", "/nowhere/samples"),
    ] {
        let error = send(line).unwrap_err();
        assert!(error.to_string().contains(words), "{line}: {error}");
        assert_eq!(error.exit(), Exit::Unavailable, "{line}");
    }
}

#[test]
fn two_targets_that_are_one_address_are_refused() {
    let error = send("auto localhost 127.0.0.1 -s 0 -c 1").unwrap_err();
    assert!(error.to_string().contains("one address"), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
    let refused = free_ports().find_map(|port| {
        let line = format!("auto 127.0.0.1 -s {port} -c 1");
        let settings = parse::<SendLine>(&line).unwrap().settings;
        let told = System::new(&[settings.clone(), settings], &[], &Host::default()).err()?;
        (told.exit() == Exit::Usage).then(|| told.to_string())
    });
    assert!(refused.unwrap().contains("one address"));
    let apart = parse::<SendLine>("auto 127.0.0.1 -s 0 -c 1").unwrap().settings;
    assert!(
        System::new(&[apart.clone(), apart], &[], &Host::default()).is_ok(),
        "each has a port of its own"
    );
}

#[test]
fn a_payload_has_the_size_that_was_asked_for() {
    let (_folder, key) = key_file(b"a key that both ends have");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = socket.local_addr().unwrap().port();
    for (flags, size) in [
        ("", 44),
        ("--size 44", 44),
        ("--size 48", 48),
        ("--size 1400", 1_400),
        ("--tlv follow-up --size 100", 100),
        ("KEY --size 200", 200),
        ("KEY --tlv follow-up --size 200", 200),
    ] {
        let flags = flags.replace("KEY", &format!("--key-file {key}"));
        send(&format!("auto 127.0.0.1 -s 0 -d {port} -c 1 -w 0.01 {flags}")).unwrap();
        let mut buffer = [0; 2_000];
        assert_eq!(socket.recv(&mut buffer).unwrap(), size, "{flags}");
    }
}

#[test]
fn both_roles_share_a_port_and_tell_requests_from_replies() {
    let system = free_ports().find_map(|port| {
        let reflect = parse::<ReflectLine>(&format!("auto -p {port}")).unwrap().settings;
        let first = parse::<SendLine>(&format!("auto 127.0.0.1 -s {port} -d {port} -i 5ms"))
            .unwrap()
            .settings;
        let second =
            parse::<SendLine>(&format!("auto ::1 -s {port} -d {port} -i 7ms")).unwrap().settings;
        System::new(&[first, second], &[reflect], &Host::default()).ok()
    });
    let system = system.unwrap();
    let controls = system.controls();
    let thread = thread::spawn(move || system.run().unwrap());
    thread::sleep(Duration::from_millis(500));
    controls.stop();
    let finished = thread.join().unwrap();
    let (sender, reflector) = (
        serde_json::to_value(finished.sender).unwrap(),
        serde_json::to_value(finished.reflector).unwrap(),
    );
    let targets = sender["targets"].as_array().unwrap();
    let received: u64 =
        targets.iter().map(|target| target["packets"]["received"].as_u64().unwrap()).sum();
    assert!(
        targets.iter().all(|target| target["packets"]["received"].as_u64() > Some(20)),
        "{targets:?}"
    );
    // At most one packet of each target is on its way at the end.
    assert!((received..=received + 2).contains(&reflector["replies"].as_u64().unwrap()));
    assert_eq!(reflector["dropped"]["loop_guard"], 0);
}

#[test]
fn a_reflector_tells_in_a_follow_up_when_its_last_reply_really_left() {
    let reflector = Reflector::start("");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = vec![0; 44];
    request[14..16].copy_from_slice(&7_u16.to_be_bytes());
    request.extend([0x80, 7, 0, 16]);
    request.extend([0; 16]);
    let mut times: Vec<u64> = Vec::new();
    let later = (0..50).filter_map(|number| {
        socket.send_to(&request, reflector.address()).unwrap();
        let mut reply = [0; 64];
        assert_eq!(socket.recv(&mut reply).unwrap(), 64);
        let time = |at: usize| u64::from_be_bytes(reply[at..at + 8].try_into().unwrap());
        times.push(time(4));
        let (about, told) = (u32::from_be_bytes(reply[48..52].try_into().unwrap()), time(52));
        assert!(about == number - u32::from(number > 0), "reply {number} tells of reply {about}");
        (number > 0).then(|| told - times[about as usize])
    });
    // In units of 2⁻³² s: what the kernel says is later than what we wrote, but by little.
    let later: Vec<u64> = later.collect();
    assert!(later.iter().any(|&later| later > 0), "{later:?}");
    assert!(later.iter().all(|&later| later < 1 << 30), "{later:?}");
}

/// What a scraper reads from a running system, once it has seen replies.
fn exposed(
    system: System,
    registry: &telemetry::registry::Registry,
) -> telemetry::registry::Snapshot {
    let controls = system.controls();
    let thread = thread::spawn(move || system.run().unwrap());
    let until = Instant::now() + Duration::from_secs(10);
    let received = || {
        let snapshot = registry.snapshot();
        let points = snapshot
            .family("fathom_stamp_packets_received_total")
            .map(|family| family.points().to_vec());
        points
            .is_some_and(|points| points.iter().any(|point| point.value != 0_u64.into()))
            .then_some(snapshot)
    };
    let snapshot = std::iter::repeat_with(|| {
        thread::sleep(Duration::from_millis(50));
        received()
    })
    .take_while(|_| Instant::now() < until)
    .flatten()
    .next();
    controls.stop();
    thread.join().unwrap();
    snapshot.expect("metrics show replies within ten seconds")
}

#[test]
fn metrics_show_what_happens_while_it_does() {
    let registry = telemetry::registry::Registry::new(telemetry::registry::Build {
        version: "",
        revision: "",
        rustc: "",
        target: "",
    });
    let reflector = Reflector::start("");
    let line = format!(
        "auto 127.0.0.1 -s 0 -d {} -i 10ms --hist --floor 0 --ceiling 1000",
        reflector.port
    );
    let system = System::new(&[parse::<SendLine>(&line).unwrap().settings], &[], &Host::default())
        .unwrap()
        .exposed_in(&registry)
        .unwrap();
    let snapshot = exposed(system, &registry);
    let described = stamp::CATALOGUE
        .metrics
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !name.contains("reflector_"));
    // The kernel of a test machine may know no TAI, and skew takes half a minute to show.
    let absent: Vec<_> = described
        .filter(|name| snapshot.family(name).is_none_or(|family| family.points().is_empty()))
        .collect();
    let unknown = ["fathom_stamp_clock_tai_offset_seconds", "fathom_stamp_clock_skew_ratio"];
    assert!(absent.iter().all(|name| unknown.contains(name)), "{absent:?}");
    let losses = snapshot.family("fathom_stamp_packets_lost_total").unwrap();
    assert_eq!(losses.points().len(), 3);
}

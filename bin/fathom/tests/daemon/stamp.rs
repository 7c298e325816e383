//! The stamp system of an agent, and asking a running one; all on loopback, without rights.

use std::net::{TcpListener, UdpSocket};
use std::thread;

use serde_json::Value;
use testkit::proc::{Process, Signal, free_udp_port, wait_for, wait_until};

use crate::{LOCAL, PATIENCE, Setup, fathom, request, stop};

/// A reflector on a port, and a target that is this reflector.
fn section(port: u16) -> String {
    format!(
        "stamp: {{backend: auto, pin: false, reflector: {{ports: [{port}]}}, \
         targets: [{{address: 127.0.0.1, dest: {port}, interval: 20ms}}]}}\n"
    )
}

fn agent(setup: &Setup, content: &str) -> Process {
    fathom(&["agent", "--config", &setup.write(content)]).spawn().unwrap()
}

fn udp_port() -> u16 {
    free_udp_port(LOCAL).unwrap()
}

fn document(setup: &Setup, path: &str) -> Option<Value> {
    let answer = request(setup.port, path)?;
    let body = answer.split_once("\r\n\r\n")?.1;
    serde_json::from_str(body).ok()
}

/// Waits until replies have come from that port, and returns how many.
fn wait_for_replies(setup: &Setup, port: u16) -> u64 {
    let replies = || {
        let summary = document(setup, "/api/v1/stamp")?;
        let target = summary["targets"].get(0)?;
        let received = target["packets"]["received"].as_u64()?;
        (target["port"] == port && received > 2).then_some(received)
    };
    wait_for("replies", PATIENCE, replies).unwrap()
}

/// How often a run began.
fn runs(log: &str) -> usize {
    log.matches("\"stamp.start\"").count()
}

#[test]
fn an_agent_measures_and_answers_as_its_file_says() {
    let (setup, port) = (Setup::new(), udp_port());
    let agent = agent(&setup, &section(port));
    wait_for_replies(&setup, port);
    let metrics = setup.wait_for_metric("fathom_collector_up{collector=\"stamp\"} 1");
    assert!(!metrics.contains("collector=\"flows\""), "nobody named flows: {metrics}");
    let sent = || {
        let metrics = setup.answer("/metrics");
        metrics.lines().any(|line| line.starts_with("fathom_stamp_packets_received_total{"))
    };
    wait_until("counters of the run in the metrics", PATIENCE, sent).unwrap();
    let reflector = document(&setup, "/api/v1/stamp/reflector").unwrap();
    assert!(reflector["replies"].as_u64().unwrap() > 2, "{reflector}");
    assert!(setup.answer("/").contains("/api/v1/stamp/offsets"));
    assert!(!setup.answer("/").contains("/api/v1/flows"));
    let ready = setup.answer("/health/ready");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("stamp/"), "{ready}");
    let log = stop(agent);
    assert_eq!(runs(&log), 1, "{log}");
}

#[test]
fn a_port_that_somebody_has_leaves_stamp_down_until_it_is_free() {
    let setup = Setup::new();
    let held = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let path = setup.write_broken(&section(port));
    let agent = fathom(&["agent", "--config", &path]).spawn().unwrap();
    setup.wait_for_metric("fathom_collector_up{collector=\"stamp\"} 0");
    setup.wait_for_metric(
        "fathom_collector_down_info{collector=\"stamp\",reason=\"unavailable\"} 1",
    );
    setup.wait_for_metric("fathom_collector_up{collector=\"flows\"} 0");
    assert!(setup.answer("/api/v1/stamp").starts_with("HTTP/1.1 503"));
    drop(held);
    setup.wait_for_metric("fathom_collector_up{collector=\"stamp\"} 1");
    wait_for_replies(&setup, port);
    let log = stop(agent);
    let told =
        log.lines().filter(|line| line.contains("system.failed") && line.contains("UDP port"));
    assert_eq!(told.count(), 1, "{log}");
}

#[test]
fn only_a_changed_section_is_another_run() {
    let (setup, first, second) = (Setup::new(), udp_port(), udp_port());
    let mut agent = agent(&setup, &section(first));
    let before = wait_for_replies(&setup, first);

    setup.write(&format!("log_level: debug\n{}", section(first)));
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_stderr("config.read", PATIENCE).unwrap();
    assert!(wait_for_replies(&setup, first) >= before, "the run goes on and keeps its counts");

    setup.write(&section(second));
    agent.signal(Signal::HUP).unwrap();
    wait_for_replies(&setup, second);
    wait_until("the first port to be free", PATIENCE, || UdpSocket::bind((LOCAL, first)).is_ok())
        .unwrap();
    setup.wait_for_metric("fathom_collector_up{collector=\"stamp\"} 1");

    setup.write("stamp: {reflector: {rate: fast}}\n");
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_stderr("stamp.reflector.rate", PATIENCE).unwrap();
    setup.wait_for_metric("fathom_config_last_reload_successful 0");
    wait_for_replies(&setup, second);

    setup.write("flows: {kube: 'off'}\n");
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_stderr("need a restart", PATIENCE).unwrap();
    wait_for_replies(&setup, second);
    let log = stop(agent);
    assert_eq!(runs(&log), 2, "{log}");
    assert!(log.contains("flows, stamp"), "{log}");
}

#[test]
fn the_end_waits_for_no_reply() {
    let (setup, port) = (Setup::new(), udp_port());
    let silent = UdpSocket::bind((LOCAL, port)).unwrap();
    let targets = format!("[{{address: 127.0.0.1, dest: {port}, interval: 1s, timeout: 5m}}]");
    let agent =
        agent(&setup, &format!("stamp: {{reflector: {{enabled: false}}, targets: {targets}}}\n"));
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.recv(&mut [0; 64]).unwrap();
    stop(agent);
}

#[test]
fn a_running_instance_is_shown_as_table_and_as_document() {
    let (setup, port) = (Setup::new(), udp_port());
    let agent = agent(&setup, &section(port));
    wait_for_replies(&setup, port);
    let url = format!("http://127.0.0.1:{}", setup.port);
    let status = ["stamp", "status", "--url", &url];
    let text = fathom(&status).succeed(PATIENCE).unwrap().text();
    for part in ["TARGET", "127.0.0.1", "up", "reflector: ", "clock of that host: "] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let json: Value =
        fathom(&status).args(["-o", "json"]).succeed(PATIENCE).unwrap().json().unwrap();
    assert_eq!(json["schema"], "fathom.stamp.status/1");
    assert_eq!(json["targets"][0]["port"], port);
    assert!(json["reflector"]["replies"].as_u64().unwrap() > 2, "{json}");
    let name = json["targets"][0]["name"].as_str().unwrap();
    let one: Value =
        fathom(&status).args([name, "-o", "json"]).succeed(PATIENCE).unwrap().json().unwrap();
    assert!(one["reflector"].is_null() && one["targets"].as_array().unwrap().len() == 1, "{one}");
    let unknown = fathom(&status).args(["nobody"]).run(PATIENCE).unwrap();
    assert_eq!(unknown.status.code(), Some(64), "{}", unknown.stderr);
    assert!(unknown.stderr.contains(name), "{}", unknown.stderr);
    stop(agent);
}

#[test]
fn an_instance_without_stamp_is_told_from_one_with() {
    let setup = Setup::new();
    let path = setup.write_broken("");
    let agent = fathom(&["agent", "--config", &path]).spawn().unwrap();
    setup.answer("/metrics");
    let url = format!("http://127.0.0.1:{}", setup.port);
    let told = fathom(&["stamp", "status", "--url", &url]).run(PATIENCE).unwrap();
    assert_eq!(told.status.code(), Some(69), "{}", told.stderr);
    assert!(told.stderr.contains("does not measure by STAMP"), "{}", told.stderr);
    stop(agent);
}

#[test]
fn an_answer_that_is_none_or_has_no_end_is_refused() {
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, repeated, part) in [
        ("SSH-2.0-x\r\n", "", "does not answer as it should"),
        (endless, "100000\r\n", "length limit"),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "", "password"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", "", "does not answer as it should"),
    ] {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = thread::spawn(move || serve(&listener, head, repeated));
        let told = fathom(&["stamp", "status", "--url", &url]).run(PATIENCE).unwrap();
        assert_eq!(told.status.code(), Some(69), "{}", told.stderr);
        assert!(told.stderr.contains(part), "{part:?} is not in: {}", told.stderr);
        serving.join().unwrap();
    }
}

/// Answers one request, and goes on with chunks of a mebibyte until nobody takes them.
fn serve(listener: &TcpListener, head: &str, chunk: &str) {
    use std::io::{Read, Write};
    let (mut stream, _) = listener.accept().unwrap();
    let read = stream.read(&mut [0; 4096]).unwrap();
    assert!(read > 0, "a request came");
    stream.write_all(head.as_bytes()).unwrap();
    let body = [chunk.as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..if chunk.is_empty() { 0 } else { 200 } {
        if stream.write_all(&body).is_err() {
            return;
        }
    }
}

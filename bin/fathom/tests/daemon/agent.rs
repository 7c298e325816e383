//! The agent around its systems; no rights are needed, because the one system is broken.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use testkit::proc::{Process, Signal, free_tcp_port};

use crate::{LOCAL, PATIENCE, Setup, fathom, request, stop};

fn agent(setup: &Setup, more: &str) -> Process {
    let path = setup.write_broken(more);
    fathom(&["agent", "--config", &path]).spawn().unwrap()
}

#[test]
fn a_system_that_fails_is_shown_and_the_agent_goes_on() {
    let setup = Setup::new();
    let agent = agent(&setup, "");
    setup.wait_for_metric("fathom_collector_up{collector=\"flows\"} 0");
    assert!(setup.answer("/").contains("/metrics"));
    assert!(setup.answer("/metrics").contains("fathom_build_info"));
    let log = stop(agent);
    assert!(log.contains("system.failed"), "{log}");
}

#[test]
fn a_command_for_one_system_ends_with_its_failure() {
    let setup = Setup::new();
    let listen = format!("127.0.0.1:{}", setup.port);
    let pins = setup.path("");
    let arguments = ["flows", "--listen", &listen, "--discover", "on", "--bpf-pin-dir", &pins];
    let ended = fathom(&arguments).run(PATIENCE).unwrap();
    let code = ended.status.code();
    assert!(matches!(code, Some(69 | 77)), "{code:?}: {}", ended.stderr);
    assert!(ended.stderr.contains("fathom.failed"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
}

#[test]
fn a_good_file_is_taken_at_sighup_and_a_bad_one_changes_nothing() {
    let setup = Setup::new();
    let mut agent = agent(&setup, "log_level: warn\n");
    setup.wait_for_metric("fathom_config_last_reload_successful 1");

    setup.write("flows: {no_such_key: 1}\nlog_level: trace\n");
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_stderr("flows.no_such_key", PATIENCE).unwrap();
    setup.wait_for_metric("fathom_config_last_reload_successful 0");

    setup.write_broken("log_level: info\nlog_format: console\n");
    agent.signal(Signal::HUP).unwrap();
    setup.wait_for_metric("fathom_config_last_reload_successful 1");
    agent.wait_for_stderr("log_format", PATIENCE).unwrap();
    let log = stop(agent);
    assert!(log.contains("config.rejected") && log.contains("need a restart"), "{log}");
    assert!(log.contains("Configuration read again"), "the new level is in force: {log}");
}

#[test]
fn sigint_ends_the_agent_like_sigterm() {
    let setup = Setup::new();
    let agent = agent(&setup, "");
    setup.answer("/metrics");
    agent.stop_by(Signal::INT, PATIENCE).unwrap().success().unwrap();
    assert_eq!(request(setup.port, "/metrics"), None);
}

#[test]
fn threads_that_serve_strangers_have_given_up_their_rights() {
    let setup = Setup::new();
    let agent = agent(&setup, "");
    setup.answer("/metrics");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap();
    let statuses = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")));
    let serving: Vec<_> =
        statuses.flatten().filter(|status| status.contains("Name:\tserving")).collect();
    assert!(!serving.is_empty(), "no thread serves");
    for status in serving {
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let effective = u64::from_str_radix(effective, 16).unwrap();
        assert_eq!(effective & !HARMLESS, 0, "{status}");
    }
    stop(agent);
}

/// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
const HARMLESS: u64 = 0b110;

#[test]
fn no_thread_keeps_rights_that_measuring_does_not_need() {
    let setup = Setup::new();
    let agent = agent(&setup, "");
    setup.answer("/metrics");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap();
    let statuses: Vec<_> = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .collect();
    assert!(statuses.len() > 3, "the log, the measuring and the serving threads");
    for status in statuses {
        let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key)).unwrap();
        let permitted = u64::from_str_radix(value("CapPrm:\t"), 16).unwrap();
        assert_eq!(permitted & !MEASURING, 0, "{status}");
        assert_eq!(value("NoNewPrivs:\t"), "1", "{status}");
    }
    stop(agent);
}

/// CAP_DAC_OVERRIDE, DAC_READ_SEARCH, NET_BIND_SERVICE, NET_ADMIN, SYS_PTRACE, SYS_ADMIN,
/// SYS_RESOURCE, PERFMON and BPF.
const MEASURING: u64 =
    HARMLESS | 1 << 10 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 24 | 1 << 38 | 1 << 39;

#[test]
fn keys_that_the_agent_does_not_use_are_told() {
    let setup = Setup::new();
    let pins = setup.path("");
    let path = setup.write(&format!("flows: {{bpf_pin_dir: '{pins}', metrics_port: 1}}\n"));
    let mut agent = fathom(&["agent", "--config", &path]).spawn().unwrap();
    agent.wait_for_stderr("flows.metrics_port", PATIENCE).unwrap();
    setup.answer("/metrics");
    stop(agent);
}

#[test]
fn profiles_are_served_on_a_port_of_their_own_and_only_when_asked_for() {
    let setup = Setup::new();
    let port = free_tcp_port(LOCAL).unwrap();
    let profiling = format!("enable_profiling: true\nprofiling_port: {port}\n");
    let agent = agent(&setup, &profiling);
    setup.answer("/metrics");
    let answer = request(port, "/debug/pprof/cmdline").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("agent"), "{answer}");
    assert!(setup.answer("/debug/pprof/cmdline").starts_with("HTTP/1.1 404"));
    stop(agent);
}

#[test]
fn a_web_configuration_guards_everything_but_health() {
    let setup = Setup::new();
    let users = setup.path("web.yaml");
    std::fs::write(&users, format!("basic_auth_users: {{watcher: '{HASH}'}}\n")).unwrap();
    let agent = agent(&setup, &format!("web_config_file: '{users}'\n"));
    assert!(setup.answer("/health/live").starts_with("HTTP/1.1 200"));
    assert!(setup.answer("/metrics").starts_with("HTTP/1.1 401"));
    assert!(setup.answer("/api/v1/flows").starts_with("HTTP/1.1 401"));
    stop(agent);
}

/// Of a password that nobody uses.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuN0PZBDMKCnUlqAQ5JhmCkdYo5rZ6dFG";

#[test]
fn metrics_are_pushed_to_the_path_for_metrics_also_at_the_end() {
    let receiver = TcpListener::bind((LOCAL, 0)).unwrap();
    let endpoint = format!("http://{}", receiver.local_addr().unwrap());
    let pushed = thread::spawn(move || {
        let (stream, _) = receiver.accept().unwrap();
        take_push(stream)
    });
    let setup = Setup::new();
    let path = setup.write_broken("otlp_interval: 1h\n");
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str());
    let agent = fathom(&["agent", "--config", &path]).env(variable.0, variable.1).spawn().unwrap();
    setup.answer("/metrics");
    stop(agent);
    let head = pushed.join().unwrap();
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1"), "{head}");
}

/// Answers one push and returns its head.
fn take_push(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).unwrap();
        head.extend(octet);
    }
    let head = String::from_utf8(head).unwrap();
    let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.lines().find_map(length).unwrap()];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    head
}

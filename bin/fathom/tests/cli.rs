//! The program as a user meets it, from the command line to the exit code.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command as Plain;

use assert_cmd::Command;
use tempfile::TempDir;

/// The program in an environment that says nothing.
fn fathom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(arguments);
    command.timeout(std::time::Duration::from_secs(60));
    command
}

fn stdout(arguments: &[&str]) -> String {
    String::from_utf8(fathom(arguments).assert().success().get_output().stdout.clone()).unwrap()
}

/// Runs into a failure with this code and returns what stderr says.
fn fails(code: i32, arguments: &[&str]) -> String {
    let assert = fathom(arguments).assert().code(code);
    let output = assert.get_output();
    assert!(output.stdout.is_empty(), "a failure printed data: {output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder_with(content: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fathom.yaml");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn help_texts_are_those_that_were_reviewed() {
    for command in HELPED {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let name = format!("help {command}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, stdout(&arguments));
    }
}

const HELPED: [&str; 18] = [
    "",
    "flows",
    "flows status",
    "flows detach",
    "stamp",
    "stamp send",
    "stamp reflect",
    "stamp run",
    "stamp status",
    "stamp decode",
    "agent",
    "doctor",
    "demo",
    "config",
    "config check",
    "config print",
    "completions",
    "man",
];

#[test]
fn the_version_tells_revision_date_and_compiler() {
    let long = stdout(&["--version"]);
    for word in
        [concat!("fathom ", env!("CARGO_PKG_VERSION")), "revision ", "built ", "rustc ", "target "]
    {
        assert!(long.contains(word), "{word} is not in: {long}");
    }
    assert_eq!(stdout(&["-V"]).lines().count(), 1);
}

#[test]
fn usage_problems_exit_with_64() {
    for arguments in [
        &["flows", "--no-such-flag"][..],
        &["no-such-command"],
        &["flows", "--metrics-port", "70000"],
        &["flows", "--collection-interval", "25"],
        &["flows", "--connection-tracking=perhaps"],
        &["flows", "--pod-edge", "a-name-longer-than-the-kernel-allows"],
        &["flows", "--pod-edge", "veth0="],
        &["flows", "--netns", ":eth0"],
        &["flows", "--duration", "1ms"],
        &["flows", "--web.config.file"],
        &["flows", "status", "--keep-ledger"],
        &["completions", "sh"],
        &["config", "check"],
        &["doctor", "-o", "xml"],
        &["agent"],
        &[],
    ] {
        let told = fails(64, arguments);
        assert!(!told.is_empty(), "{arguments:?} said nothing");
    }
}

#[test]
fn a_duration_without_unit_is_refused_with_the_corrected_spelling() {
    assert!(fails(64, &["flows", "--collection-interval", "25"]).contains("write 25s"));
}

#[test]
fn a_bad_file_exits_with_64_and_lists_everything() {
    let (_folder, path) = folder_with("x: 1\nflows: {y: 2, metrics_port: z}");
    for arguments in [
        &["config", "check", &path][..],
        &["flows", "--config", &path],
        &["agent", "--config", &path],
        &["config", "print", "--config", &path],
    ] {
        let told = fails(64, arguments);
        for key in [": x: ", "flows.y: ", "flows.metrics_port: \"z\" must be a whole number"] {
            assert!(told.contains(key), "{key} is not in: {told}");
        }
    }
}

#[test]
fn an_agent_without_a_system_exits_with_64() {
    let (_folder, path) = folder_with("listen: 127.0.0.1:1\n");
    assert!(fails(64, &["agent", "--config", &path]).contains("flows: {}"));
}

#[test]
fn printed_defaults_pass_the_check() {
    let (_folder, path) = folder_with(&stdout(&["config", "print", "--defaults"]));
    assert_eq!(stdout(&["config", "check", &path]), format!("{path}: ok\n"));
}

#[test]
fn an_interface_that_does_not_exist_exits_with_69_and_is_named() {
    let told = fails(69, &["flows", "--duration", "200ms", "--pod-edge", "nosuch0"]);
    assert!(told.contains("nosuch0") && told.contains("ip link"), "{told}");
}

#[test]
fn a_namespace_that_is_none_exits_with_69_and_is_named() {
    for path in ["/nowhere/netns", "/proc/self/status"] {
        let told = fails(69, &["flows", "--duration", "200ms", "--netns", path]);
        assert!(told.contains(path), "{told}");
    }
}

#[test]
fn one_edge_named_twice_exits_with_64_and_both_names() {
    let again = ["flows", "--duration", "200ms", "--pod-edge", "lo=one", "--pod-edge", "lo=two"];
    let told = fails(64, &again);
    assert!(told.contains("lo=one") && told.contains("lo=two"), "{told}");
}

#[test]
fn too_many_named_edges_exit_with_64() {
    let told = fails(64, &["flows", "--max-edges", "1", "--pod-edge", "a,b", "--duration", "1s"]);
    assert!(told.contains("max"), "{told}");
}

#[test]
fn a_taken_port_exits_with_69_and_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_folder, path) = folder_with(&format!("listen: {address}\nflows:\n"));
    for arguments in [&["flows", "--listen", &address][..], &["agent", "--config", &path]] {
        let told = fails(69, arguments);
        assert!(told.contains(&address), "{told}");
        assert!(told.starts_with('{'), "a daemon tells in its log: {told}");
    }
}

#[test]
fn a_profiling_port_that_is_the_own_one_exits_with_64() {
    let flags = ["--enable-profiling", "--profiling-port", "9393"];
    for listen in ["127.0.0.1:9393", "0.0.0.0:9393"] {
        let told = fails(64, &[&["flows", "--listen", listen][..], &flags].concat());
        assert!(told.contains("profiling_port"), "{told}");
    }
}

#[test]
fn one_measurement_tells_what_it_does_not_use() {
    let flags = ["--otlp-endpoint", "http://c:1", "--enable-profiling", "--web.config.file", "/x"];
    let measure = ["flows", "--duration", "200ms", "--pod-edge", "nosuch0"];
    let told = fails(69, &[&measure[..], &flags].concat());
    for key in ["otlp_endpoint", "enable_profiling", "web_config_file"] {
        assert!(told.contains(key), "{key} is not in: {told}");
    }
    assert!(!fails(69, &measure).contains("config.unused"));
}

#[test]
fn a_check_says_where_an_agent_would_have_nothing_to_run() {
    let (_folder, path) = folder_with("# nothing yet\n");
    let told = stdout(&["config", "check", &path]);
    assert!(told.contains("fathom agent would refuse it"), "{told}");
}

#[test]
fn a_bad_web_configuration_exits_with_64() {
    let (_folder, path) = folder_with("tls_server_config: {cert_file: absent.pem}\n");
    let arguments = ["flows", "--listen", "127.0.0.1:0", "--web.config.file", &path];
    assert!(fails(64, &arguments).contains(&path));
}

#[test]
fn bad_log_directives_exit_with_64() {
    let mut command = fathom(&["flows"]);
    command.env("RUST_LOG", "flow=loud=very").assert().code(64);
}

#[test]
fn a_reader_who_leaves_early_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Plain::new(env!("CARGO_BIN_EXE_fathom"))
        .args(["config", "print", "--defaults"])
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn completions_cover_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completions", shell]);
        for word in ["flows", "doctor", "metrics-port", "keep-ledger"] {
            assert!(script.contains(word), "{word} is not in the completions of {shell}");
        }
    }
}

#[test]
fn bash_can_read_its_completions() {
    let script = stdout(&["completions", "bash"]);
    let mut bash = Command::new("bash");
    bash.arg("-n").write_stdin(script).assert().success().stderr("");
}

#[test]
fn there_is_a_man_page_for_each_command() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("made/here");
    stdout(&["man", directory.to_str().unwrap()]);
    for command in ["fathom", "fathom-flows", "fathom-flows-status", "fathom-doctor"] {
        let page = fs::read_to_string(directory.join(format!("{command}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH"), "{command} is no man page");
        assert!(page.contains("Exit codes: 0 done"), "{command} tells no exit codes");
        assert_renders(&directory.join(format!("{command}.1")));
    }
}

#[test]
fn man_pages_name_variables_and_bear_the_date_of_the_source() {
    let folder = TempDir::new().unwrap();
    stdout(&["man", folder.path().to_str().unwrap()]);
    let page = fs::read_to_string(folder.path().join("fathom-flows.1")).unwrap();
    for variable in ["EBPF_METRICS_PORT", "FATHOM_FLOWS_POD_EDGE", "NODE_NAME"] {
        assert!(page.contains(variable), "{variable} is not in the page");
    }
    let long = stdout(&["--version"]);
    let date = long.lines().find_map(|line| line.strip_prefix("built    ")).unwrap();
    let title = page.lines().find(|line| line.starts_with(".TH")).unwrap();
    assert!(title.contains(date) && title.contains("fathom 0"), "{title}");
}

/// Where groff is installed it must take the page without a warning.
fn assert_renders(page: &Path) {
    let Ok(rendered) = Plain::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(page).output()
    else {
        return;
    };
    assert!(rendered.status.success() && !rendered.stdout.is_empty(), "{rendered:?}");
    assert!(rendered.stderr.is_empty(), "{}", String::from_utf8_lossy(&rendered.stderr));
}

#[test]
fn doctor_answers_a_stable_list_in_json() {
    let assert = fathom(&["doctor", "-o", "json", "--listen", "off"]).assert();
    let findings: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let checks: Vec<_> =
        findings.as_array().unwrap().iter().map(|one| one["check"].clone()).collect();
    for check in [
        "kernel",
        "btf",
        "bpffs",
        "attach",
        "bpf-program",
        "clock",
        "tai-offset",
        "stamp-port",
        "stamp-interface",
        "stamp-backend",
        "kube-api",
    ] {
        assert!(checks.contains(&check.into()), "{check} is not in {checks:?}");
    }
    let missing = findings.as_array().unwrap().iter().any(|one| one["state"] == "missing");
    assert_eq!(assert.get_output().status.code(), Some(if missing { 69 } else { 0 }));
}

#[test]
fn doctor_exits_with_69_where_something_needed_is_missing() {
    let empty = TempDir::new().unwrap();
    let root = empty.path().to_str().unwrap();
    let assert = fathom(&["doctor", "--root", root, "--listen", "off"]).assert().code(69);
    let output = assert.get_output();
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(table.contains("missing  kernel") && table.contains("degraded btf"), "{table}");
    assert!(!table.contains('\x1b'), "colours without a terminal");
    assert!(String::from_utf8_lossy(&output.stderr).contains("kernel"));
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Plain::new(env!("CARGO_BIN_EXE_fathom"))
        .args(["config", "print", "--defaults"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("stdout can't be written"));
}

#[test]
fn a_packet_is_taken_apart_and_what_is_none_is_refused() {
    let request =
        "00000000eeab56e2895cc7a30001002a00000000000000000000000000000000000000000000000000000000";
    let text = stdout(&["stamp", "decode", request]);
    assert!(text.starts_with("open request, 44 octets\n"), "{text}");
    let json =
        fathom(&["stamp", "decode", "-", "-o", "json"]).write_stdin(request).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(json["fields"]["ssid"], 42);
    assert!(fails(64, &["stamp", "decode", "no hex"]).contains("not hexadecimal"));
    assert!(fails(64, &["stamp", "decode", "00"]).contains("too few"));
    assert!(
        fails(64, &["stamp", "decode", request, "--key-file", "/nowhere/key"])
            .contains("/nowhere/key")
    );
}

#[test]
fn a_target_that_answers_nothing_ends_a_finite_measurement_with_69() {
    let free =
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let line = [
        "stamp",
        "send",
        "auto",
        "127.0.0.1",
        "-s",
        "0",
        "-c2",
        "-i=0.01",
        "-w",
        "0.05",
        "-d",
        &free,
    ];
    let assert = fathom(&line).assert().code(69);
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("packets sent 2, received 0, lost 2 (100.00 %)"), "{text}");
}

#[test]
fn asking_an_instance_that_is_not_there_exits_with_69_and_a_bad_url_with_64() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = fails(69, &["stamp", "status", "--url", &format!("http://{free}")]);
    assert!(told.contains(&free.to_string()) && told.contains("--url"), "{told}");
    for url in ["127.0.0.1:8080", "https://127.0.0.1", ""] {
        assert!(fails(64, &["stamp", "status", "--url", url]).contains("http"), "{url}");
    }
}

#[test]
fn the_program_is_a_command_by_the_name_it_is_called() {
    let folder = TempDir::new().unwrap();
    let sender = folder.path().join("sender");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fathom"), &sender).unwrap();
    let told =
        Plain::new(&sender).args(["eth0", "10.0.0.1", "--bins=%!d(float64=30)"]).output().unwrap();
    assert_eq!(told.status.code(), Some(64));
    let text = String::from_utf8(told.stderr).unwrap();
    assert!(text.contains("mangled by a chart template"), "{text}");
}

#[test]
fn flags_of_a_measurement_can_be_variables() {
    let mut command = fathom(&["stamp", "send", "auto", "127.0.0.1"]);
    let told = command
        .env("FATHOM_STAMP_SEND_INTERVAL", "x")
        .env("FATHOM_STAMP_SEND_SSID", "0")
        .assert()
        .code(64);
    let text = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        text.contains("FATHOM_STAMP_SEND_INTERVAL") && text.contains("FATHOM_STAMP_SEND_SSID"),
        "{text}"
    );
}

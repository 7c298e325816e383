use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use tempfile::TempDir;

use super::check::{Problems, is_list, refusal};
use super::file::File;
use super::layer::{Layer, with_defaults, without_variables};
use super::section::Sections;
use super::{Environment, Input, Told, check, text};
use crate::args::{self, Command};
use crate::failure::Failure;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.0.path().join("fathom.yaml");
        fs::write(&path, content).unwrap();
        path
    }
}

fn problems_of(content: &str) -> String {
    let folder = Folder::new();
    check(&folder.file(content)).unwrap_err().to_string()
}

fn read<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> Result<Told, Failure> {
    let all = ["fathom"].iter().chain(arguments).map(OsString::from);
    Input::new(all, Environment::from(variables)).read()
}

fn flows(told: Told) -> flow::Settings {
    match told.command {
        Command::Flows(flows) => flows.settings,
        other => panic!("flows was asked for, not {other:?}"),
    }
}

/// Texts that are a value of something; every argument takes at least two of them.
const CANDIDATES: [&str; 32] = [
    "1",
    "2",
    "4",
    "60",
    "1024",
    "2048",
    "4096",
    "30s",
    "45s",
    "2m",
    "3m",
    "true",
    "false",
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.1:1",
    "off",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "a=10.0.0.0/8",
    "b=10.1.0.0/16",
    "k=v",
    "l=w",
    "rtt",
    "dns",
    "info",
    "debug",
    "json",
    "console",
    "http://a",
    "http://b",
    "/x",
];

/// Two different values of an argument.
fn samples(arg: &Arg) -> [String; 2] {
    let named = arg.get_possible_values().into_iter().map(|value| value.get_name().to_owned());
    let all = named.chain(CANDIDATES.iter().map(|text| (*text).to_owned()));
    let default = arg.get_default_values().first().map(|value| text(value));
    let mut good =
        all.filter(|text| refusal(arg, text).is_none() && Some(text) != default.as_ref());
    let first =
        good.next().unwrap_or_else(|| panic!("no candidate is a value of {}", arg.get_id()));
    // With two values in all, the default has to be the second.
    let second = good.find(|text| *text != first).or(default);
    [first, second.unwrap_or_else(|| panic!("only one candidate is a value of {}", arg.get_id()))]
}

fn raw(matches: &ArgMatches, arg: &Arg) -> Vec<String> {
    matches.get_raw(arg.get_id().as_str()).into_iter().flatten().map(text).collect()
}

/// What a file says that holds one key.
fn file_layer(sections: &Sections, command: &str, arg: &Arg, value: &str) -> Layer {
    let value = serde_json::Value::from(value);
    let written = if is_list(arg) { format!("[{value}]") } else { value.to_string() };
    let setting = format!("{}: {written}", arg.get_id());
    let folder = Folder::new();
    let path = folder.file(&match command {
        "flows" => format!("flows: {{{setting}}}"),
        _ => setting,
    });
    let mut problems = Problems::default();
    let layers = File::read(&path).unwrap().layers(sections, &mut problems);
    problems.none().unwrap();
    layers.flows()
}

fn environment_layer(arg: &Arg, value: &str) -> Layer {
    let variable = arg.get_env().and_then(|name| name.to_str()).unwrap();
    let mut problems = Problems::default();
    let environment = Environment::from([(variable, value)]);
    let layer = environment.layer([arg].into_iter(), &mut problems);
    problems.none().unwrap();
    layer
}

#[test]
fn for_every_flag_the_flag_beats_the_variable_the_variable_the_file_and_the_file_the_default() {
    let definition = args::definition();
    let sections = Sections::of(&definition);
    for name in ["flows", "agent"] {
        let with_variables = definition.find_subcommand(name).unwrap();
        let command = without_variables(with_variables.clone());
        for arg in with_variables.get_arguments().filter(|arg| arg.get_id() != "config") {
            let id = arg.get_id();
            let [one, other] = samples(arg);
            let value = |layer: &Layer, flags: &[String]| {
                let command = with_defaults(command.clone(), &[], layer);
                let all = [&[name.to_owned()], flags].concat();
                raw(&command.try_get_matches_from(all).unwrap(), arg)
            };
            let flag = [format!("--{}={one}", arg.get_long().unwrap())];
            let file = file_layer(&sections, name, arg, &one);
            let variable = environment_layer(arg, &other);
            let both = file.clone().under(variable.clone());

            assert_eq!(value(&file, &[]), [one.as_str()], "{name} {id}: file over default");
            assert_eq!(value(&both, &[]), [other.as_str()], "{name} {id}: variable over file");
            assert_eq!(value(&variable, &flag), [one.as_str()], "{name} {id}: flag over variable");
            assert_eq!(value(&both, &flag), [one.as_str()], "{name} {id}: flag over both");
        }
    }
}

#[test]
fn all_sources_meet_in_one_command() {
    let folder = Folder::new();
    let path = folder.file("flows: {metrics_port: 1, series_idle: 2m, max_edges: 3}");
    let arguments = ["flows", "--config", path.to_str().unwrap(), "--metrics-port", "7"];
    let variables = [("EBPF_METRICS_PORT", "5"), ("FATHOM_FLOWS_MAX_EDGES", "9")];
    let settings = flows(read(&arguments, variables).unwrap());
    assert_eq!((settings.metrics_port, settings.max_edges), (7, 9));
    assert_eq!(settings.series_idle.as_secs(), 120);
    assert_eq!(settings.collection_interval.as_secs(), 25);
}

#[test]
fn of_the_two_spellings_of_the_listener_the_one_from_the_stronger_source_counts() {
    let folder = Folder::new();
    let listener = |content: &str, flags: &[&str], variables: [(&str, &str); 2]| {
        let path = folder.file(content);
        let arguments = [&["flows", "--config", path.to_str().unwrap()], flags].concat();
        flows(read(&arguments, variables).unwrap()).listener().unwrap().to_string()
    };
    let port = ("EBPF_METRICS_PORT", "7");
    let address = ("FATHOM_FLOWS_LISTEN", "127.0.0.1:8");
    let unset = ("NO_SUCH", "");
    let (top, own) = ("listen: '127.0.0.1:1'\n", "flows: {listen: '127.0.0.1:2'}\n");
    for file in [top, own] {
        assert_eq!(listener(file, &["--metrics-port", "9"], [unset; 2]), "0.0.0.0:9");
        assert_eq!(listener(file, &[], [port, unset]), "0.0.0.0:7");
        assert_eq!(listener(file, &["--metrics-port", "9"], [port, address]), "0.0.0.0:9");
        assert_eq!(listener(file, &[], [port, address]), "127.0.0.1:8", "of one source");
        let both = ["--metrics-port", "9", "--listen", "127.0.0.1:3"];
        assert_eq!(listener(file, &both, [port, address]), "127.0.0.1:3", "of one source");
    }
    let nearer = "listen: '127.0.0.1:1'\nflows: {metrics_port: 5}\n";
    assert_eq!(listener(nearer, &[], [unset; 2]), "0.0.0.0:5");
    let port_alone = "flows: {metrics_port: 5}\n";
    assert_eq!(listener(port_alone, &["--listen", "127.0.0.1:3"], [port, unset]), "127.0.0.1:3");
}

#[test]
fn printed_defaults_hide_no_port_that_is_given_above_them() {
    let folder = Folder::new();
    let printed = Input::new(["fathom"], Environment::default()).print(true, None).unwrap();
    let path = folder.file(&printed);
    let arguments = ["flows", "--config", path.to_str().unwrap()];
    let settings = flows(read(&arguments, [("EBPF_METRICS_PORT", "9999")]).unwrap());
    assert_eq!(settings.listener().unwrap().port(), 9999);
}

#[test]
fn a_printed_configuration_listens_where_the_printed_one_did() {
    let folder = Folder::new();
    let path = folder.file("listen: '127.0.0.1:1'\n");
    let environment = Environment::from([("EBPF_METRICS_PORT", "9999")]);
    let printed = Input::new(["fathom"], environment).print(false, Some(&path)).unwrap();
    let path = folder.file(&printed);
    let settings = flows(read(&["flows", "--config", path.to_str().unwrap()], []).unwrap());
    assert_eq!(settings.listener().unwrap().to_string(), "0.0.0.0:9999");
}

#[test]
fn no_message_shows_a_credential() {
    for content in [
        "flows:\n  otlp_header: [\"authorization=Bearer SECRET\"]\n  x: [\n",
        "flows:\n  otlp_header: [\"authorization=Bearer SECRET\"]\n  otlp_header: [\"a=SECRET\"]\n",
        "flows:\n  otlp_header: [\"authorization: SECRET\"]\n",
        "flows:\n  otlp_header: [\"auth orization=SECRET\"]\n",
        "flows:\n  otlp_header: authorization=SECRET\n",
    ] {
        let told = problems_of(content);
        assert!(!told.contains("SECRET"), "{content:?} gave: {told}");
        assert!(told.contains("line ") || told.contains("flows.otlp_header"), "{told}");
    }
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization: SECRET")];
    let flag = ["flows", "--otlp-header", "authorization: SECRET"];
    for failure in [read(&["flows"], variables), read(&flag, [])] {
        let told = failure.unwrap_err().to_string();
        assert!(!told.contains("SECRET") && told.contains("KEY=VALUE"), "{told}");
    }
}

#[test]
fn only_the_variable_takes_a_bare_number_for_the_period_of_pushes() {
    let variable = |value| read(&["flows"], [("OTEL_METRIC_EXPORT_INTERVAL", value)]);
    assert_eq!(flows(variable("300").unwrap()).otlp_interval.as_millis(), 300);
    assert_eq!(flows(variable("5s").unwrap()).otlp_interval.as_secs(), 5);
    let short = variable("5").unwrap_err().to_string();
    assert!(short.contains("must lie between 100ms and 24h"), "{short}");
    let flag = read(&["flows", "--otlp-interval", "300"], []).unwrap_err().to_string();
    let file = problems_of("flows: {otlp_interval: 300}");
    for told in [flag, file] {
        assert!(told.contains("write 300s for seconds or 300ms"), "{told}");
    }
}

#[test]
fn what_a_start_would_refuse_is_told_by_the_check_with_its_path() {
    for (content, part) in [
        ("flows: {otlp_endpoint: x}", "flows.otlp_endpoint: \"x\" is no OTLP endpoint"),
        ("otlp_endpoint: 'ftp://h'", "otlp_endpoint: \"ftp://h\" is no OTLP endpoint"),
        ("flows: {otlp_base_endpoint: h}", "flows.otlp_base_endpoint: "),
        ("flows: {otlp_header: ['a b=c']}", "flows.otlp_header[0]: "),
        ("flows: {pod_edge: [va=p, va=q]}", "flows.pod_edge: va=p and va=q"),
        ("flows: {pod_edge: [va=p, vb=p]}", "flows.pod_edge: va=p and vb=p"),
        ("flows: {signals: [none, rtt]}", "flows.signals: "),
        ("flows: {enable_profiling: true, profiling_port: 9090}", "flows.profiling_port: "),
    ] {
        let told = problems_of(content);
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    let folder = Folder::new();
    assert!(!check(&folder.file("# nothing\n")).unwrap(), "an agent has nothing to run");
    assert!(check(&folder.file("flows: {}\n")).unwrap());
}

#[test]
fn a_comma_in_a_header_is_a_comma_in_the_file() {
    let folder = Folder::new();
    let path = folder.file("flows: {otlp_header: ['a=b,c', 'd=e%2Cf']}");
    let settings = flows(read(&["flows", "--config", path.to_str().unwrap()], []).unwrap());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(settings.otlp_header, [header("a", "b,c"), header("d", "e,f")]);
    let told = problems_of("flows: {pod_edge: ['va,vb']}");
    assert!(told.contains("holds a comma"), "{told}");
}

#[test]
fn the_file_of_flows_is_printed_where_no_other_is_named() {
    let folder = Folder::new();
    let path = folder.file("flows: {max_edges: 2}");
    let environment = Environment::from([("FATHOM_FLOWS_CONFIG", path.to_str().unwrap())]);
    let print = |defaults| Input::new(["fathom"], environment.clone()).print(defaults, None);
    assert!(print(false).unwrap().contains("max_edges: 2 # file"));
    assert!(print(true).unwrap().contains("max_edges: 1024 # default"));
}

#[test]
fn the_file_can_be_named_by_a_variable() {
    let folder = Folder::new();
    let path = folder.file("flows: {metrics_port: 1}");
    let variables = [("FATHOM_FLOWS_CONFIG", path.to_str().unwrap())];
    assert_eq!(flows(read(&["flows"], variables).unwrap()).metrics_port, 1);
}

#[test]
fn an_empty_variable_is_not_set() {
    let variables = [("EBPF_METRICS_PORT", ""), ("FATHOM_FLOWS_POD_EDGE", "")];
    let settings = flows(read(&["flows"], variables).unwrap());
    assert_eq!((settings.metrics_port, settings.pod_edge.len()), (9090, 0));
}

#[test]
fn every_bad_variable_is_told_in_one_pass() {
    let variables = [
        ("EBPF_METRICS_PORT", "70000"),
        ("EBPF_COLLECTION_INTERVAL", "25"),
        ("EBPF_LOG_LEVEL", "loud"),
        ("FATHOM_FLOWS_ATTACH", "xdp"),
    ];
    let failure = read(&["flows"], variables).unwrap_err();
    assert_eq!(failure.code(), 64);
    for part in
        ["EBPF_METRICS_PORT: 70000", "25s", "EBPF_LOG_LEVEL", "FATHOM_FLOWS_ATTACH: \"xdp\""]
    {
        assert!(failure.to_string().contains(part), "{part} is not in: {failure}");
    }
}

#[test]
fn every_problem_of_a_file_is_told_with_its_path_in_one_pass() {
    let told = problems_of(
        "\
log_level: loud
listne: 0.0.0.0:1
flows:
  metrics_prot: 9090
  collection_interval: 1h
  resync_interval: 60
  pod_edge: veth0
  netns: [good, {a: b}]
  peer_cidr: ['a=b']
  shards: [2]
  attach: xdp
  kubeconfig:
  node_name: 0x10
  flow_capacity: 1000
",
    );
    for part in [
        "log_level: \"loud\" is no log level",
        "listne: unknown key; did you mean listen?",
        "flows.metrics_prot: unknown key; did you mean metrics_port?",
        "flows.collection_interval: \"1h\" must lie between 200ms and 10m",
        "flows.resync_interval: 60 has no unit; write 60s",
        "flows.pod_edge: must be a list, such as [\"veth0\"]",
        "flows.netns[1]: takes a text",
        "flows.peer_cidr[0]: ",
        "flows.shards: takes one value, not a list",
        "flows.attach: \"xdp\" must be one of auto, tcx, clsact",
        "flows.kubeconfig: has no value",
        "flows.node_name: 16 must be text",
        "flows.flow_capacity: 1000 is not in 1024..=4194304",
        "13 problems",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_told_with_their_path() {
    let told = problems_of("flows: {discover: 'off'}");
    assert!(told.contains("flows.discover"), "{told}");
}

#[test]
fn bare_switch_words_are_taken_for_what_they_name() {
    let folder = Folder::new();
    let switches = "conntrack: off, discover: on, no_pin: true, dump_bpf_maps: 1, listen: off";
    let path = folder.file(&format!("flows: {{{switches}}}"));
    let told = read(&["flows", "--config", path.to_str().unwrap()], []).unwrap();
    let settings = flows(told);
    assert_eq!(settings.conntrack, flow::settings::AutoOff::Off);
    assert_eq!(settings.discover, flow::settings::Discover::On);
    assert!(settings.no_pin && settings.dump_bpf_maps);
    assert_eq!(settings.listener(), None);
}

#[test]
fn what_is_no_mapping_or_no_yaml_is_one_problem() {
    for content in ["3", "[a]", "flows: [a]", "flows: 3", "a: [", "a: 1\na: 2", "\tx: y"] {
        let told = problems_of(content);
        assert!(told.contains("fathom.yaml"), "{content:?} gave: {told}");
    }
}

#[test]
fn problems_of_the_stamp_section_are_told_with_the_others() {
    let told = problems_of(
        "\
flows: {metrics_port: z}
stamp:
  lease: soon
  reflektor: {}
  reflector: {prots: [862], allow: 10.0.0.0/8}
  targets: [{name: a}, {address: 10.0.0.256}]
  mesh: {enabled: true}
",
    );
    for part in [
        "flows.metrics_port: ",
        "stamp.lease: \"soon\" is no time",
        "stamp.reflektor: unknown key; did you mean reflector?",
        "stamp.reflector.prots: unknown key; did you mean ports?",
        "stamp.reflector.allow: must be a list, such as [\"10.0.0.0/8\"]",
        "stamp.targets[0].address: has no value",
        "stamp.targets[1].address: ",
        "stamp.mesh.enabled: needs the node index",
        "8 problems",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    for content in ["stamp: 3", "stamp: [a]"] {
        assert!(problems_of(content).contains("stamp: must be a mapping"), "{content}");
    }
}

#[test]
fn a_system_runs_where_the_file_names_it_and_does_not_switch_it_off() {
    let folder = Folder::new();
    let systems = |content: &str| {
        let path = folder.file(content);
        let told = read(&["agent", "--config", path.to_str().unwrap()], []).unwrap();
        (told.systems, told.stamp.is_some())
    };
    assert_eq!(systems("stamp:\n"), (vec!["stamp"], true));
    assert_eq!(systems("flows: {}\nstamp: {enabled: false}\n"), (vec!["flows"], false));
    assert_eq!(systems("flows: {}\nstamp: {}\n"), (vec!["flows", "stamp"], true));
    assert!(!check(&folder.file("stamp: {enabled: false}\n")).unwrap());
}

#[test]
fn the_printed_stamp_section_says_what_holds_and_where_it_comes_from() {
    let folder = Folder::new();
    let input = Input::new(["fathom"], Environment::default());
    let section = |text: &str| {
        let read: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        stamp::config::Stamp::read(read["stamp"].as_object().unwrap()).unwrap()
    };
    let defaults = input.print(true, None).unwrap();
    assert!(section(&defaults) == stamp::config::Stamp::read(&serde_json::Map::new()).unwrap());
    let unnamed = input.print(false, None).unwrap();
    assert!(unnamed.contains("  enabled: false # not named in a file"), "{unnamed}");
    assert!(!section(&unnamed).enabled);

    let content = "stamp: {lease: 5m, reflector: {ports: [863]}, targets: [{address: '10.0.0.1'}]}";
    let path = folder.file(content);
    let printed = input.print(false, Some(&path)).unwrap();
    let source = path.display();
    assert!(printed.contains(&format!("    ports: [863] # file {source}")), "{printed}");
    assert!(printed.contains("    rate: 1000 # default"), "{printed}");
    assert!(section(&printed) == section(content));
}

#[test]
fn an_empty_file_is_a_good_one() {
    let folder = Folder::new();
    for content in ["", "# nothing\n", "flows:\n", "flows: {}\n"] {
        check(&folder.file(content))
            .unwrap_or_else(|failure| panic!("{content:?} gave: {failure}"));
    }
}

#[test]
fn files_that_no_configuration_is_are_refused() {
    let folder = Folder::new();
    let long = check(&folder.file(&"#".repeat(2 << 20))).unwrap_err();
    assert!(long.to_string().contains("1 MiB"), "{long}");
    let nested = "[".repeat(100_000);
    assert_eq!(check(&folder.file(&nested)).unwrap_err().code(), 64);
    assert_eq!(check(&folder.0.path().join("absent")).unwrap_err().code(), 64);
    fs::write(folder.0.path().join("binary"), [0xff, 0xfe, 0]).unwrap();
    assert_eq!(check(&folder.0.path().join("binary")).unwrap_err().code(), 64);
}

#[test]
fn an_agent_takes_what_systems_share_from_the_top_unless_the_system_says_otherwise() {
    let folder = Folder::new();
    let top = "node_name: top\notlp_timeout: 7\n";
    let path = folder.file(&format!("{top}flows: {{node_name: own}}"));
    let told = read(&["agent", "--config", path.to_str().unwrap()], []).unwrap();
    assert_eq!(told.flows.node_name.as_deref(), Some("own"));
    assert_eq!(told.flows.otlp_timeout, 7);
    assert_eq!(told.systems, ["flows"]);
}

#[test]
fn an_agent_is_told_which_keys_it_does_not_use() {
    let folder = Folder::new();
    let path = folder.file("flows: {metrics_port: 1, duration: 5s, max_edges: 2}");
    let told = read(&["agent", "--config", path.to_str().unwrap()], []).unwrap();
    assert_eq!(told.unused, ["flows.duration", "flows.metrics_port"]);
}

#[test]
fn what_only_its_source_can_tell_to_be_useless_is_told() {
    let folder = Folder::new();
    let unused = |arguments: &[&str], variables: [(&str, &str); 1]| {
        read(&[&["flows"], arguments].concat(), variables).unwrap().unused
    };
    let variable = ("KUBECONFIG", "/x");
    assert_eq!(unused(&[], [variable]), Vec::<String>::new());
    assert_eq!(unused(&["--kubeconfig", "/x"], [variable]), ["kubeconfig"]);
    let untracked = ["--connection-tracking=false", "--flow-key", "5tuple"];
    assert_eq!(unused(&untracked, [variable]), ["flow_key"]);
    assert_eq!(unused(&untracked[..1], [variable]), Vec::<String>::new());
    assert_eq!(unused(&untracked[..1], [("FATHOM_FLOWS_FLOW_KEY", "5tuple")]), ["flow_key"]);
    assert_eq!(unused(&untracked[1..], [variable]), Vec::<String>::new());
    let pair = ["--connection-tracking=false", "--flow-key", "pair"];
    assert_eq!(unused(&pair, [variable]), Vec::<String>::new());
    let path = folder.file("kubeconfig: /x\nflows: {connection_tracking: false, flow_key: 5tuple}");
    let told = read(&["agent", "--config", path.to_str().unwrap()], []).unwrap();
    assert_eq!(told.unused, ["flows.kubeconfig", "flows.flow_key"]);
}

#[test]
fn a_printed_configuration_is_a_good_one_with_the_same_values() {
    let folder = Folder::new();
    let environment = || {
        Environment::from([
            ("EBPF_METRICS_PORT", "1234"),
            ("FATHOM_FLOWS_POD_EDGE", "veth0=a,veth1=b"),
            ("FATHOM_FLOWS_CONNTRACK", "off"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer secret"),
        ])
    };
    let printed = Input::new(["fathom"], environment()).print(false, None).unwrap();
    assert!(printed.contains("metrics_port: 1234 # environment EBPF_METRICS_PORT"), "{printed}");
    assert!(!printed.contains("secret"), "credentials are printed");
    let path = folder.file(&printed);
    check(&path).unwrap_or_else(|failure| panic!("{failure}"));
    let again = flows(read(&["flows", "--config", path.to_str().unwrap()], []).unwrap());
    assert_eq!((again.metrics_port, again.pod_edge.len()), (1234, 2));
    assert_eq!(again.conntrack, flow::settings::AutoOff::Off);
}

#[test]
fn printed_defaults_are_a_good_configuration_whatever_the_environment_says() {
    let folder = Folder::new();
    let environment = Environment::from([("EBPF_METRICS_PORT", "1234")]);
    let printed = Input::new(["fathom"], environment).print(true, None).unwrap();
    assert!(printed.contains("metrics_port: 9090 # default"), "{printed}");
    check(&folder.file(&printed)).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_printed_source_of_a_value_from_a_file_is_the_file() {
    let folder = Folder::new();
    let path = folder.file("flows: {max_edges: 2}");
    let printed = Input::new(["fathom"], Environment::default()).print(false, Some(&path)).unwrap();
    let line = format!("max_edges: 2 # file {}", path.display());
    assert!(printed.contains(&line), "{printed}");
}

#[test]
fn the_example_checks_clean() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/local.yaml");
    check(path.as_ref()).unwrap_or_else(|failure| panic!("{failure}"));
    let told = read(&["agent", "--config", path], []).unwrap();
    assert_eq!(told.systems, ["flows"]);
    assert!(
        told.unused.is_empty(),
        "the example sets what the agent does not use: {:?}",
        told.unused
    );
}

#[test]
fn a_key_that_could_steer_a_terminal_is_escaped() {
    let told = problems_of("\"\\e[2Jx\": 1");
    assert!(!told.contains('\x1b') && told.contains("unknown key"), "{told:?}");
}

use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;

#[test]
fn a_duration_outside_its_bounds_names_them() {
    let parse = duration("200ms", "10m");
    assert_eq!(parse("25s"), Ok(Duration::from_secs(25)));
    assert_eq!(parse("100ms"), Err(Refused::OutOfRange { min: "200ms", max: "10m" }));
    assert!(parse("25").unwrap_err().to_string().contains("25s"), "the remedy is spelt out");
}

#[test]
fn an_interface_is_its_own_edge_name_unless_named() {
    let edge: PodEdge = "vfa".parse().unwrap();
    assert_eq!((edge.interface.as_str(), edge.name.as_str()), ("vfa", "vfa"));
    let edge: PodEdge = "vfa=pod-a".parse().unwrap();
    assert_eq!((edge.interface.as_str(), edge.name.as_str()), ("vfa", "pod-a"));
}

#[test]
fn an_edge_without_a_name_behind_the_sign_is_refused() {
    assert_eq!("vfa=".parse::<PodEdge>(), Err(Refused::Form("IFACE[=NAME]")));
    assert_eq!("=pod-a".parse::<PodEdge>(), Err(Refused::Interface));
    assert_eq!("sixteen-octets-x".parse::<PodEdge>(), Err(Refused::Interface));
}

#[test]
fn signs_in_front_of_the_last_slash_belong_to_the_path() {
    let edge: NetnsEdge = "/run/a=b:c/ns1:eth1=pod".parse().unwrap();
    assert_eq!(edge.path, PathBuf::from("/run/a=b:c/ns1"));
    assert_eq!(edge.interface.as_deref(), Some("eth1"));
    assert_eq!(edge.name, "pod");
}

#[test]
fn a_namespace_is_named_after_its_file() {
    let edge: NetnsEdge = "/run/netns/pod-a".parse().unwrap();
    assert_eq!(edge.name, "pod-a");
    let edge: NetnsEdge = "pod-b".parse().unwrap();
    assert_eq!((edge.path, edge.name.as_str()), (PathBuf::from("pod-b"), "pod-b"));
}

#[test]
fn sizes_take_binary_units_and_do_not_overflow() {
    assert_eq!(bytes("256MiB"), Ok(256 << 20));
    assert_eq!(bytes("17"), Ok(17));
    assert_eq!(bytes("99999999999999GiB"), Err(Refused::Bytes));
}

#[test]
fn shards_follow_the_cpus_up_to_eight() {
    let shards: Vec<u32> = [1, 2, 3, 6, 64].map(|cpus| Shards::Auto.resolve(cpus)).into();
    assert_eq!(shards, [1, 2, 2, 4, 8]);
}

#[test]
fn a_star_spans_any_run_and_a_question_mark_one_sign() {
    let glob = |pattern: &str| pattern.parse::<Glob>().unwrap();
    assert!(glob("cali*").matches("cali123"));
    assert!(glob("*a*b").matches("xxaxxbxb"));
    assert!(!glob("veth?").matches("veth"));
    assert!(!glob("veth").matches("veth1"));
}

/// What a glob means, told slowly.
fn fits_slowly(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', more)), _) => (0..=name.len()).any(|skip| fits_slowly(more, &name[skip..])),
        (Some((sign, more)), Some((head, tail))) => {
            (*sign == b'?' || sign == head) && fits_slowly(more, tail)
        }
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn globs_agree_with_their_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
        prop_assert_eq!(
            fits(pattern.as_bytes(), name.as_bytes()),
            fits_slowly(pattern.as_bytes(), name.as_bytes())
        );
    }

    #[test]
    fn an_edge_that_parses_prints_to_what_parses_to_it(text in "[a-z/:=]{1,20}") {
        if let Ok(edge) = text.parse::<NetnsEdge>() {
            prop_assert_eq!(edge.to_string().parse::<NetnsEdge>(), Ok(edge));
        }
    }
}

#[test]
fn values_of_a_push_are_decoded_as_their_specification_says() {
    for (given, expected) in [
        ("authorization=Basic%20abc", Some("Basic abc")),
        ("a=caf%C3%A9", Some("café")),
        ("a=100%", Some("100%")),
        ("a=%zz%2", Some("%zz%2")),
        ("a=%2C%3d%25", Some(",=%")),
        ("a=%+1", Some("%+1")),
        ("a=", Some("")),
        ("a=%FF", None),
        ("=b", None),
    ] {
        assert_eq!(pair(given).ok().map(|(_, value)| value).as_deref(), expected, "{given}");
    }
}

#[test]
fn what_a_push_could_not_use_is_refused_with_its_cause() {
    for bad in ["x", "ftp://h", "http://", "collector:4318"] {
        assert_eq!(endpoint(bad), Err(Refused::Endpoint), "{bad}");
    }
    for good in ["", "http://c:4318", "https://c/v1/metrics"] {
        assert_eq!(endpoint(good).as_deref(), Ok(good));
    }
    for (bad, cause) in [
        ("a b=c", Refused::Header),
        ("a=c%0A", Refused::Header),
        ("a=%ff", Refused::Encoding),
        ("a", Refused::Form("KEY=VALUE")),
    ] {
        assert_eq!(header(bad), Err(cause), "{bad}");
    }
    assert_eq!(header("a=b%2Cc"), Ok(("a".into(), "b,c".into())));
}

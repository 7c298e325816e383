//! Golden texts, a strict reader of our own, and the real promtool.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use testkit::truth::promtool_complaints;

use super::{Format, accepts_gzip, render};
use crate::metric::{Family, Histogram, Metric, Unit};

mod reader;

static BYTES: Metric = Metric::counter(
    "t_tx_bytes_total",
    Unit::Bytes,
    "Octets with a \\ and a \"quote\"\nand a second line.",
    &["pod", "direction"],
);
static LEGACY: Metric = Metric::counter("t_legacy_count", Unit::None, "Old name.", &[]);
static LATENCY: Metric =
    Metric::histogram("t_latency_seconds", Unit::Seconds, "Latency.", &["path"]);
static LOAD: Metric = Metric::gauge("t_load_ratio", Unit::Ratio, "Load.", &["kind"]);
static BUILD: Metric = Metric::info("t_build_info", "Build.", &["version"]);

fn sample() -> Vec<Family> {
    let created = UNIX_EPOCH + Duration::new(1_700_000_000, 250_000_000);
    let mut build = Family::new(&BUILD);
    build.push(["1.2.3".into()], 1);
    let mut latency = Family::new(&LATENCY);
    let histogram = Histogram::from_counts(&[0.005, 1.0, 10.0][..], vec![1, 2, 0, 4], 55.5);
    latency.push_created(["/m".into()], histogram.unwrap(), created);
    let mut load = Family::new(&LOAD);
    for (kind, value) in
        [("big", 1e300), ("inf", f64::INFINITY), ("nan", f64::NAN), ("small", -2.5e-9)]
    {
        load.push([kind.into()], value);
    }
    load.push(["zero".into()], 0.0);
    let mut bytes = Family::new(&BYTES);
    bytes.push_created(["a\"b\\c\nd".into(), "tx".into()], u64::MAX, created);
    bytes.push(["ünïcode".into(), "rx".into()], 9_007_199_254_740_993);
    vec![build, latency, Family::single(&LEGACY, 7), load, bytes]
}

fn text_of(format: Format) -> String {
    let mut out = Vec::new();
    render(format, &sample(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_prometheus_text_is_as_agreed() {
    assert_eq!(text_of(Format::Text), include_str!("tests/golden.prom"));
}

#[test]
fn the_openmetrics_text_is_as_agreed() {
    assert_eq!(text_of(Format::OpenMetrics), include_str!("tests/golden.om"));
}

#[test]
fn both_texts_satisfy_the_strict_reader() {
    for format in [Format::Text, Format::OpenMetrics] {
        let samples = reader::read(&text_of(format), format).unwrap();
        let largest = samples.iter().find(|s| s.label("direction") == Some("tx")).unwrap();
        assert_eq!(largest.label("pod"), Some("a\"b\\c\nd"));
        assert_eq!(largest.value, "18446744073709551615");
    }
}

#[test]
fn the_strict_reader_refuses_what_the_formats_forbid() {
    let head = "# HELP a A.\n# TYPE a counter\n";
    for (body, format) in [
        ("a 1", Format::Text),
        ("a{b=\"c\\x\"} 1\n", Format::Text),
        ("a 1\na 1\n", Format::Text),
        ("b 1\n", Format::Text),
        ("a_total 1\n", Format::OpenMetrics),
        ("a 1\n# EOF\n", Format::OpenMetrics),
        ("a_total 1\n# EOF\na_total 2\n", Format::OpenMetrics),
    ] {
        let text = format!("{head}{body}");
        assert!(reader::read(&text, format).is_err(), "{text}");
    }
}

#[test]
fn promtool_accepts_the_text() {
    let families: Vec<_> =
        sample().into_iter().filter(|family| family.metric().name != LEGACY.name).collect();
    let mut text = Vec::new();
    render(Format::Text, &families, &mut text);
    assert_eq!(promtool_complaints(text).unwrap(), Vec::<String>::new());
}

#[test]
fn a_family_without_series_is_not_mentioned() {
    let mut out = Vec::new();
    render(Format::OpenMetrics, &[Family::new(&BYTES)], &mut out);
    assert_eq!(out, b"# EOF\n");
}

#[test]
fn the_format_follows_the_accept_header() {
    let prometheus = "application/openmetrics-text;version=1.0.0,\
                      application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        (Some(prometheus), Format::OpenMetrics),
        (
            Some("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8"),
            Format::OpenMetrics,
        ),
        (Some("text/plain;q=0.9, application/openmetrics-text;q=0.8"), Format::Text),
        (Some("application/openmetrics-text;q=0"), Format::Text),
        (Some("application/openmetrics-text;version=0.0.1"), Format::Text),
        (Some("application/openmetrics-text;q=0.5, */*"), Format::Text),
        (Some("*/*"), Format::Text),
        (Some("image/png"), Format::Text),
        (Some(";;,=,;q"), Format::Text),
        (None, Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept:?}");
    }
}

#[test]
fn gzip_follows_the_accept_encoding_header() {
    for (header, wanted) in [
        (Some("gzip"), true),
        (Some("deflate, gzip;q=0.5"), true),
        (Some("*"), true),
        (Some("gzip;q=0, *"), false),
        (Some("identity"), false),
        (None, false),
    ] {
        assert_eq!(accepts_gzip(header), wanted, "{header:?}");
    }
}

proptest! {
    #[test]
    fn any_label_octets_survive_the_way_through_the_text(
        pods in proptest::collection::vec(any::<Vec<u8>>(), 1..8),
        number in any::<u64>(),
    ) {
        let mut family = Family::new(&BYTES);
        let unique: BTreeSet<_> =
            pods.iter().map(|pod| String::from_utf8_lossy(pod).into_owned()).collect();
        for pod in &unique {
            family.push([pod.clone().into(), "tx".into()], number);
        }
        for format in [Format::Text, Format::OpenMetrics] {
            let mut out = Vec::new();
            render(format, [&family], &mut out);
            let samples = reader::read(std::str::from_utf8(&out).unwrap(), format);
            let samples = samples.map_err(proptest::test_runner::TestCaseError::fail)?;
            prop_assert!(samples.iter().all(|sample| sample.value == number.to_string()));
            let read: BTreeSet<_> =
                samples.iter().map(|s| s.label("pod").unwrap().to_owned()).collect();
            prop_assert_eq!(&read, &unique);
        }
    }

    #[test]
    fn no_accept_header_makes_negotiation_panic(header in ".{0,60}") {
        prop_assert!(!Format::negotiate(Some(&header)).content_type().is_empty());
        let named = header.to_ascii_lowercase().contains("gzip") || header.contains('*');
        prop_assert!(named || !accepts_gzip(Some(&header)));
    }
}

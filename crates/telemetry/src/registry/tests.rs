use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Build, CATALOGUES, Options, Registry, RegistryError};
use crate::catalogue::{Catalogue, Fault};
use crate::metric::{Family, Metric, Unit, Value};

static PODS: Metric = Metric::counter("t_pods_total", Unit::Count("{pod}"), "Pods.", &["pod"]);
static OTHER: Metric = Metric::gauge("t_other", Unit::None, "Another.", &[]);

const CATALOGUE: Catalogue = Catalogue { title: "test", metrics: &[&PODS] };

fn registry() -> Registry {
    Registry::new(Build { version: "1.2.3", revision: "abc", rustc: "1.95", target: "x" })
}

fn value(registry: &Registry, name: &str, labels: &[&str]) -> Option<Value> {
    let snapshot = registry.snapshot();
    let family = snapshot.family(name)?;
    let fits = |point: &&crate::metric::Point| {
        point.labels.iter().map(|label| label.as_str()).eq(labels.iter().copied())
    };
    family.points().iter().find(fits).map(|point| point.value.clone())
}

fn pods(names: &[&'static str]) -> Family {
    let mut family = Family::new(&PODS);
    for name in names {
        family.push([(*name).into()], 1);
    }
    family
}

#[test]
fn own_catalogues_have_no_faults_together() {
    let mut taken = HashMap::new();
    for catalogue in CATALOGUES {
        assert_eq!(catalogue.faults(&taken), []);
        taken.extend(catalogue.names());
    }
    assert_eq!(
        value(&registry(), "fathom_build_info", &["1.2.3", "abc", "1.95", "x"]),
        Some(1.into())
    );
}

#[test]
fn a_name_is_given_to_one_system_only() {
    let registry = registry();
    registry.collector("one", CATALOGUE).unwrap();
    let twice = registry.collector("one", Catalogue::EMPTY).unwrap_err();
    assert_eq!(twice, RegistryError::CollectorTwice { name: "one" });
    let clash = registry.collector("two", CATALOGUE).unwrap_err();
    let RegistryError::Catalogue { owner: "two", faults } = clash else { panic!("{clash}") };
    assert!(faults.contains(&Fault::Duplicate { metric: "t_pods_total", name: "t_pods_total" }));
    assert!(registry.collector("two", Catalogue::EMPTY).is_ok(), "the refused one left no trace");
}

#[test]
fn each_snapshot_replaces_the_one_before() {
    let registry = registry();
    let collector = registry.collector("t", CATALOGUE).unwrap();
    collector.publish(vec![pods(&["a", "b"])]);
    let before = registry.snapshot();
    collector.publish(vec![pods(&["c"])]);
    assert_eq!(value(&registry, "t_pods_total", &["a"]), None);
    assert_eq!(value(&registry, "t_pods_total", &["c"]), Some(1.into()));
    let held = before.family("t_pods_total").unwrap();
    assert_eq!(held.points().len(), 2, "a scrape in flight keeps its own snapshot");
}

#[test]
fn a_collector_is_up_or_down_for_a_reason_in_one_series() {
    let registry = registry();
    let collector = registry.collector("t", CATALOGUE).unwrap();
    let up = |registry: &Registry| value(registry, "fathom_collector_up", &["t"]);
    let why = |reason| value(&registry, "fathom_collector_down_info", &["t", reason]);
    assert_eq!((up(&registry), why("starting")), (Some(0.into()), Some(1.into())));
    collector.up();
    assert_eq!((up(&registry), why("starting")), (Some(1.into()), None));
    collector.down("no_btf");
    assert_eq!((up(&registry), why("no_btf")), (Some(0.into()), Some(1.into())));
    assert_eq!(value(&registry, "fathom_collector_duration_seconds", &["t"]), None);
    collector.took(Duration::from_millis(1500));
    assert_eq!(value(&registry, "fathom_collector_duration_seconds", &["t"]), Some(1.5.into()));
}

#[test]
fn series_above_the_limit_are_counted_and_known_ones_stay() {
    let registry = registry();
    let options = Options { series_limit: 2, ..Options::default() };
    let collector = registry.collector_with("t", CATALOGUE, options).unwrap();
    let dropped = || value(&registry, "fathom_series_dropped_total", &["t_pods_total"]);
    collector.publish(vec![pods(&["x", "y"])]);
    assert_eq!(dropped(), Some(0.into()), "present from the start");
    collector.publish(vec![pods(&["a", "b", "x", "y"])]);
    assert_eq!(dropped(), Some(2.into()));
    assert_eq!(value(&registry, "t_pods_total", &["a"]), None);
    assert_eq!(value(&registry, "t_pods_total", &["y"]), Some(1.into()));
    collector.publish(vec![pods(&["a", "y"])]);
    assert_eq!(dropped(), Some(2.into()));
    assert_eq!(value(&registry, "t_pods_total", &["a"]), Some(1.into()), "a free place is given");
}

#[test]
#[should_panic(expected = "not in the catalogue")]
fn a_metric_outside_the_catalogue_is_a_bug_that_debug_builds_show() {
    let collector = registry().collector("t", CATALOGUE).unwrap();
    collector.publish(vec![Family::single(&OTHER, 1)]);
}

#[test]
fn readiness_lists_each_condition() {
    let registry = registry();
    assert!(registry.readiness().good, "without conditions there is nothing to wait for");
    let collector = registry.collector("t", CATALOGUE).unwrap();
    collector.condition("lock", true, "");
    collector.condition("index", false, "waiting for pods");
    assert_eq!(
        registry.readiness().to_string(),
        "not ok\n[+] t/lock\n[-] t/index: waiting for pods\n"
    );
    collector.condition("index", true, String::from("given up"));
    assert_eq!(registry.readiness().to_string(), "ok\n[+] t/lock\n[+] t/index: given up\n");
}

#[test]
fn metrics_are_withheld_only_while_a_collector_that_asked_for_it_starts() {
    let registry = registry();
    registry.collector("free", Catalogue::EMPTY).unwrap();
    assert_eq!(registry.withheld_by(), None);
    let options = Options { withhold_until_started: true, ..Options::default() };
    let collector = registry.collector_with("t", CATALOGUE, options).unwrap();
    assert_eq!(registry.withheld_by(), Some("t"));
    assert!(!registry.readiness().good);
    collector.down("no_btf");
    assert_eq!(registry.withheld_by(), None, "a broken start is over too");
}

#[test]
fn liveness_follows_the_heartbeat() {
    let registry = registry();
    let limit = Duration::from_secs(60);
    let options = Options { beat_limit: Some(limit), ..Options::default() };
    let collector = registry.collector_with("t", CATALOGUE, options).unwrap();
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(registry.liveness(later(3600)).good, "a long start is no hang");
    collector.beat();
    assert!(registry.liveness(later(59)).good);
    let late = registry.liveness(later(61));
    assert!(!late.good);
    assert!(late.to_string().contains("[-] t/advancing: 61."), "{late}");
    collector.limit_beat(Duration::from_secs(90));
    assert!(registry.liveness(later(61)).good);
    collector.down("ended");
    assert!(registry.liveness(later(3600)).good, "what failed alone does not restart the rest");
}

#[test]
fn reloads_are_counted_and_a_bad_one_keeps_the_time_of_the_last_good_one() {
    let registry = registry();
    let at = || value(&registry, "fathom_config_last_reload_success_timestamp_seconds", &[]);
    let before = at();
    registry.config_reloaded(false);
    assert_eq!(value(&registry, "fathom_config_last_reload_successful", &[]), Some(0.into()));
    assert_eq!(value(&registry, "fathom_config_reloads_total", &["failure"]), Some(1.into()));
    assert_eq!(at(), before);
    registry.config_reloaded(true);
    assert_eq!(value(&registry, "fathom_config_last_reload_successful", &[]), Some(1.into()));
}

#[test]
fn families_come_sorted_by_name() {
    let registry = registry();
    let collector = registry.collector("t", CATALOGUE).unwrap();
    collector.publish(vec![pods(&["a"])]);
    let snapshot = registry.snapshot();
    let names: Vec<_> = snapshot.families().iter().map(|family| family.metric().name).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.contains(&"t_pods_total") && names.contains(&"process_start_time_seconds"));
}

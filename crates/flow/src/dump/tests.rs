use std::{collections::HashMap, os::unix::fs::symlink, time::Duration};

use flow_model::edge::EdgeId;
use testkit::proc::wait_until;

use super::*;
use crate::testing::{CLOCK, PATIENCE, counts, flow, key};

fn place(folder: &Path) -> Place {
    Place { folder: folder.to_owned(), keep: 2, max_bytes: 1 << 20, mode: FlowKeyMode::FiveTuple }
}

fn closed(number: u64) -> Closed {
    Closed {
        number,
        flows: Arc::new(vec![(EdgeId(1), flow(key(), counts(number, 100), [0, 0])); 2]),
        names: Arc::new(HashMap::from([(EdgeId(1), "pod-a".into())])),
        clock: CLOCK,
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{}-{number:012}{SUFFIX}", std::process::id())
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Gives a file an age, so that the order does not hang on the clock's grain.
fn age(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_dump_is_one_row_of_json_per_flow() {
    let folder = tempfile::tempdir().unwrap();
    write(&place(folder.path()), &closed(7)).unwrap();
    assert_eq!(listed(folder.path()), [name(7)], "no partial file is left");
    let text = fs::read_to_string(folder.path().join(name(7))).unwrap();
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["edge"], &rows[0]["packets"]), (&"pod-a".into(), &7.into()));
}

#[test]
fn only_the_newest_dumps_are_kept_and_nothing_else_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    fs::write(folder.path().join("fathom-flows-notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("other.jsonl"), "mine").unwrap();
    for number in 1..=4 {
        write(&place, &closed(number)).unwrap();
        age(&folder.path().join(name(number)), 100 - number);
    }
    prune(&place).unwrap();
    let expected = [name(3), name(4), "fathom-flows-notes.txt".into(), "other.jsonl".into()];
    assert_eq!(listed(folder.path()), expected);
}

#[test]
fn the_oldest_go_until_all_fit_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let wide = Place { keep: 10, ..place(folder.path()) };
    for number in 1..=3 {
        write(&wide, &closed(number)).unwrap();
        age(&folder.path().join(name(number)), 100 - number);
    }
    let size = fs::metadata(folder.path().join(name(3))).unwrap().len();
    prune(&Place { max_bytes: 2 * size, ..wide }).unwrap();
    assert_eq!(listed(folder.path()), [name(2), name(3)]);
}

#[test]
fn an_epoch_larger_than_the_limit_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = Place { max_bytes: 100, ..place(folder.path()) };
    let error = write(&narrow, &closed(1)).unwrap_err();
    assert!(error.to_string().contains("--dump-max-bytes"), "{error}");
    assert_eq!(listed(folder.path()), Vec::<String>::new());
}

#[test]
fn a_link_in_a_shared_folder_is_not_followed() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let partial = format!("{PREFIX}{}-{:012}.partial", std::process::id(), 1);
    symlink(&victim, folder.path().join(&partial)).unwrap();
    assert!(write(&place(folder.path()), &closed(1)).is_err());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // The name may be a link as well: a rename replaces it and does not follow it.
    symlink(&victim, folder.path().join(name(2))).unwrap();
    write(&place(folder.path()), &closed(2)).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(folder.path().join(name(2)).symlink_metadata().unwrap().is_file());
}

#[test]
fn results_are_counted_and_a_missing_folder_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dumper = Dumper::start(place(folder.path())).unwrap();
    dumper.offer(closed(1));
    wait_until("the first dump", PATIENCE, || dumper.take_results() == [1, 0]).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    dumper.offer(closed(2));
    wait_until("the failure", PATIENCE, || dumper.take_results() == [0, 1]).unwrap();
    fs::create_dir(folder.path()).unwrap();
    dumper.offer(closed(3));
    wait_until("the third dump", PATIENCE, || dumper.take_results() == [1, 0]).unwrap();
}

use super::*;

const OWN: u64 = 1;
const NONE: [u64; 0] = [];

fn with(files: &[(&str, u64)], now: Instant) -> Namespaces {
    let mut namespaces = Namespaces::new(OWN);
    for (path, inode) in files {
        assert_eq!(namespaces.file_found(Path::new(path), *inode, now), None);
    }
    namespaces
}

#[test]
fn our_own_namespace_is_none_of_them() {
    let mut namespaces = with(&[("/a", OWN)], Instant::now());
    assert_eq!(namespaces.inodes(), NONE);
    assert_eq!(namespaces.file_gone(Path::new("/a")), None);
}

#[test]
fn a_namespace_is_gone_with_its_last_file() {
    let mut namespaces = with(&[("/a", 7), ("/b", 7)], Instant::now());
    assert_eq!(namespaces.path(7), Some(Path::new("/a")));
    assert_eq!(namespaces.file_gone(Path::new("/a")), None);
    assert_eq!(namespaces.path(7), Some(Path::new("/b")));
    assert_eq!(namespaces.file_gone(Path::new("/b")), Some(7));
    assert_eq!(namespaces.file_gone(Path::new("/b")), None);
}

#[test]
fn a_file_that_leads_elsewhere_now_is_another_namespace() {
    let now = Instant::now();
    let mut namespaces = with(&[("/a", 7)], now);
    assert_eq!(namespaces.file_found(Path::new("/a"), 7, now), None);
    assert_eq!(namespaces.file_found(Path::new("/a"), 8, now), Some(7));
    assert_eq!(namespaces.inodes(), [8]);
    assert_eq!(namespaces.file_found(Path::new("/a"), OWN, now), Some(8));
    assert_eq!(namespaces.inodes(), NONE);
}

#[test]
fn an_id_that_was_given_back_belongs_to_nobody() {
    let mut namespaces = with(&[("/a", 7), ("/b", 8)], Instant::now());
    let (zero, one) = (Nsid::new(0).unwrap(), Nsid::new(1).unwrap());
    namespaces.set_nsid(7, Some(zero));
    namespaces.set_nsid(8, Some(one));
    assert_eq!(namespaces.by_nsid(zero), Some(7));
    namespaces.forget_nsid(zero);
    assert_eq!(namespaces.by_nsid(zero), None);
    assert_eq!(namespaces.by_nsid(one), Some(8));
    assert_eq!(namespaces.unidentified(), [(7, PathBuf::from("/a"))]);
}

#[test]
fn a_young_namespace_is_looked_at_less_and_less_often_for_twenty_seconds() {
    let start = Instant::now();
    let mut namespaces = with(&[("/a", 7)], start);
    let mut looks = Vec::new();
    while let Some(at) = namespaces.next_look() {
        assert_eq!(namespaces.due(at, 9), [7]);
        assert_eq!(namespaces.due(at, 9), NONE, "once each time");
        looks.push(at.duration_since(start).as_millis());
        assert!(looks.len() < 99, "it never ends: {looks:?}");
    }
    assert_eq!(looks[..4], [0, 20, 60, 140]);
    assert_eq!(looks.last(), Some(&20_460));
}

#[test]
fn a_reason_to_look_starts_the_series_anew() {
    let start = Instant::now();
    let mut namespaces = with(&[("/a", 7)], start);
    while let Some(at) = namespaces.next_look() {
        namespaces.due(at, 9);
    }
    let later = start + Duration::from_secs(60);
    namespaces.look_soon(7, later);
    assert_eq!(namespaces.next_look(), Some(later));
    namespaces.due(later, 9);
    assert_eq!(namespaces.next_look(), Some(later + FIRST_PAUSE));
}

#[test]
fn no_more_are_due_at_once_than_asked_for() {
    let now = Instant::now();
    let mut namespaces = with(&[("/a", 7), ("/b", 8), ("/c", 9)], now);
    assert_eq!(namespaces.due(now, 2), [7, 8]);
    assert_eq!(namespaces.due(now, 2), [9]);
    assert_eq!(namespaces.due(now, 2), NONE);
}

#[test]
fn a_look_that_is_put_off_for_long_is_overdue() {
    let now = Instant::now();
    let mut namespaces = with(&[("/a", 7)], now);
    assert!(!namespaces.is_overdue(now + PATIENCE));
    assert!(namespaces.is_overdue(now + 2 * PATIENCE));
    namespaces.due(now + 2 * PATIENCE, 1);
    assert!(!namespaces.is_overdue(now + 2 * PATIENCE));
}

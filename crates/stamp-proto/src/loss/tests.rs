use super::{Counts, Directed, Ledger, Outcome, Reflector};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy;

/// What happens to one request: each list holds the delays of the copies that arrive.
#[derive(Debug, Clone, Default)]
struct Fate {
    forward: Vec<u64>,
    reverse: Vec<u64>,
}

impl Fate {
    fn plain() -> Self {
        Self { forward: vec![100], reverse: vec![100] }
    }

    fn lost_forward() -> Self {
        Self { forward: vec![], reverse: vec![] }
    }

    fn lost_reverse() -> Self {
        Self { forward: vec![100], reverse: vec![] }
    }
}

/// Sends one request each `interval` and plays both paths in the order of time.
struct Path {
    interval: u64,
    timeout: u64,
    first_r: u32,
    stateful: bool,
}

impl Path {
    const FAST: Self = Self { interval: 1_000, timeout: 100_000, first_r: 0, stateful: true };

    /// The ledger, told of everything in the order of time, and what really happened.
    fn play(&self, ledger: &mut Ledger, fates: &[Fate]) -> Directed {
        let mut arrivals = self.arrivals(fates);
        arrivals.sort_by_key(|&(at, ..)| at);
        let mut arrivals = arrivals.into_iter().peekable();
        for n in 0..fates.len() as u64 + self.timeout / self.interval + 1 {
            let now = n * self.interval;
            while let Some((at, s, r)) = arrivals.next_if(|&(at, ..)| at < now) {
                ledger.handle_reply(s, r, self.in_time(at, s));
            }
            if let Some(s) = n.checked_sub(self.timeout / self.interval) {
                ledger.handle_timeout(s as u32);
            }
            if n < fates.len() as u64 {
                assert_eq!(u64::from(ledger.send()), n);
            }
        }
        self.truth(fates)
    }

    fn in_time(&self, at: u64, s: u32) -> bool {
        at - u64::from(s) * self.interval < self.timeout
    }

    /// Time, s and r of each reply that comes back.
    fn arrivals(&self, fates: &[Fate]) -> Vec<(u64, u32, u32)> {
        let mut reached: Vec<(u64, usize)> = Vec::new();
        for (s, fate) in fates.iter().enumerate() {
            reached.extend(fate.forward.iter().map(|delay| (s as u64 * self.interval + delay, s)));
        }
        reached.sort();
        let mut replies = Vec::new();
        for (n, (at, s)) in reached.into_iter().enumerate() {
            let r = if self.stateful { self.first_r.wrapping_add(n as u32) } else { s as u32 };
            replies.extend(fates[s].reverse.iter().map(|delay| (at + delay, s as u32, r)));
        }
        replies
    }

    fn truth(&self, fates: &[Fate]) -> Directed {
        let mut lost = Directed::default();
        for fate in fates {
            lost.forward += u64::from(fate.forward.is_empty());
            lost.reverse += u64::from(!fate.forward.is_empty() && fate.reverse.is_empty());
        }
        lost
    }
}

fn played(path: &Path, reflector: Reflector, fates: &[Fate]) -> (Counts, Directed) {
    let mut ledger = Ledger::new(1024, reflector);
    let truth = path.play(&mut ledger, fates);
    (*ledger.counts(), truth)
}

fn directed(forward: u64, reverse: u64, unknown: u64) -> Directed {
    Directed { forward, reverse, unknown }
}

/// `pattern` in words: `.` answered, `f` and `r` lost on that way.
fn fates(pattern: &str) -> Vec<Fate> {
    let fate = |letter| match letter {
        'f' => Fate::lost_forward(),
        'r' => Fate::lost_reverse(),
        _ => Fate::plain(),
    };
    pattern.chars().map(fate).collect()
}

#[test]
fn each_loss_is_found_on_its_way() {
    let (counts, truth) = played(&Path::FAST, Reflector::Stateful, &fates(".f..rr.ffr.f.r.rff."));
    assert_eq!(truth, directed(6, 5, 0));
    assert_eq!(counts.lost, truth);
    assert_eq!((counts.sent, counts.received, counts.pending()), (19, 8, 0));
}

#[test]
fn losses_without_an_answer_behind_them_stay_open_until_they_are_flushed() {
    let mut ledger = Ledger::new(1024, Reflector::Stateful);
    Path::FAST.play(&mut ledger, &fates("..f.rff"));
    assert_eq!((ledger.counts().lost, ledger.counts().pending()), (directed(1, 0, 0), 3));
    assert_eq!(ledger.undecided(), 4..7);
    ledger.flush(6);
    assert_eq!((ledger.counts().lost, ledger.counts().pending()), (directed(1, 0, 3), 0));
    assert!(ledger.undecided().is_empty());
}

#[test]
fn an_interval_as_long_as_the_timeout_still_tells_directions() {
    let slow = Path { interval: 1_000, timeout: 1_000, ..Path::FAST };
    let (counts, truth) = played(&slow, Reflector::Stateful, &fates(".f.r..ffrr."));
    assert_eq!(counts.lost, truth);
}

#[test]
fn an_outage_that_was_called_unknown_does_not_colour_what_follows() {
    for (pattern, lost) in [
        ("..ffffffff.", directed(4, 0, 4)),
        ("..rrrrrrrr.", directed(0, 4, 4)),
        ("..rrrrffff.", directed(0, 0, 8)),
        ("..rrffffff.", directed(2, 0, 6)),
    ] {
        let mut ledger = Ledger::new(1024, Reflector::Stateful);
        let replies = Path::FAST.arrivals(&fates(pattern));
        for s in 0..10 {
            assert_eq!(ledger.send(), s);
            replies
                .iter()
                .filter(|reply| reply.1 == s)
                .for_each(|&(_, s, r)| assert!(ledger.handle_reply(s, r, true).is_some()));
        }
        ledger.handle_timeout(5);
        ledger.flush(5);
        ledger.handle_timeout(9);
        ledger.send();
        ledger.handle_reply(10, replies.last().unwrap().2, true);
        assert_eq!(ledger.counts().lost, lost, "{pattern}");
    }
}

#[test]
fn a_reflector_that_copies_numbers_tells_no_direction() {
    let path = Path { stateful: false, ..Path::FAST };
    for reflector in [Reflector::Unknown, Reflector::Stateless] {
        let (counts, truth) = played(&path, reflector, &fates("..f.r.."));
        assert_eq!(counts.lost, directed(0, 0, truth.total()));
    }
}

#[test]
fn a_reflector_is_stateful_from_its_first_own_number_on() {
    let slow = Path { interval: 1_000, timeout: 1_000, ..Path::FAST };
    let (counts, _) = played(&slow, Reflector::Unknown, &fates("..r..f.r.f."));
    assert_eq!(counts.lost, directed(2, 1, 1));
    let mut ledger = Ledger::new(64, Reflector::Unknown);
    ledger.send();
    ledger.handle_reply(0, 0, true);
    assert_eq!(ledger.reflector(), Reflector::Unknown);
    ledger.send();
    ledger.handle_reply(1, 7, true);
    assert_eq!(ledger.reflector(), Reflector::Stateful);
}

#[test]
fn a_session_that_the_reflector_had_before_is_counted_from_where_it_stands() {
    let path = Path { first_r: u32::MAX - 3, ..Path::FAST };
    let (counts, _) = played(&path, Reflector::Unknown, &fates("f..r..f."));
    assert_eq!(counts.lost, directed(1, 1, 1));
    assert_eq!(counts.restarts, 0);
}

#[test]
fn doubled_packets_are_told_by_the_reflectors_number() {
    let mut twice = fates("......");
    twice[1].forward = vec![100, 150];
    twice[3].reverse = vec![100, 130, 160];
    let (counts, _) = played(&Path::FAST, Reflector::Unknown, &twice);
    assert_eq!(counts.duplicate, directed(1, 2, 0));
    assert_eq!((counts.received, counts.lost.total()), (6, 0));
}

#[test]
fn overtaken_packets_are_told_by_the_way_on_which_it_happened() {
    let mut mixed = fates("..........");
    mixed[2].forward = vec![1_500];
    mixed[6].reverse = vec![2_700];
    let (counts, _) = played(&Path::FAST, Reflector::Stateful, &mixed);
    assert_eq!(counts.reordered, directed(1, 1, 0));
    assert_eq!((counts.received, counts.lost.total()), (10, 0));
}

#[test]
fn a_late_reply_does_not_undo_a_loss() {
    let mut ledger = Ledger::new(64, Reflector::Stateful);
    for r in 0..3 {
        let s = ledger.send();
        if s != 1 {
            assert_eq!(ledger.handle_reply(s, r, true), Some(Outcome::First));
        }
    }
    ledger.handle_timeout(2);
    assert_eq!(ledger.counts().lost, directed(0, 1, 0));
    assert_eq!(ledger.handle_reply(1, 1, true), Some(Outcome::Late));
    assert_eq!(ledger.handle_reply(1, 1, true), Some(Outcome::Duplicate));
    let counts = ledger.counts();
    assert_eq!(
        (counts.received, counts.lost.total(), counts.late, counts.duplicate.reverse),
        (2, 1, 1, 1)
    );
}

#[test]
fn a_reflector_that_starts_over_is_told_and_causes_no_loss() {
    let mut ledger = Ledger::new(64, Reflector::Stateful);
    for r in (0..200).chain(0..50) {
        let s = ledger.send();
        assert_eq!(ledger.handle_reply(s, r, true), Some(Outcome::First));
    }
    let counts = ledger.counts();
    assert_eq!((counts.restarts, counts.received, counts.lost.total()), (1, 250, 0));
    let s = ledger.send();
    ledger.handle_timeout(s);
    let s = ledger.send();
    ledger.handle_reply(s, 50, true);
    assert_eq!(ledger.counts().lost, directed(1, 0, 0));
}

#[test]
fn a_reflector_that_starts_over_early_is_told_by_a_number_used_twice() {
    let mut ledger = Ledger::new(64, Reflector::Stateful);
    for r in (0..5).chain(0..5) {
        let s = ledger.send();
        assert_eq!(ledger.handle_reply(s, r, true), Some(Outcome::First));
    }
    assert_eq!((ledger.counts().restarts, ledger.counts().lost.total()), (1, 0));
}

#[test]
fn a_slot_that_is_needed_again_is_given_up_and_counted() {
    let mut ledger = Ledger::new(16, Reflector::Stateful);
    for _ in 0..20 {
        ledger.send();
    }
    let counts = ledger.counts();
    assert_eq!((counts.crowded, counts.lost, counts.pending()), (4, directed(0, 0, 4), 16));
}

#[test]
fn numbers_wrap_without_a_gap() {
    let mut ledger = Ledger::new(16, Reflector::Stateful);
    ledger.start_at(u64::from(u32::MAX) - 5);
    for r in 0..20 {
        let s = ledger.send();
        if r == 10 {
            continue;
        }
        assert_eq!(ledger.handle_reply(s, r, true), Some(Outcome::First), "number {s}");
        ledger.handle_timeout(s);
    }
    assert_eq!(ledger.counts().lost, directed(0, 1, 0));
}

#[test]
fn a_number_that_was_never_sent_is_no_reply_of_ours() {
    let mut ledger = Ledger::new(16, Reflector::Stateful);
    assert_eq!(ledger.handle_reply(0, 0, true), None);
    ledger.send();
    assert_eq!(ledger.handle_reply(1, 0, true), None);
    assert_eq!(ledger.handle_reply(u32::MAX, 0, true), None);
    assert_eq!(*ledger.counts(), Counts { sent: 1, ..Counts::default() });
}

fn lossy() -> impl Strategy<Value = Fate> {
    (0_u8..10).prop_map(|n| match n {
        0 => Fate::lost_forward(),
        1 => Fate::lost_reverse(),
        _ => Fate::plain(),
    })
}

fn unruly() -> impl Strategy<Value = Fate> {
    let copies = || proptest::collection::vec(100_u64..20_000, 1..3);
    (copies(), copies()).prop_map(|(forward, reverse)| Fate { forward, reverse })
}

fn anything() -> impl Strategy<Value = Fate> {
    let copies = || proptest::collection::vec(100_u64..200_000, 0..3);
    (copies(), copies()).prop_map(|(forward, reverse)| Fate { forward, reverse })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn losses_are_exact_up_to_the_last_answer(mut fates in proptest::collection::vec(lossy(), 1..200), known: bool) {
        fates.push(Fate::plain());
        let reflector = if known { Reflector::Stateful } else { Reflector::Unknown };
        let (counts, truth) = played(&Path::FAST, reflector, &fates);
        prop_assert_eq!(counts.lost.total(), truth.total());
        prop_assert_eq!(counts.pending(), 0);
        if known {
            prop_assert_eq!(counts.lost, truth);
        }
    }

    #[test]
    fn without_loss_doubling_and_overtaking_are_exact(fates in proptest::collection::vec(unruly(), 1..100)) {
        let (counts, _) = played(&Path::FAST, Reflector::Stateful, &fates);
        let doubled = |copies: fn(&Fate) -> usize| fates.iter().map(|fate| copies(fate) as u64).sum::<u64>();
        let forward = doubled(|fate| fate.forward.len() - 1);
        let all = doubled(|fate| fate.forward.len() * fate.reverse.len() - 1);
        prop_assert_eq!(counts.duplicate, directed(forward, all - forward, 0));
        prop_assert_eq!(counts.received, fates.len() as u64);
        prop_assert_eq!(counts.reordered, overtaken(&fates));
        prop_assert_eq!(counts.restarts, 0);
    }

    #[test]
    fn whatever_happens_the_counts_add_up(
        fates in proptest::collection::vec(anything(), 1..200), window in 4_u32..9, stateful: bool, kind in any::<u8>(),
    ) {
        let reflector = [Reflector::Unknown, Reflector::Stateful, Reflector::Stateless][usize::from(kind % 3)];
        let mut ledger = Ledger::new(1 << window, reflector);
        Path { stateful, timeout: 30_000, ..Path::FAST }.play(&mut ledger, &fates);
        let open = ledger.open();
        prop_assert_eq!(open.start, open.end);
        ledger.flush(open.end.wrapping_sub(1));
        let counts = ledger.counts();
        prop_assert_eq!(counts.sent, fates.len() as u64);
        prop_assert_eq!(counts.received + counts.lost.total(), counts.sent);
        prop_assert!(counts.late <= counts.lost.total());
    }

    #[test]
    fn hostile_numbers_break_nothing(replies in proptest::collection::vec((0_u32..40, any::<u32>()), 0..200)) {
        let mut ledger = Ledger::new(16, Reflector::Stateful);
        for (s, r) in replies {
            let newest = ledger.send();
            ledger.handle_reply(newest.wrapping_sub(s), r, true);
            let counts = ledger.counts();
            prop_assert_eq!(counts.received + counts.lost.total() + counts.pending(), counts.sent);
        }
    }
}

/// First copies that arrive behind a higher number, by brute force over all pairs.
fn overtaken(fates: &[Fate]) -> Directed {
    let mut in_time = Path::FAST.arrivals(fates);
    in_time.sort_by_key(|&(at, ..)| at);
    let first = |n: usize| !in_time[..n].iter().any(|seen| seen.1 == in_time[n].1);
    let higher_came_first = |n: usize| in_time[..n].iter().any(|seen| seen.2 > in_time[n].2);
    let was_overtaken =
        |n: usize| in_time.iter().any(|other| other.2 < in_time[n].2 && other.1 > in_time[n].1);
    let count = |behind: &dyn Fn(usize) -> bool| {
        (0..in_time.len()).filter(|&n| first(n) && behind(n)).count() as u64
    };
    directed(count(&was_overtaken), count(&higher_came_first), 0)
}

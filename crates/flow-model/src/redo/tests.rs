use super::{AfterImage, CorruptLog, Log, MAGIC};
use crate::page::{FlowKeyMode, Geometry, Memory, Pages, Region};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

const GEOMETRY: Geometry = Geometry {
    flow_capacity4: 1,
    flow_capacity6: 1,
    shards: 1,
    max_edges: 4,
    pair_series: 8,
    flow_key: FlowKeyMode::FiveTuple,
};

fn written(log: &Log) -> Memory {
    let mut pages = Memory::new(&GEOMETRY);
    log.write(7, &mut pages);
    pages
}

fn sample() -> Log {
    let mut log = Log::default();
    log.record(Region::Pairs, 3, 4, &[1, 2, 3, 4]);
    log.record(Region::EdgeBook, 2, 32, &[5]);
    log
}

#[test]
fn a_log_lies_in_the_pages_word_for_word_as_documented() {
    let pages = written(&sample());
    let words: [u64; 18] = std::array::from_fn(|word| pages.load(Region::Redo, word));
    let [magic, epoch, count, _, 0, 0, ref images @ ..] = words else { panic!("{words:?}") };
    assert_eq!((magic, epoch, count), (MAGIC, 7, 2));
    let pair = 2 | 4 << 8 | 4 << 16 | 3 << 32;
    let edge = 1 | 1 << 8 | 32 << 16 | 2 << 32;
    assert_eq!(*images, [pair, 1, 2, 3, 4, 0, edge, 5, 0, 0, 0, 0]);
}

#[test]
fn more_than_five_words_take_several_after_images() {
    let mut log = Log::default();
    log.record(Region::EdgeBook, 0, 1, &[1, 2, 3, 4, 5, 6, 7]);
    let parts: Vec<_> = log.images().iter().map(|image| (image.place(), image.words())).collect();
    let place = (Region::EdgeBook, 0);
    assert_eq!(parts, [(place, (1, &[1, 2, 3, 4, 5][..])), (place, (6, &[6, 7][..]))]);
}

#[test]
fn each_way_to_be_corrupt_has_its_own_name() {
    for (word, value, wrong) in [
        (0, 1, CorruptLog::Magic),
        (1, 8, CorruptLog::Epoch { found: 8, wanted: 7 }),
        (2, u64::MAX, CorruptLog::Count { room: GEOMETRY.records(Region::Redo) - 1 }),
        (2, 1, CorruptLog::Checksum),
        (2, 3, CorruptLog::Place { record: 3 }),
        (3, 0, CorruptLog::Checksum),
        (7, 99, CorruptLog::Checksum),
        (6, 0, CorruptLog::Place { record: 1 }),
        (6, 2 | 4 << 8 | 5 << 16 | 3 << 32, CorruptLog::Place { record: 1 }),
        (6, 2 | 4 << 8 | 4 << 16 | 11 << 32, CorruptLog::Place { record: 1 }),
        (6, 2 | 6 << 8, CorruptLog::Place { record: 1 }),
        (12, 1 | 1 << 8 | 64 << 16, CorruptLog::Place { record: 2 }),
    ] {
        let mut pages = written(&sample());
        pages.store(Region::Redo, word, value);
        assert_eq!(Log::read(&pages, &GEOMETRY, 7), Err(wrong), "word {word}");
    }
}

fn images() -> impl Strategy<Value = Vec<(bool, usize, usize, Vec<u64>)>> {
    let one =
        (any::<bool>(), 0_usize..5, 0_usize..4, proptest::collection::vec(any::<u64>(), 1..5));
    proptest::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn what_is_written_is_read(images in images()) {
        let mut log = Log::default();
        for (pair, record, offset, words) in &images {
            let region = if *pair { Region::Pairs } else { Region::EdgeBook };
            log.record(region, *record, *offset, words);
        }
        prop_assert_eq!(Log::read(&written(&log), &GEOMETRY, 7), Ok(log));
    }

    #[test]
    fn applying_a_log_in_part_and_then_whole_is_applying_it_once(images in images(), part: usize) {
        let mut log = Log::default();
        for (pair, record, offset, words) in &images {
            let region = if *pair { Region::Pairs } else { Region::EdgeBook };
            log.record(region, *record, *offset, words);
        }
        let mut once = Memory::new(&GEOMETRY);
        log.apply(&mut once);
        let mut interrupted = Memory::new(&GEOMETRY);
        let first = Log { images: log.images.iter().take(part % 13).copied().collect() };
        first.apply(&mut interrupted);
        log.apply(&mut interrupted);
        log.apply(&mut interrupted);
        prop_assert_eq!(interrupted, once);
    }

    #[test]
    fn an_after_image_that_is_read_is_written_the_same_but_for_its_padding(words: [u64; 6], small: bool) {
        let mut words = words;
        if small {
            words[0] &= 0x0000_0003_0007_0303;
        }
        if let Some(image) = AfterImage::decode(words, &GEOMETRY) {
            prop_assert_eq!(image.encode(), words);
        }
    }
}

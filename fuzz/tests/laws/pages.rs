//! Pages that outlive a process: the redo log and the edge book, whoever wrote there.

use flow_model::edge::{Attachment, EdgeId, EdgeRecord, EdgeState, Exposure, Hook, Identity};
use flow_model::edge::{Place, Text};
use flow_model::flow::{Counts, Slot};
use flow_model::page::{EDGE_WORDS, FlowKeyMode, Geometry, Memory, PAIR_WORDS, Region};
use flow_model::redo::Log;
use proptest::array::uniform5;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use crate::{damaged, hold};

const GEOMETRY: Geometry = Geometry {
    flow_capacity4: 1,
    flow_capacity6: 1,
    shards: 1,
    max_edges: 4,
    pair_series: 8,
    flow_key: FlowKeyMode::FiveTuple,
};
/// Epoch that the reader is told.
const EPOCH: u64 = 7;

/// CRC-32 bit by bit (IEEE 802.3 §3.2.9, reflected).
fn checksum(words: &[u64]) -> u64 {
    let mut crc = u32::MAX;
    for octet in words.iter().flat_map(|word| word.to_le_bytes()) {
        crc ^= u32::from(octet);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    u64::from(!crc)
}

/// The words of a log: a header, then six words an after-image.
fn written(epoch: u64, images: &[[u64; 6]]) -> Vec<u64> {
    let mut summed = vec![epoch, images.len() as u64];
    summed.extend(images.iter().flatten());
    let mut words = vec![u64::from_le_bytes(*b"redo-log"), epoch, images.len() as u64];
    words.extend([checksum(&summed), 0, 0]);
    words.extend(images.iter().flatten());
    words
}

/// After-images that nearly always fit their record.
fn image() -> impl Strategy<Value = [u64; 6]> {
    let place = (1_u64..4, 0_u64..8, 0_u64..70, 0_u64..14);
    let place = place.prop_map(|(region, length, offset, record)| {
        region | length << 8 | offset << 16 | record << 32
    });
    let sound = (1_u64..3, 1_u64..6, 0_u64..4, 0_u64..5);
    let sound = sound.prop_map(|(region, length, offset, record)| {
        region | length << 8 | offset << 16 | record << 32
    });
    let place = prop_oneof![20 => sound, 1 => place, 1 => any::<u64>()];
    (place, uniform5(any::<u64>())).prop_map(|(place, [a, b, c, d, e])| [place, a, b, c, d, e])
}

type Image = (Region, usize, usize, Vec<u64>);

/// One after-image: region and length, then where in which record, then the words.
fn image_slowly(words: &[u64]) -> Option<Image> {
    let octets = words[0].to_le_bytes();
    let (region, width, records) = match octets[0] {
        1 => (Region::EdgeBook, EDGE_WORDS, GEOMETRY.records(Region::EdgeBook)),
        2 => (Region::Pairs, PAIR_WORDS, GEOMETRY.records(Region::Pairs)),
        _ => return None,
    };
    let length = usize::from(octets[1]);
    let offset = usize::from(u16::from_le_bytes([octets[2], octets[3]]));
    let record = usize::try_from(words[0] >> 32).ok()?;
    let inside = (1..=5).contains(&length) && offset + length <= width && record < records;
    inside.then(|| (region, record, offset, words[1..=length].to_vec()))
}

fn log_slowly(words: &[u64]) -> Option<Vec<Image>> {
    let count = usize::try_from(words[2]).ok().filter(|n| *n < GEOMETRY.records(Region::Redo))?;
    let images = &words[6..6 + 6 * count];
    let ours = words[0] == u64::from_le_bytes(*b"redo-log") && words[1] == EPOCH;
    let whole = written(words[1], images.as_chunks().0)[3] == words[3];
    let images = images.chunks(6).map(image_slowly).collect::<Option<_>>();
    images.filter(|_| ours && whole)
}

#[test]
fn a_redo_log_is_believed_only_if_every_word_is_right() {
    let epoch = prop_oneof![9 => Just(EPOCH), 1 => any::<u64>()];
    let log = (epoch, vec(image(), 0..8)).prop_map(|(epoch, images)| written(epoch, &images));
    let word = prop_oneof![any::<u64>(), 0_u64..9];
    hold(damaged(log, word), |words| {
        let mut pages = Memory::new(&GEOMETRY);
        for (to, from) in pages.words_mut(Region::Redo).iter_mut().zip(&words) {
            *to = *from;
        }
        let read = Log::read(&pages, &GEOMETRY, EPOCH).ok();
        let images = |log: Log| {
            let parts = log.images().iter().map(|image| {
                let ((region, record), (offset, words)) = (image.place(), image.words());
                (region, record, offset, words.to_vec())
            });
            parts.collect::<Vec<_>>()
        };
        assert_eq!(read.map(images), log_slowly(pages.words_mut(Region::Redo)));
    });
}

fn text() -> impl Strategy<Value = Text> {
    let longest = "0123456789012345678901234567890123456789012345678901234567890ü";
    select(vec!["", "web-0", "shop", "ä", longest]).prop_map(|text| Text::new(text).unwrap())
}

fn hook() -> impl Strategy<Value = Hook> {
    use Attachment::{Clsact, ClsactOwn, None, Tcx};
    let places = vec![Place::None, Place::Host, Place::Pod, Place::Nic, Place::Cgroup];
    let held = vec![None, Tcx, Clsact, Attachment::Cgroup, ClsactOwn];
    (select(places), select(held), any::<u16>(), any::<u32>()).prop_map(
        |(place, attachment, preference, handle)| Hook { place, attachment, preference, handle },
    )
}

/// A record with something in every field.
fn record() -> impl Strategy<Value = EdgeRecord> {
    use EdgeState::{Draining, Live, Quarantined, Zeroing};
    let states = select(vec![Zeroing, Live, Draining, Quarantined]);
    let exposures = select(vec![Exposure::Unnamed, Exposure::Series, Exposure::Other]);
    let identity = (text(), text(), text());
    let identity = identity.prop_map(|(name, namespace, uid)| Identity { name, namespace, uid });
    let life = (1_u32.., states, exposures, identity, (hook(), hook()));
    (life, any::<[u64; 25]>()).prop_map(|((id, state, exposure, identity, hooks), n)| {
        let counts = |at: usize| Counts { packets: n[at], bytes: n[at + 1] };
        EdgeRecord {
            id: EdgeId(id),
            slot: SLOT,
            state,
            since_epoch: n[0],
            netns_inode: n[1],
            host_ifindex: n[2] as u32,
            pod_ifindex: n[3] as u32,
            hooks: hooks.into(),
            created_ns: n[4],
            exposure,
            identity,
            sums: [[counts(5), counts(7)], [counts(9), counts(11)]],
            inherited: [counts(13), counts(15)],
            pod_created_ns: n[16],
            baseline: std::array::from_fn(|i| n[17 + i]),
        }
    })
}

/// Name, namespace and UID, each a length octet and its text in 64 octets.
fn texts_slowly(words: &[u64]) -> Option<[String; 3]> {
    let octets: Vec<u8> = words[8..32].iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = |octets: &[u8]| {
        let (length, rest) = octets.split_first()?;
        let (text, padding) = rest.split_at_checked(usize::from(*length))?;
        let text = String::from_utf8(text.to_vec()).ok()?;
        padding.iter().all(|octet| *octet == 0).then_some(text)
    };
    let texts = [text(&octets[..64])?, text(&octets[64..128])?, text(&octets[128..])?];
    (checksum(&words[8..32]) == words[7] >> 32).then_some(texts)
}

/// What the reader must say of any words: nothing, or these names and these numbers.
fn record_slowly(words: &[u64]) -> Option<([String; 3], u32, Vec<u64>)> {
    let low = |at: usize| words[at] & 0xffff_ffff;
    let hook = |at: usize| words[at] & 0xff < 5 && words[at] >> 8 & 0xff < 5;
    let free = low(0) == 0;
    let sound = low(0) < 5 && free == (words[0] >> 32 == 0) && low(7) < 3 && hook(4) && hook(5);
    let texts = texts_slowly(words);
    // A series without its labels is no series.
    let exposure = if low(7) == 1 && texts.is_none() { 0 } else { low(7) };
    let numbers = [&words[1..4], &words[6..7], &words[32..53]].concat();
    sound.then(|| (texts.unwrap_or_default(), exposure as u32, numbers))
}

#[test]
fn an_edge_record_is_read_word_by_word_and_written_so() {
    let word = prop_oneof![any::<u64>(), 0_u64..6];
    let words = record().prop_map(|record| record.encode().to_vec());
    hold(damaged(words, word), |words| {
        let words: [u64; EDGE_WORDS] = std::array::from_fn(|i| words.get(i).copied().unwrap_or(0));
        let read = EdgeRecord::decode(SLOT, &words).ok();
        let facts = |record: EdgeRecord| {
            let texts = [record.identity.name, record.identity.namespace, record.identity.uid];
            let again = record.encode();
            assert_eq!(EdgeRecord::decode(SLOT, &again), Ok(record), "written and read again");
            let numbers = [&again[1..4], &again[6..7], &again[32..53]].concat();
            (texts.map(|text| text.as_str().to_owned()), record.exposure as u32, numbers)
        };
        assert_eq!(read.map(facts), record_slowly(&words));
    });
}

#[test]
fn a_sound_edge_record_comes_back_whole() {
    hold(record(), |record| {
        assert_eq!(EdgeRecord::decode(SLOT, &record.encode()), Ok(record));
    });
}

const SLOT: Slot = Slot(3);

//! The redo log: after-images of every record that a drain changes.
//!
//! An after-image says what words hold *after* the drain, never what is added to
//! them, so applying a log once, twice or one and a half times ends the same. The
//! log is written whole before `journal` names its epoch and is not touched again
//! until the next drain, so a reader that finds `journal` ahead of `commit` finds
//! either a complete log or the work of someone else. It trusts nothing: epoch,
//! count, checksum and the place of every after-image are checked before the first
//! word is applied.

use crate::page::{Geometry, Pages, REDO_WORDS, Region, load_words, store_words};

/// One after-image: up to five consecutive words of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterImage {
    region: Region,
    record: u32,
    offset: u16,
    length: u8,
    words: [u64; Self::MAX_WORDS],
}

impl AfterImage {
    /// Most words that one after-image holds.
    pub const MAX_WORDS: usize = REDO_WORDS - 1;

    /// The record that it changes.
    pub const fn place(&self) -> (Region, usize) {
        (self.region, self.record as usize)
    }

    /// The words that it writes, and where in the record they start.
    pub fn words(&self) -> (usize, &[u64]) {
        let length = usize::from(self.length).min(Self::MAX_WORDS);
        (usize::from(self.offset), self.words.split_at(length).0)
    }

    fn encode(&self) -> [u64; REDO_WORDS] {
        let region = if matches!(self.region, Region::Pairs) { PAIRS } else { EDGE_BOOK };
        let [a, b, c, d, e] = self.words;
        let place = u64::from(region)
            | u64::from(self.length) << 8
            | u64::from(self.offset) << 16
            | u64::from(self.record) << 32;
        [place, a, b, c, d, e]
    }

    /// Reads an after-image that stays inside its record.
    fn decode([place, words @ ..]: [u64; REDO_WORDS], geometry: &Geometry) -> Option<Self> {
        let [region, length, low, high, r0, r1, r2, r3] = place.to_le_bytes();
        let image = Self {
            region: region_of(region)?,
            record: u32::from_le_bytes([r0, r1, r2, r3]),
            offset: u16::from_le_bytes([low, high]),
            length,
            words,
        };
        image.fits(geometry).then_some(image)
    }

    fn fits(&self, geometry: &Geometry) -> bool {
        let end = usize::from(self.offset) + usize::from(self.length);
        (1..=Self::MAX_WORDS).contains(&usize::from(self.length))
            && end <= self.region.record_words()
            && (self.record as usize) < geometry.records(self.region)
    }
}

/// The after-images of one drain, in the order in which they were recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    images: Vec<AfterImage>,
}

impl Log {
    /// Records what consecutive words of a record will be; more than five take
    /// several after-images.
    ///
    /// `region` is the edge book or the pairs; places beyond `u32` or `u16` do not
    /// exist in any geometry.
    pub(crate) fn record(&mut self, region: Region, record: usize, offset: usize, words: &[u64]) {
        for (i, part) in words.chunks(AfterImage::MAX_WORDS).enumerate() {
            let mut image = AfterImage {
                region,
                record: record as u32,
                offset: (offset + i * AfterImage::MAX_WORDS) as u16,
                length: part.len() as u8,
                words: [0; AfterImage::MAX_WORDS],
            };
            for (word, value) in image.words.iter_mut().zip(part) {
                *word = *value;
            }
            self.images.push(image);
        }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.images.clear();
    }

    /// The after-images.
    pub fn images(&self) -> &[AfterImage] {
        &self.images
    }

    /// Writes the log of `epoch` to its region. The log counts for nothing until
    /// `journal` names the epoch.
    pub(crate) fn write(&self, epoch: u64, pages: &mut impl Pages) {
        let mut checksum = Checksum::new(epoch, self.images.len() as u64);
        for (record, image) in (1..).zip(&self.images) {
            let words = image.encode();
            checksum.add(&words);
            store_words(pages, Region::Redo, record, 0, &words);
        }
        let header = [MAGIC, epoch, self.images.len() as u64, checksum.finish()];
        store_words(pages, Region::Redo, 0, 0, &header);
    }

    /// Writes every after-image to its place.
    pub(crate) fn apply(&self, pages: &mut impl Pages) {
        for image in &self.images {
            let (offset, words) = image.words();
            store_words(pages, image.region, image.record as usize, offset, words);
        }
    }

    /// Reads the log of `epoch`, believing nothing. `pages` must be of the sizes that
    /// `geometry` asks for.
    pub fn read(pages: &impl Pages, geometry: &Geometry, epoch: u64) -> Result<Self, CorruptLog> {
        let [magic, found, count, expected] = load_words(pages, Region::Redo, 0, 0);
        if magic != MAGIC {
            return Err(CorruptLog::Magic);
        }
        if found != epoch {
            return Err(CorruptLog::Epoch { found, wanted: epoch });
        }
        let room = geometry.records(Region::Redo) - 1;
        let count = usize::try_from(count).ok().filter(|count| *count <= room);
        let count = count.ok_or(CorruptLog::Count { room })?;
        Self::read_images(pages, geometry, epoch, count, expected)
    }

    fn read_images(
        pages: &impl Pages,
        geometry: &Geometry,
        epoch: u64,
        count: usize,
        expected: u64,
    ) -> Result<Self, CorruptLog> {
        let mut checksum = Checksum::new(epoch, count as u64);
        let mut images = Vec::with_capacity(count);
        for record in 1..=count {
            let words = load_words(pages, Region::Redo, record, 0);
            checksum.add(&words);
            let image = AfterImage::decode(words, geometry);
            images.push(image.ok_or(CorruptLog::Place { record })?);
        }
        if checksum.finish() != expected {
            return Err(CorruptLog::Checksum);
        }
        Ok(Self { images })
    }
}

/// Why a redo log can't be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptLog {
    /// The header is not one of ours.
    #[error("the redo log has no header; something else wrote to the pinned map")]
    Magic,
    /// The log is of another epoch.
    #[error("the redo log is of epoch {found} instead of {wanted}; something else wrote to it")]
    Epoch {
        /// Epoch in the header.
        found: u64,
        /// Epoch that `journal` names.
        wanted: u64,
    },
    /// More after-images than the region holds.
    #[error("the redo log claims more than the {room} after-images that fit; it is corrupt")]
    Count {
        /// After-images that fit.
        room: usize,
    },
    /// An after-image points outside the ledger.
    #[error("after-image {record} of the redo log points outside the ledger; it is corrupt")]
    Place {
        /// Number of the after-image, from 1.
        record: usize,
    },
    /// The content does not match the header.
    #[error("the checksum of the redo log is wrong; something else wrote to the pinned map")]
    Checksum,
}

const MAGIC: u64 = u64::from_le_bytes(*b"redo-log");
const EDGE_BOOK: u8 = 1;
const PAIRS: u8 = 2;

const fn region_of(code: u8) -> Option<Region> {
    match code {
        EDGE_BOOK => Some(Region::EdgeBook),
        PAIRS => Some(Region::Pairs),
        _ => None,
    }
}

struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn new(epoch: u64, count: u64) -> Self {
        let mut checksum = Self(crc32fast::Hasher::new());
        checksum.add(&[epoch, count]);
        checksum
    }

    fn add(&mut self, words: &[u64]) {
        for word in words {
            self.0.update(&word.to_le_bytes());
        }
    }

    fn finish(self) -> u64 {
        u64::from(self.0.finalize())
    }
}

#[cfg(test)]
mod tests;

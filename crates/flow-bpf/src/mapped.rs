//! Memory of an mmapable array, shared with the kernel and other processes.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{Error, Step};

/// The words of one array map. They belong to the kernel: what is stored here survives
/// the process.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    words: usize,
    len: usize,
}

impl Mapped {
    /// Maps an array of `records` values of `record_bytes`, a multiple of eight.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        what: &'static str,
        records: usize,
        record_bytes: usize,
    ) -> Result<Self, Error> {
        let words = records * record_bytes / size_of::<u64>();
        let len = (words * size_of::<u64>()).next_multiple_of(rustix::param::page_size());
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        };
        let at = at.map_err(|errno| Error::new(Step::Map, what, errno.into()))?;
        let start = NonNull::new(at.cast())
            .ok_or_else(|| Error::new(Step::Map, what, io::ErrorKind::InvalidData.into()))?;
        Ok(Self { start, words, len })
    }

    /// The words; every access is atomic because kernel programs write at the same time.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` points to a live shared mapping of at least `words` aligned
        // words until drop, and an atomic may be written by others.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    pub(crate) fn load(&self, word: usize) -> u64 {
        self.words()[word].load(Ordering::Acquire)
    }

    pub(crate) fn store(&self, word: usize, value: u64) {
        self.words()[word].store(value, Ordering::Release);
    }

    /// Zeroes a range of words, leaving clean ones untouched.
    pub(crate) fn zero(&self, from: usize, count: usize) {
        for word in &self.words()[from..from + count] {
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Release);
            }
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with exactly this address and length, and no
        // borrow of it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

// SAFETY: the memory is only reached through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

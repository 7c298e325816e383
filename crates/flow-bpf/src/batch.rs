//! Batch access to hash maps and per-CPU arrays, into buffers that are used again.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr,
};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::{Error, Step};

/// Room for one system call's worth of elements.
///
/// A batch holds whole buckets; the kernel answers ENOSPC when one bucket does not fit.
#[derive(Debug)]
pub(crate) struct Slab<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

const START: usize = 4096;
/// No bucket is longer: a bucket that held this many would have been a table's worth.
const LIMIT: usize = 1 << 22;

impl<K: Copy + Default, V: Copy + Default> Slab<K, V> {
    pub(crate) fn new() -> Self {
        Self::with_room(START)
    }

    fn with_room(room: usize) -> Self {
        Self { keys: vec![K::default(); room], values: vec![V::default(); room] }
    }

    /// Shows every element of a map without removing it.
    pub(crate) fn read(
        &mut self,
        map: BorrowedFd<'_>,
        what: &'static str,
        sink: &mut impl FnMut(&K, &V),
    ) -> Result<(), Error> {
        self.walk(map, what, Step::Read, sink)
    }

    /// Removes every element of a map that nobody writes to.
    pub(crate) fn clear(&mut self, map: BorrowedFd<'_>, what: &'static str) -> Result<(), Error> {
        self.walk(map, what, Step::Clear, &mut |_, _| ())
    }

    fn walk(
        &mut self,
        map: BorrowedFd<'_>,
        what: &'static str,
        step: Step,
        sink: &mut impl FnMut(&K, &V),
    ) -> Result<(), Error> {
        let mut cursor: Option<u64> = None;
        loop {
            let (count, last) = match self.call(map, step, &mut cursor) {
                Ok(answer) => answer,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && self.grow() => continue,
                Err(error) => return Err(Error::new(step, what, error)),
            };
            for (key, value) in self.keys.iter().zip(&self.values).take(count) {
                sink(key, value);
            }
            if last {
                return Ok(());
            }
        }
    }

    fn grow(&mut self) -> bool {
        let wider = self.keys.len() * 2;
        self.keys.resize(wider, K::default());
        self.values.resize(wider, V::default());
        wider <= LIMIT
    }

    /// One call. Answers how many elements came and whether they were the last.
    fn call(
        &mut self,
        map: BorrowedFd<'_>,
        step: Step,
        cursor: &mut Option<u64>,
    ) -> io::Result<(usize, bool)> {
        let call = match step {
            Step::Clear => libbpf_sys::bpf_map_lookup_and_delete_batch,
            _ => libbpf_sys::bpf_map_lookup_batch,
        };
        let mut count = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        // The kernel's cursor of a hash is a bucket number in 32 bits.
        let mut from = cursor.unwrap_or(0);
        let mut next = 0_u64;
        let from: *mut u64 = if cursor.is_some() { &raw mut from } else { ptr::null_mut() };
        // SAFETY: keys and values hold `count` elements of the map's sizes, which the
        // types mirror; both cursors are at least as wide as the kernel's.
        let result = unsafe {
            call(
                map.as_raw_fd(),
                from.cast(),
                (&raw mut next).cast(),
                self.keys.as_mut_ptr().cast(),
                self.values.as_mut_ptr().cast(),
                &raw mut count,
                ptr::null(),
            )
        };
        if result == 0 {
            *cursor = Some(next);
            return Ok((count as usize, false));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ENOENT) {
            return Ok((count as usize, true));
        }
        Err(error)
    }
}

/// Writes several elements of a map with indices, at once where the kernel can.
pub(crate) fn update<const V: usize>(
    map: &MapHandle,
    keys: &[[u8; 4]],
    values: &[[u8; V]],
) -> libbpf_rs::Result<()> {
    if map.value_size() as usize == V && update_at_once(map.as_fd(), keys, values).is_ok() {
        return Ok(());
    }
    keys.iter().zip(values).try_for_each(|(key, value)| map.update(key, value, MapFlags::ANY))
}

fn update_at_once<const V: usize>(
    map: BorrowedFd<'_>,
    keys: &[[u8; 4]],
    values: &[[u8; V]],
) -> io::Result<()> {
    let mut count = u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX);
    // SAFETY: both slices hold `count` elements, of four octets and of the map's width,
    // which the caller has compared.
    let result = unsafe {
        libbpf_sys::bpf_map_update_batch(
            map.as_raw_fd(),
            keys.as_ptr().cast(),
            values.as_ptr().cast(),
            &raw mut count,
            ptr::null(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads the elements of an array from `first` on into `values`, whose length is what the
/// kernel writes for `count` of them.
pub(crate) fn read_array<V: Copy>(
    map: BorrowedFd<'_>,
    first: u32,
    count: u32,
    values: &mut [V],
) -> io::Result<()> {
    // The kernel starts behind the key it is given.
    let mut before = first.wrapping_sub(1);
    let before: *mut u32 = if first == 0 { ptr::null_mut() } else { &raw mut before };
    let mut last = 0_u32;
    let mut keys = vec![0_u32; count as usize];
    let mut read = count;
    // SAFETY: `keys` holds `count` indices and the caller vouches for `values`; the
    // cursors are indices too.
    let result = unsafe {
        libbpf_sys::bpf_map_lookup_batch(
            map.as_raw_fd(),
            before.cast(),
            (&raw mut last).cast(),
            keys.as_mut_ptr().cast(),
            values.as_mut_ptr().cast(),
            &raw mut read,
            ptr::null(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if read == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

    use super::{Slab, read_array, update};

    fn map(kind: MapType, value: u32, entries: u32) -> MapHandle {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        MapHandle::create(kind, Some("batch_test"), 4, value, entries, &options).unwrap()
    }

    fn numbers(map: &MapHandle, slab: &mut Slab<u32, u32>) -> Vec<u32> {
        let mut numbers = Vec::new();
        slab.read(map.as_fd(), "batch_test", &mut |key, value| {
            assert_eq!(*value, key + 1);
            numbers.push(*key);
        })
        .unwrap();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    #[ignore = "root: makes maps"]
    fn a_slab_too_small_for_a_bucket_grows_and_reads_each_element_once() {
        let map = map(MapType::Hash, 4, 512);
        for key in 0..512_u32 {
            let value = (key + 1).to_ne_bytes();
            map.update(&key.to_ne_bytes(), &value, MapFlags::ANY).unwrap();
        }
        let mut slab = Slab::with_room(1);
        assert_eq!(numbers(&map, &mut slab), (0..512).collect::<Vec<_>>());
        assert!(slab.keys.len() > 1, "one of 512 buckets holds two of 512 elements");

        Slab::<u32, u32>::with_room(1).clear(map.as_fd(), "batch_test").unwrap();
        assert_eq!(numbers(&map, &mut slab), []);
        slab.clear(map.as_fd(), "batch_test").unwrap();
    }

    #[test]
    #[ignore = "root: makes maps"]
    fn an_array_is_read_from_any_index_to_its_end() {
        let map = map(MapType::Array, 8, 100);
        let keys: Vec<_> = (0..100_u32).map(u32::to_ne_bytes).collect();
        let values: Vec<_> = (0..100_u64).map(|n| (n * n).to_ne_bytes()).collect();
        update(&map, &keys, &values).unwrap();
        for (first, count) in [(0, 100), (0, 1), (1, 99), (99, 1), (40, 7)] {
            let mut read = vec![0_u64; count as usize];
            read_array(map.as_fd(), first, count, &mut read).unwrap();
            let expected: Vec<_> = (first..first + count).map(|n| u64::from(n * n)).collect();
            assert_eq!(read, expected);
        }
        let beyond = read_array(map.as_fd(), 99, 2, &mut [0_u64; 2]);
        assert!(beyond.is_err(), "there is one element from 99 on");
    }
}

//! What the kernel tells about an open descriptor in `/proc/self/fdinfo`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};

use thiserror::Error;

/// Why descriptor information is not available.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FdinfoError {
    /// The file could not be read.
    #[error("/proc/self/fdinfo: {source}; mount procfs at /proc")]
    Read {
        /// The error number.
        source: io::Error,
    },
    /// A field that should be a number is none.
    #[error("/proc/self/fdinfo: {field} is not a number; report it with the kernel release")]
    NotANumber {
        /// The field.
        field: &'static str,
    },
}

/// Kernel memory that a BPF map or program occupies, in bytes; `None` for other descriptors.
pub fn memlock(descriptor: BorrowedFd<'_>) -> Result<Option<u64>, FdinfoError> {
    const FIELD: &str = "memlock";
    let text = read(descriptor)?;
    field(&text, FIELD)
        .map(|value| value.parse().map_err(|_| FdinfoError::NotANumber { field: FIELD }))
        .transpose()
}

/// Kind of a BPF link, such as `tcx`; `None` for descriptors that are no BPF link.
pub fn link_type(descriptor: BorrowedFd<'_>) -> Result<Option<String>, FdinfoError> {
    Ok(field(&read(descriptor)?, "link_type").map(str::to_owned))
}

fn read(descriptor: BorrowedFd<'_>) -> Result<String, FdinfoError> {
    let mut text = String::new();
    File::open(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()))
        .and_then(|file| file.take(MAX_LENGTH).read_to_string(&mut text))
        .map_err(|source| FdinfoError::Read { source })?;
    Ok(text)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key == name).then(|| value.trim()))
}

const MAX_LENGTH: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "pos:\t0\nmemlock_limit:\t1\nmemlock:\t4096\n";
        assert_eq!(field(text, "memlock"), Some("4096"));
        assert_eq!(field(text, "mem"), None);
    }

    #[test]
    fn an_ordinary_file_is_no_link_and_has_no_locked_memory() {
        let file = File::open("/proc/self/status").unwrap();
        let file = std::os::fd::AsFd::as_fd(&file);
        assert!(matches!(memlock(file), Ok(None)));
        assert!(matches!(link_type(file), Ok(None)));
    }

    #[test]
    #[ignore = "root: makes a BPF map"]
    fn a_map_tells_its_memory() {
        let map = crate::testing::array_map();
        let bytes = memlock(std::os::fd::AsFd::as_fd(&map)).unwrap();
        assert!(bytes.is_some_and(|bytes| bytes >= 16 * 8), "{bytes:?}");
    }
}

//! Keys from files, which are the only place a key may be.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use stamp_proto::auth::Key;
use stamp_proto::reflector::{KeyPair, Keys};

/// A key file, and the session it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The session; every session without a file of its own when absent.
    pub ssid: Option<u16>,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for KeyFile {
    type Err = KeyError;

    /// Reads `PATH` or `SSID=PATH`.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (ssid, path) = match text.split_once('=') {
            Some((ssid, path)) => (Some(ssid.parse().map_err(|_| KeyError::Ssid)?), path),
            None => (None, text),
        };
        if path.is_empty() || ssid == Some(0) {
            return Err(KeyError::Ssid);
        }
        Ok(Self { ssid, path: path.into() })
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The form of the setting.
    #[error("must be PATH or SSID=PATH, with a session number from 1 to 65535")]
    Ssid,
    /// The file can't be read.
    #[error("the key file {} can't be read: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// The file is too short or too long.
    #[error("the key file {} has {octets} octets; a key has {SHORTEST} to {LONGEST}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size, as far as it was read.
        octets: usize,
    },
    /// A previous key without a current one.
    #[error("the previous key {} has no current one; name that with --key-file", path.display())]
    NoCurrent {
        /// The file of the previous key.
        path: PathBuf,
    },
}

/// Reads current and previous keys of all sessions.
pub(crate) fn read(current: &[KeyFile], previous: &[KeyFile]) -> Result<Keys, KeyError> {
    let mut keys = Keys::default();
    for file in current {
        let pair = KeyPair { current: read_one(&file.path)?, previous: None };
        match file.ssid {
            Some(ssid) => drop(keys.by_ssid.insert(ssid, pair)),
            None => keys.default = Some(pair),
        }
    }
    for file in previous {
        let pair = match file.ssid {
            Some(ssid) => keys.by_ssid.get_mut(&ssid),
            None => keys.default.as_mut(),
        };
        let pair = pair.ok_or_else(|| KeyError::NoCurrent { path: file.path.clone() })?;
        pair.previous = Some(read_one(&file.path)?);
    }
    Ok(keys)
}

/// Reads one key.
///
/// # Errors
///
/// When the file can't be read or holds no key.
pub fn read_one(path: &Path) -> Result<Key, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = File::open(path).map_err(failed)?;
    warn_if_public(path, &file);
    file.take(LONGEST as u64 + 1).read_to_end(&mut octets).map_err(failed)?;
    let secret = hex(&octets).unwrap_or(octets);
    if (SHORTEST..=LONGEST).contains(&secret.len()) {
        return Ok(Key::new(&secret));
    }
    Err(KeyError::Length { path: path.to_owned(), octets: secret.len() })
}

/// What hexadecimal digits stand for, with white space at their end forgiven.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.trim_ascii_end();
    let (pairs, rest) = digits.as_chunks::<2>();
    if digits.len() < 2 * SHORTEST || !rest.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit)
    {
        return None;
    }
    let octet = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(octet).collect()
}

fn warn_if_public(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let public = file.metadata().is_ok_and(|about| about.permissions().mode() & 0o004 != 0);
    if public {
        tracing::warn!(event = "key.public", path = %path.display(), "Everybody can read a key; take the right from the file");
    }
}

const SHORTEST: usize = 16;
const LONGEST: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::{KeyError, KeyFile, read};
    use stamp_proto::auth::Key;
    use std::fs;

    fn file(octets: &[u8]) -> (tempfile::TempDir, KeyFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, octets).unwrap();
        (folder, KeyFile { ssid: None, path })
    }

    #[test]
    fn hexadecimal_files_are_what_their_digits_stand_for() {
        let (_folder, named) = file(b"000102030405060708090A0b0c0d0e0f\n");
        let keys = read(&[named], &[]).unwrap();
        let octets: Vec<u8> = (0..16).collect();
        assert!(keys.default.unwrap().current == Key::new(&octets));
    }

    #[test]
    fn other_files_are_keys_as_they_are() {
        for octets in
            [&b"not hexadecimal at all"[..], b"000102030405060708090a0b0c0d0e0", &[0xff; 4_096]]
        {
            let (_folder, named) = file(octets);
            assert!(read(&[named], &[]).unwrap().default.unwrap().current == Key::new(octets));
        }
    }

    #[test]
    fn keys_are_neither_short_nor_endless() {
        for octets in [&b""[..], b"fifteen octets.", &[7; 4_097]] {
            let (_folder, named) = file(octets);
            assert!(matches!(read(&[named], &[]), Err(KeyError::Length { .. })));
        }
        let endless = KeyFile { ssid: None, path: "/dev/zero".into() };
        assert!(matches!(read(&[endless], &[]), Err(KeyError::Length { .. })));
        let missing = KeyFile { ssid: None, path: "/nowhere/key".into() };
        assert!(matches!(read(&[missing], &[]), Err(KeyError::Read { .. })));
    }

    #[test]
    fn sessions_have_keys_of_their_own_and_previous_ones() {
        let (_a, default) = file(b"the key of every session");
        let (_b, own) = file(b"the key of one session only");
        let (_c, old) = file(b"the key of yesterday");
        let own = KeyFile { ssid: Some(7), ..own };
        let previous = KeyFile { ssid: Some(7), ..old.clone() };
        let keys = read(&[default, own.clone()], &[previous]).unwrap();
        assert!(keys.of(7).unwrap().current == Key::new(b"the key of one session only"));
        assert!(keys.of(7).unwrap().previous.is_some() && keys.of(8).unwrap().previous.is_none());
        assert!(matches!(read(&[own], &[old]), Err(KeyError::NoCurrent { .. })));
    }

    #[test]
    fn a_session_stands_in_front_of_its_file() {
        let parse = |text: &str| text.parse::<KeyFile>().ok();
        assert_eq!(parse("/a/b"), Some(KeyFile { ssid: None, path: "/a/b".into() }));
        assert_eq!(parse("7=/a/b"), Some(KeyFile { ssid: Some(7), path: "/a/b".into() }));
        for wrong in ["0=/a", "x=/a", "7=", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

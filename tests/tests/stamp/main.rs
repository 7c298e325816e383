//! `fathom stamp` against another implementation and against what packets really did.

mod clock;
mod lines;
mod lives;
mod loops;
mod loss;
mod neighbours;
mod old;
mod peers;
mod refusals;
mod replies;
mod rights;
mod sums;
mod truth;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use fathom_tests::stamp::packet::KEY;
use serde_json::Value;
use tempfile::TempDir;

/// A key for both ends, in hexadecimal digits.
fn key() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
    let path = folder.path().join("key");
    std::fs::write(&path, KEY).unwrap_or_else(|error| panic!("key: {error}"));
    // The other implementation takes no key that others can read.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))
        .unwrap_or_else(|error| panic!("key: {error}"));
    let path = path.display().to_string();
    (folder, path)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

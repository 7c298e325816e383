//! Data on stdout, for people or programs.
//!
//! A reader that goes away early, such as `head`, ends the output and nothing else.

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;
use flow::Output;
use flow::document::Document;
use serde::Serialize;

use crate::failure::Failure;
use crate::table;

/// Writes what `write` produces to stdout.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut stdout = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    told(write(&mut stdout).and_then(|()| stdout.flush()))
}

/// Writes a text to stdout.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    print(|out| out.write_all(text.as_bytes()))
}

/// Writes a JSON document to stdout.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, document)?;
        out.write_all(b"\n")
    })
}

/// Writes a measurement to stdout.
pub(crate) fn print_document(document: &Document, form: Output) -> Result<(), Failure> {
    match form {
        Output::Json => print_json(document),
        Output::Table => print(|out| table::write(document, out)),
    }
}

fn told(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("stdout can't be written").map_err(Failure::unavailable)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::told;

    #[test]
    fn a_reader_who_left_is_no_failure_but_a_full_disk_is() {
        assert!(told(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let full = told(Err(Error::from(ErrorKind::StorageFull))).unwrap_err();
        assert_eq!(full.code(), 69);
    }
}

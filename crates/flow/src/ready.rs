//! The file that tells others that every hook is in place.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{error::Error, pins::file};

/// Goes with its guard.
#[derive(Debug)]
pub(crate) struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Writes the file beside its place and moves it there.
    pub(crate) fn create(
        path: Option<&Path>,
        listen: Option<SocketAddr>,
        edges: usize,
    ) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let mut content = serde_json::json!({ "pid": std::process::id(), "edges": edges });
        if let Some(listen) = listen {
            content["listen"] = listen.to_string().into();
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        fs::write(&beside, format!("{content}\n")).map_err(|source| file(path, source))?;
        fs::rename(&beside, path).map_err(|source| file(path, source))?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Somebody else may have removed it, which is what we want.
            drop(fs::remove_file(path));
        }
    }
}

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
    /// Refuses to replace anything but a file of an earlier run: it would be lost.
    pub(crate) fn check(path: &Path) -> Result<(), Error> {
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => Err(Error::ReadyFile(path.to_owned())),
            _ => Ok(()),
        }
    }

    /// Writes the file beside its place and moves it there.
    pub(crate) fn create(
        path: Option<&Path>,
        listen: Option<SocketAddr>,
        edges: usize,
    ) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        Self::check(path)?;
        let mut content = serde_json::json!({ "pid": std::process::id(), "edges": edges });
        if let Some(listen) = listen {
            content["listen"] = listen.to_string().into();
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let written =
            fs::write(&beside, format!("{content}\n")).and_then(|()| fs::rename(&beside, path));
        written.map_err(|source| {
            // A part of it may be there; what happened first is told.
            drop(fs::remove_file(&beside));
            file(path, source)
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_whole_and_goes_with_its_guard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let listen = SocketAddr::from(([127, 0, 0, 1], 9090));
        let guard = ReadyFile::create(Some(&path), Some(listen), 3).unwrap();
        let told: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let expected = serde_json::json!({
            "pid": std::process::id(), "listen": "127.0.0.1:9090", "edges": 3,
        });
        assert_eq!(told, expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn without_a_listener_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let _guard = ReadyFile::create(Some(&path), None, 0).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("listen"));
    }

    #[test]
    fn only_a_file_of_an_earlier_run_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (old, link) = (folder.path().join("old"), folder.path().join("link"));
        fs::write(&old, "of an earlier run").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        for other in [folder.path(), &link, Path::new("/dev/full")] {
            let error = ReadyFile::create(Some(other), None, 0).unwrap_err();
            assert_eq!(error.exit(), crate::Exit::Usage, "{error}");
            assert!(error.to_string().contains("--ready-file"), "{error}");
            assert!(other.symlink_metadata().is_ok(), "it is still there");
        }
        ReadyFile::create(Some(&old), None, 0).unwrap();
    }

    #[test]
    #[ignore = "root: mounts a file system"]
    fn a_full_disk_keeps_no_part_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let size = Some(c"size=4096");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, size).unwrap();
        fs::write(folder.path().join("full"), [0; 4096]).unwrap();
        let error = ReadyFile::create(Some(&folder.path().join("ready")), None, 0).unwrap_err();
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert_eq!((error.exit(), left), (crate::Exit::Unavailable, vec!["full".to_owned()]));
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named() {
        let error = ReadyFile::create(Some(Path::new("/nowhere/ready")), None, 0).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ready"), "{error}");
    }
}

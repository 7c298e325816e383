//! A directory that stands in for `/`, for readers of /proc, /sys and the like.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use crate::namespace::Owner;

/// A tree of files that is removed on drop.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let root = testkit::FakeRoot::new()?
///     .file("proc/1/stat", "1 (init) S 0")?
///     .link("proc/self", "1")?;
/// assert_eq!(std::fs::read_to_string(root.path().join("proc/self/stat"))?, "1 (init) S 0");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FakeRoot {
    directory: TempDir,
}

impl FakeRoot {
    /// An empty tree.
    pub fn new() -> io::Result<Self> {
        Ok(Self { directory: Owner::current()?.scratch()? })
    }

    /// Adds or replaces a file, with the directories above it.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> io::Result<Self> {
        fs::write(self.place(path)?, content)?;
        Ok(self)
    }

    /// Adds an empty directory.
    pub fn directory(self, path: &str) -> io::Result<Self> {
        fs::create_dir_all(self.place(path)?)?;
        Ok(self)
    }

    /// Adds a symbolic link; its target is written as given.
    pub fn link(self, path: &str, target: &str) -> io::Result<Self> {
        symlink(target, self.place(path)?)?;
        Ok(self)
    }

    /// Removes a file, a link or a directory with all below, as a process that ends does.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.place(path)?;
        if fs::symlink_metadata(&path)?.is_dir() {
            return fs::remove_dir_all(path);
        }
        fs::remove_file(path)
    }

    /// Its place on the real disk.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || path.is_empty() {
            let text = format!("{path:?} leaves the tree; give a path relative to its root");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let whole = self.path().join(path);
        if let Some(above) = whole.parent() {
            fs::create_dir_all(above)?;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_goes_with_its_guard() {
        let root = FakeRoot::new().unwrap().file("sys/class/net/eth0/ifindex", "3\n").unwrap();
        let path = root.path().to_owned();
        assert!(path.join("sys/class/net/eth0/ifindex").exists());
        drop(root);
        assert!(!path.exists());
    }

    #[test]
    fn paths_out_of_the_tree_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", ""] {
            let refused = FakeRoot::new().unwrap().file(path, "x");
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn removing_a_link_leaves_its_target() {
        let root = FakeRoot::new().unwrap().file("a/b", "x").unwrap().link("l", "a").unwrap();
        root.remove("l").unwrap();
        assert!(root.path().join("a/b").exists());
        root.remove("a").unwrap();
        assert!(!root.path().join("a").exists());
    }
}

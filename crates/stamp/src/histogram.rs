//! The histogram file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use stamp_proto::statistics::Bins;

use crate::error::Error;

/// Where a histogram is written.
#[derive(Debug, Clone)]
pub(crate) struct HistogramFile {
    path: PathBuf,
}

impl HistogramFile {
    /// A file that can be written: it holds empty bins from now on.
    pub(crate) fn create(path: PathBuf, bins: &Bins) -> Result<Self, Error> {
        let file = Self { path };
        file.write(bins).map_err(|source| Error::Write { path: file.path.clone(), source })?;
        Ok(file)
    }

    /// Brings the file up to date. That it can't be is told, and changes nothing else.
    pub(crate) fn update(&self, bins: Option<&Bins>) {
        if let Some(Err(error)) = bins.map(|bins| self.write(bins)) {
            tracing::warn!(event = "histogram.lost", path = %self.path.display(), %error, "A histogram can't be written");
        }
    }

    /// Puts new counts in the place of the old ones; a reader sees either. What is no
    /// ordinary file, such as /dev/null, is written to and never replaced.
    fn write(&self, bins: &Bins) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return std::fs::OpenOptions::new()
                .write(true)
                .open(&self.path)
                .and_then(|mut file| file.write_all(bins.line().as_bytes()));
        }
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let temporary = Path::new(&temporary);
        let written = std::fs::File::create(temporary)
            .and_then(|mut file| file.write_all(bins.line().as_bytes()))
            .and_then(|()| std::fs::rename(temporary, &self.path));
        if written.is_err() {
            // The first error tells more.
            std::fs::remove_file(temporary).ok();
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::HistogramFile;
    use stamp_proto::statistics::{Bins, Scale};

    #[test]
    fn a_file_holds_the_counts_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut bins = Bins::new(3, 1e6, 2e6, Scale::Linear).unwrap();
        let file = HistogramFile::create(folder.path().join("hist"), &bins).unwrap();
        bins.record(1_500_000);
        file.write(&bins).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("hist")).unwrap(), "0 1 0 \n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_ordinary_file_is_written_to_and_stays_what_it_is() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        let bins = Bins::new(3, 1e6, 2e6, Scale::Linear).unwrap();
        HistogramFile::create(device.clone(), &bins).unwrap();
        assert!(std::fs::metadata(&device).unwrap().file_type().is_char_device());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(HistogramFile::create(folder.path().into(), &bins).is_err());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told_at_once() {
        let bins = Bins::new(3, 1e6, 2e6, Scale::Linear).unwrap();
        let error = HistogramFile::create("/nowhere/hist".into(), &bins).unwrap_err();
        assert!(error.to_string().contains("/nowhere/hist"), "{error}");
    }
}

//! Pins: how the maps outlive the process.

use std::mem::MaybeUninit;
use std::path::Path;
use std::{fs, io};

use libbpf_rs::skel::SkelBuilder;
use libbpf_rs::{MapCore, MapHandle, OpenMapMut};

use super::{Maps, Tables, clock_page};
use crate::error::{Error, Step};
use crate::layout::ABI;
use crate::skel::StampSkelBuilder;

const FOLDER: &str = "maps";
/// Pins are made here and moved in one step, so that a crash leaves all or none. Names
/// on bpffs can't contain a dot.
const UNFINISHED: &str = "maps_unfinished";

impl Tables {
    /// Pins every map below `dir`, which must lie on bpffs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a pin, or `dir` holds pinned maps already.
    pub fn pin(&self, dir: &Path) -> Result<(), Error> {
        let failed = |source: io::Error| Error::new(Step::Pin, "maps", source);
        let unfinished = dir.join(UNFINISHED);
        remove_pins(&unfinished).map_err(failed)?;
        fs::create_dir_all(&unfinished).map_err(failed)?;
        for (name, map) in self.maps.named() {
            MapHandle::try_from(map)
                .and_then(|mut map| map.pin(unfinished.join(name)))
                .map_err(Error::libbpf(Step::Pin, name))?;
        }
        fs::rename(&unfinished, dir.join(FOLDER)).map_err(failed)
    }

    /// Opens maps pinned below `dir`. Sessions of ours with reflectors must begin anew.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] when they are not maps of these programs; they may be those of
    /// an older version.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let dir = dir.join(FOLDER);
        let mut object = MaybeUninit::uninit();
        let template = StampSkelBuilder::default()
            .open(&mut object)
            .map_err(Error::libbpf(Step::Pin, "maps"))?;
        let maps = Maps::open(&template.maps, |name, like| open_map(&dir, name, like))?;
        if clock_page(&maps.clock)?.abi != ABI {
            return Err(Error::Foreign { path: dir });
        }
        Ok(Self { maps })
    }

    /// Removes the pins below `dir`; the maps live on while somebody holds them.
    ///
    /// # Errors
    ///
    /// When a pin can't be removed.
    pub fn unpin(dir: &Path) -> Result<(), Error> {
        let failed = |source| Error::new(Step::Pin, "maps", source);
        let unfinished = dir.join(UNFINISHED);
        remove_pins(&unfinished).map_err(failed)?;
        // Out of sight in one step: a part of the maps would be taken for damage.
        match fs::rename(dir.join(FOLDER), &unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => remove_pins(&unfinished).map_err(failed),
        }
    }
}

fn open_map(dir: &Path, name: &'static str, like: &OpenMapMut<'_>) -> Result<MapHandle, Error> {
    let path = dir.join(name);
    let map = MapHandle::from_pinned_path(&path).map_err(Error::libbpf(Step::Pin, name))?;
    let same = map.map_type() == like.map_type()
        && map.key_size() == like.key_size()
        && map.value_size() == like.value_size();
    if same { Ok(map) } else { Err(Error::Foreign { path }) }
}

fn remove_pins(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

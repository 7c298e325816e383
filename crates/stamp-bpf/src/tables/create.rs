//! Making the maps of the right sizes.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapHandle, MapType, OpenMapMut, OpenObject};

use super::Tables;
use crate::error::{Error, Step};
use crate::layout::{ABI, ClockPage, PEERS, PREFIX_LEN, Record as _, SlotRecord};
use crate::skel::{OpenStampMaps, StampMaps, StampSkelBuilder};

/// How large the maps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Sessions of the reflector.
    pub sessions: u32,
    /// Sources whose rate is remembered.
    pub sources: u32,
    /// Requests that may wait for user space.
    pub slow_requests: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { sessions: 16_384, sources: 65_536, slow_requests: 4_096 }
    }
}

macro_rules! maps {
    ($($name:ident),* $(,)?) => {
        /// The maps by the names that they have in the kernel.
        #[derive(Debug)]
        pub(crate) struct Maps {
            $(pub(crate) $name: MapHandle,)*
        }

        impl Maps {
            fn of(maps: &StampMaps<'_>) -> libbpf_rs::Result<Self> {
                Ok(Self { $($name: MapHandle::try_from(&maps.$name)?,)* })
            }

            pub(super) fn open(
                like: &OpenStampMaps<'_>,
                mut open: impl FnMut(&'static str, &OpenMapMut<'_>) -> Result<MapHandle, Error>,
            ) -> Result<Self, Error> {
                Ok(Self { $($name: open(stringify!($name), &like.$name)?,)* })
            }

            /// All of them, for whoever pins or measures them.
            pub(crate) fn named(&self) -> Vec<(&'static str, &MapHandle)> {
                vec![$((stringify!($name), &self.$name),)*]
            }
        }
    };
}

maps!(
    clock,
    ports,
    addresses,
    prefixes,
    buckets,
    global_bucket,
    sessions,
    provisioned,
    slow,
    keys,
    key_slots,
    peers,
    slots,
    discards,
    doorbell,
    refusals,
    events,
    work_of_cpu,
);

impl Maps {
    /// Has programs that are yet to be loaded use these maps.
    pub(crate) fn lend(&self, to: &mut OpenObject) -> libbpf_rs::Result<()> {
        let own: BTreeMap<_, _> = self.named().into_iter().collect();
        for mut map in to.maps_mut() {
            let same = map.name().to_str().and_then(|name| own.get(name));
            if let Some(same) = same {
                map.reuse_fd(same.as_fd())?;
            }
        }
        Ok(())
    }
}

impl Tables {
    /// Makes empty maps: no port, no address, no time, and nobody is answered.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a map.
    pub fn create(sizes: Sizes) -> Result<Self, Error> {
        let failed = || Error::libbpf(Step::CreateMap, "tables");
        let mut object = MaybeUninit::uninit();
        let mut open = StampSkelBuilder::default().open(&mut object).map_err(failed())?;
        open.maps.sessions.set_max_entries(sizes.sessions).map_err(failed())?;
        open.maps.buckets.set_max_entries(sizes.sources).map_err(failed())?;
        open.maps.slow.set_max_entries(sizes.slow_requests).map_err(failed())?;
        let prefixes = holder("prefixes", &prefix_table()?, 1)?;
        open.maps.prefixes.reuse_fd(prefixes.as_fd()).map_err(failed())?;
        let slots = holder("slots", &slot_table(1)?, PEERS as u32)?;
        open.maps.slots.reuse_fd(slots.as_fd()).map_err(failed())?;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(false);
        }
        let skel = open.load().map_err(failed())?;
        let maps = Maps::of(&skel.maps).map_err(failed())?;
        let page = ClockPage { abi: ABI, ..ClockPage::default() };
        super::write(&maps.clock, "clock", &0_u32.to_ne_bytes(), page.octets())?;
        Ok(Self { maps })
    }

    /// Kernel descriptors of every map with its name.
    pub fn descriptors(&self) -> impl Iterator<Item = (&'static str, std::os::fd::BorrowedFd<'_>)> {
        self.maps.named().into_iter().map(|(name, map)| (name, map.as_fd()))
    }
}

/// An empty table of prefixes.
pub(super) fn prefix_table() -> Result<MapHandle, Error> {
    let flags = libbpf_sys::BPF_F_NO_PREALLOC;
    create_map(MapType::LpmTrie, "prefixes", (PREFIX_LEN, 4), PREFIXES, None, flags)
}

/// Empty slots, as many as asked for: tables of different sizes fit into one map.
pub(super) fn slot_table(slots: u32) -> Result<MapHandle, Error> {
    let flags = libbpf_sys::BPF_F_INNER_MAP;
    create_map(MapType::Array, "slots", (4, size_of::<SlotRecord>()), slots, None, flags)
}

/// A map that holds maps like `template`.
///
/// libbpf would make it after a template with type information, and before kernel 6.3
/// maps without, such as those made here, do not fit into it.
fn holder(name: &'static str, template: &MapHandle, rows: u32) -> Result<MapHandle, Error> {
    create_map(MapType::ArrayOfMaps, name, (4, 4), rows, Some(template), 0)
}

fn create_map(
    kind: MapType,
    name: &'static str,
    (key, value): (usize, usize),
    entries: u32,
    template: Option<&MapHandle>,
    flags: u32,
) -> Result<MapHandle, Error> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        inner_map_fd: template.map_or(0, |map| map.as_fd().as_raw_fd().cast_unsigned()),
        map_flags: flags,
        ..Default::default()
    };
    let width = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    MapHandle::create(kind, Some(name), width(key), width(value), entries, &options)
        .map_err(Error::libbpf(Step::CreateMap, name))
}

/// 4,096 that are configured, and the one that tells IPv4 from IPv6.
const PREFIXES: u32 = 4_098;

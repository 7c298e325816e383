//! What ours is held against.

use std::{
    ffi::OsString,
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use libbpf_rs::{
    Map, MapCore as _, MapFlags, MapHandle, MapType, Object, ObjectBuilder, ProgramType,
};

/// One instruction: operation, registers, offset, constant.
const fn instruction(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = constant.to_le_bytes();
    u64::from_le_bytes([code, src << 4 | dst, low, high, a, b, c, d])
}

const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const ADD: u8 = 0x07;
const STORE_WORD: u8 = 0x62;
const LOAD_CONSTANT: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Marks a constant as the descriptor of a map.
const MAP_FD: u8 = 1;
const MAP_LOOKUP: i32 = 1;

fn load(name: &std::ffi::CStr, instructions: &[u64]) -> OwnedFd {
    // SAFETY: name, licence and instructions outlive the call, and an instruction is
    // eight octets.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            name.as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as libbpf_sys::size_t,
            ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "{name:?}: {}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that was just made has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A program that only answers.
pub(crate) fn empty() -> OwnedFd {
    load(c"empty", &[instruction(MOVE, 0, 0, 0, -1), instruction(EXIT, 0, 0, 0, 0)])
}

/// A program and the table it looks into.
pub(crate) struct EightLookups {
    pub(crate) program: OwnedFd,
    _table: MapHandle,
}

/// Eight look-ups of keys that are there, in a table shaped like that of IPv4 flows.
pub(crate) fn eight_lookups() -> EightLookups {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let table = MapHandle::create(MapType::Hash, Some("yardstick"), 16, 40, 65_536, &options)
        .expect("this benchmark runs as root");
    let mut code: Vec<u64> =
        [-4, -8, -12, -16].map(|at| instruction(STORE_WORD, 10, 0, at, 0)).into();
    for number in 0..8_u8 {
        let mut key = [0; 16];
        key[0] = number;
        table.update(&key, &[0; 40], MapFlags::ANY).expect("a key fits");
        code.extend([
            instruction(STORE_WORD, 10, 0, -16, number.into()),
            instruction(LOAD_CONSTANT, 1, MAP_FD, 0, table.as_fd().as_raw_fd()),
            0,
            instruction(MOVE_REGISTER, 2, 10, 0, 0),
            instruction(ADD, 2, 0, 0, -16),
            instruction(CALL, 0, 0, 0, MAP_LOOKUP),
        ]);
    }
    code.extend([instruction(MOVE, 0, 0, 0, -1), instruction(EXIT, 0, 0, 0, 0)]);
    EightLookups { program: load(c"eight_lookups", &code), _table: table }
}

/// NetObserv's ingress program, as its agent attaches it without options.
pub(crate) struct NetObserv(Object);

impl NetObserv {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        let program = self.0.progs().find(|program| program.name() == NETOBSERV_PROGRAM);
        let program = program.expect("the object was opened with this program");
        // SAFETY: the object, which `self` borrows for as long, keeps the descriptor open.
        unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) }
    }

    /// How many flows it holds: proof that what was timed is its counting.
    pub(crate) fn flows(&self) -> usize {
        self.table().keys().count()
    }

    /// Makes it forget, so that every packet inserts again.
    pub(crate) fn clear(&self) {
        let table = self.table();
        // Before the first deletion: from a key that is gone the walk starts again.
        let keys: Vec<_> = table.keys().collect();
        for key in keys {
            table.delete(&key).expect("nobody else deletes");
        }
    }

    fn table(&self) -> Map<'_> {
        let mut maps = self.0.maps();
        maps.find(|map| map.name() == "aggregated_flows").expect("NetObserv aggregates flows")
    }
}

const NETOBSERV_PROGRAM: &str = "tc_ingress_flow_parse";

pub(crate) fn netobserv(path: OsString) -> NetObserv {
    // Its maps ask to be pinned by name. Apart, so that it neither finds an agent's maps nor
    // those of the last run, and removed at once: the object holds them by itself.
    let pins = format!("/sys/fs/bpf/fathom_bench_{}", std::process::id());
    let mut builder = ObjectBuilder::default();
    builder.pin_root_path(&pins).expect("the path has no NUL");
    let mut open = builder.open_file(path).expect("an object file of NetObserv");
    for mut program in open.progs_mut() {
        let wanted = program.name() == NETOBSERV_PROGRAM;
        program.set_autoload(wanted);
        program.set_prog_type(ProgramType::SchedCls); // its section names are its loader's own
    }
    let loaded = open.load();
    fs::remove_dir_all(&pins).expect("its pins can be removed");
    NetObserv(loaded.expect("the kernel takes NetObserv's program"))
}

//! Programs of somebody else on the same device: they keep their order and their verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use testkit::Device;
use testkit::proc::Command;

use crate::binary::SOON;

/// A loaded program; dropping it detaches it.
#[derive(Debug)]
pub struct Program {
    directory: PathBuf,
    _scratch: TempDir,
}

/// Where in the chain of tcx programs it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// In front of all that are there.
    First,
    /// Behind all that are there.
    Last,
}

impl Program {
    /// Drops every frame of more than 500 bytes, as a network policy would.
    ///
    /// # Panics
    ///
    /// If clang or the kernel refuses.
    pub fn policy() -> Self {
        Self::load(POLICY, &[])
    }

    /// Hands IPv4 over to the other end of device `index`, past that device itself.
    ///
    /// # Panics
    ///
    /// If clang or the kernel refuses.
    pub fn shortcut(index: u32) -> Self {
        Self::load(SHORTCUT, &[&format!("-DTARGET={index}")])
    }

    /// Counts the datagrams over IPv4 to each of two ports, and lets all pass.
    ///
    /// # Panics
    ///
    /// If clang or the kernel refuses.
    pub fn counter(ports: [u16; 2]) -> Self {
        let [first, second] = ports;
        Self::load(COUNTER, &["-g", &format!("-DFIRST={first}"), &format!("-DSECOND={second}")])
    }

    /// What a counter has counted of both ports.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn counted(&self) -> [u64; 2] {
        let map = self.directory.join("maps").join("seen");
        let bpftool = Command::new("bpftool").args(["-j", "map", "dump", "pinned"]);
        let dumped = run(bpftool.arg(map));
        let dumped: serde_json::Value = serde_json::from_str(&dumped).unwrap_or_default();
        [0, 1].map(|at| {
            let amount = dumped[at]["formatted"]["value"].as_u64();
            amount.unwrap_or_else(|| panic!("a counter has two counts: {dumped}"))
        })
    }

    fn load(source: &str, options: &[&str]) -> Self {
        let scratch = TempDir::new().unwrap_or_else(|error| panic!("scratch: {error}"));
        let [text, object] = ["foreign.c", "foreign.o"].map(|name| scratch.path().join(name));
        fs::write(&text, source).unwrap_or_else(|error| panic!("source: {error}"));
        let clang = Command::new("clang").args(["-O2", "-target", "bpf", "-c", "-o"]);
        run(clang.arg(&object).arg(&text).args(options));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = format!("/sys/fs/bpf/fathom-tests-{}-{number}", process::id());
        let made = Self { directory: PathBuf::from(directory), _scratch: scratch };
        fs::create_dir(&made.directory).unwrap_or_else(|error| panic!("bpffs: {error}"));
        let bpftool = Command::new("bpftool").args(["prog", "load"]).arg(&object);
        let maps = made.directory.join("maps");
        run(bpftool.arg(made.path()).args(["type", "classifier", "pinmaps"]).arg(maps));
        made
    }

    /// Its number.
    ///
    /// # Panics
    ///
    /// If bpftool does not know it.
    pub fn number(&self) -> u32 {
        let bpftool = Command::new("bpftool").args(["-j", "prog", "show", "pinned"]);
        let shown = run(bpftool.arg(self.path()));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
        let number = shown["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        number.unwrap_or_else(|| panic!("a loaded program has a number: {shown}"))
    }

    /// Attaches it to `side` (`ingress` or `egress`) of `device` by a tcx link.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn attach_tcx(&self, device: &Device, side: &str, position: Position) {
        let position = match position {
            Position::First => "before",
            Position::Last => "after",
        };
        let link = self.directory.join(format!("{}-{side}", device.name()));
        let python = device.place().command(PYTHON).args(["-c", TCX, "attach", side]);
        run(python.arg(index(device)).arg(self.path()).arg(link).arg(position));
    }

    /// Attaches it to `side` of `device` as a filter of preference `pref`.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn attach_clsact(&self, device: &Device, side: &str, pref: u32) {
        let tc = || device.place().command("tc");
        // Somebody may have made one already, which serves as well.
        let qdisc = tc().args(["qdisc", "add", "dev", device.name(), "clsact"]);
        qdisc.run(SOON).unwrap_or_else(|error| panic!("tc: {error}"));
        let filter = tc().args(["filter", "add", "dev", device.name(), side, "pref"]);
        run(filter
            .arg(pref.to_string())
            .args(["bpf", "direct-action", "object-pinned"])
            .arg(self.path()));
    }

    fn path(&self) -> PathBuf {
        self.directory.join("program")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What is left of a failed test is seen by name in the listing of bpffs.
        remove(&self.directory).ok();
    }
}

/// Numbers of the tcx programs on `side` of `device`, in their order.
///
/// # Panics
///
/// If the kernel does not tell.
pub fn tcx_programs(device: &Device, side: &str) -> Vec<u32> {
    let python = device.place().command(PYTHON).args(["-c", TCX, "query", side]);
    let numbers = run(python.arg(index(device)));
    let numbers = numbers.split_whitespace().map(str::parse);
    numbers
        .map(|number| number.unwrap_or_else(|error| panic!("numbers of programs: {error}")))
        .collect()
}

fn remove(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => remove(&entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_dir(directory)
}

fn index(device: &Device) -> String {
    let index = device.index();
    index.unwrap_or_else(|error| panic!("{}: {error}", device.name())).to_string()
}

fn run(command: Command) -> String {
    let finished = command.succeed(SOON);
    finished.unwrap_or_else(|error| panic!("a foreign program must be set up: {error}")).text()
}

static NUMBER: AtomicU32 = AtomicU32::new(0);
const PYTHON: &str = "/usr/bin/python3";

/// TC_ACT_SHOT for what is too long, TC_ACT_UNSPEC (TCX_NEXT) for the rest.
const POLICY: &str = r#"
struct __sk_buff { unsigned int len; };
__attribute__((section("tc"), used)) int policy(struct __sk_buff *skb)
{
	return skb->len > 500 ? 2 : -1;
}
char terms[] __attribute__((section("license"), used)) = "GPL";
"#;

/// `bpf_redirect_peer` is helper 155; the rest passes.
const SHORTCUT: &str = r#"
struct __sk_buff { unsigned int len, pkt_type, mark, queue_mapping, protocol; };
static long (*redirect_peer)(unsigned int, unsigned long long) = (void *)155;
__attribute__((section("tc"), used)) int shortcut(struct __sk_buff *skb)
{
	return skb->protocol == __builtin_bswap16(0x0800) ? redirect_peer(TARGET, 0) : -1;
}
char terms[] __attribute__((section("license"), used)) = "GPL";
"#;

/// `bpf_map_lookup_elem` is helper 1, `bpf_skb_load_bytes` helper 26.
const COUNTER: &str = r#"
struct __sk_buff { unsigned int len, pkt_type, mark, queue_mapping, protocol; };
struct {
	int (*type)[2];
	int (*max_entries)[2];
	unsigned int *key;
	unsigned long long *value;
} seen __attribute__((section(".maps"), used));
static void *(*look_up)(void *, const void *) = (void *)1;
static long (*load)(const void *, unsigned int, void *, unsigned int) = (void *)26;
__attribute__((section("tc"), used)) int counter(struct __sk_buff *skb)
{
	unsigned char udp;
	unsigned short port;
	unsigned int key;
	unsigned long long *count;

	if (skb->protocol != __builtin_bswap16(0x0800) || load(skb, 23, &udp, 1) || udp != 17 ||
	    load(skb, 36, &port, 2))
		return -1;
	port = __builtin_bswap16(port);
	if (port != FIRST && port != SECOND)
		return -1;
	key = port == SECOND;
	count = look_up(&seen, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	return -1;
}
char terms[] __attribute__((section("license"), used)) = "GPL";
"#;

/// The distribution's bpftool and iproute2 are older than tcx: the system call itself.
const TCX: &str = r"
import ctypes, os, platform, struct, sys
NUMBER = {'x86_64': 321, 'aarch64': 280}[platform.machine()]
PIN, GET, QUERY, LINK = 6, 7, 16, 28
BEFORE, AFTER = 1 << 3, 1 << 4
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    attributes = attributes.ljust(144, b'\0')
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(NUMBER, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw
def named(command, path, fd=0):
    text = ctypes.create_string_buffer(path.encode())
    return bpf(command, struct.pack('=QII', ctypes.addressof(text), fd, 0))[0]
action, side, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = {'ingress': 46, 'egress': 47}[side]
if action == 'query':
    room = (ctypes.c_uint32 * 64)()
    attributes = struct.pack('=IIIIQI', index, kind, 0, 0, ctypes.addressof(room), 64)
    _, answer = bpf(QUERY, attributes)
    print(*room[:struct.unpack_from('=I', answer, 24)[0]])
else:
    program, link, position = sys.argv[4:7]
    flags = BEFORE if position == 'before' else AFTER
    fd = named(GET, program)
    held, _ = bpf(LINK, struct.pack('=IIII', fd, index, kind, flags))
    named(PIN, link, held)
";

//! Running a program by hand on given octets: to ask it something, to test it, to time it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::error::{Error, Step};

/// What a program is shown.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// From the first octet of the link header on.
    pub octets: &'a [u8],
    /// The device it seems to have arrived on, in the caller's namespace; 0 and 1 are
    /// the loopback device.
    pub ifindex: u32,
    /// Payload of each segment, 0 where the frame is not to be segmented.
    pub gso_size: u32,
}

impl<'a> Frame<'a> {
    /// A frame on the loopback device.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, ifindex: 1, gso_size: 0 }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the program answered.
    pub verdict: i32,
    /// The frame as the program left it.
    pub octets: Vec<u8>,
}

/// Runs a tc program on `frame`.
///
/// # Errors
///
/// When the kernel refuses: too few or too many octets, no such device.
pub fn run(program: BorrowedFd<'_>, frame: &Frame<'_>) -> Result<Outcome, Error> {
    let context = Context {
        ifindex: frame.ifindex,
        gso_segs: u32::from(frame.gso_size != 0),
        gso_size: frame.gso_size,
        ..Context::default()
    };
    run_with(program, frame.octets, Some(&context))
}

/// Runs an XDP program on a frame that seems to arrive on the loopback device.
///
/// # Errors
///
/// When the kernel refuses: too few or too many octets.
pub fn run_xdp(program: BorrowedFd<'_>, octets: &[u8]) -> Result<Outcome, Error> {
    run_with(program, octets, None)
}

fn run_with(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: Option<&Context>,
) -> Result<Outcome, Error> {
    let mut octets = vec![0; frame.len()];
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: len,
        data_out: octets.as_mut_ptr().cast(),
        data_size_out: len,
        ctx_in: context.map_or(ptr::null(), |context| ptr::from_ref(context).cast()),
        ctx_size_in: context.map_or(0, |_| size_of::<Context>() as u32),
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: `options`, both frames and the context it may point to outlive the call,
    // and the sizes beside the pointers are theirs.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if result != 0 {
        return Err(Error::last(Step::TestRun, "a program"));
    }
    octets.truncate(options.data_size_out as usize);
    Ok(Outcome { verdict: options.retval.cast_signed(), octets })
}

/// `struct __sk_buff`: the kernel refuses a run where any field but a few is set, so only
/// those have names here.
#[repr(C)]
#[derive(Default)]
struct Context {
    before_ifindex: [u32; 10],
    ifindex: u32,
    before_gso_segs: [u32; 30],
    gso_segs: u32,
    sk: u64,
    gso_size: u32,
    after_gso_size: [u32; 3],
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Context, ifindex) == 40);
    assert!(offset_of!(Context, gso_segs) == 164);
    assert!(offset_of!(Context, gso_size) == 176);
    assert!(size_of::<Context>() == 192);
};

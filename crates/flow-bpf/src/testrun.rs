//! Running a program by hand: on given octets, a given number of times, with the
//! kernel's own stopwatch.
//!
//! For tests and benchmarks; a packet that was made up here counts like any other.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use crate::error::{Error, Step};

/// What a program is shown.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// From the first octet of the link header; at least that header, at most what fits
    /// into a page.
    pub octets: &'a [u8],
    /// The device it seems to have arrived on, in the caller's namespace; 0 and 1 are
    /// the loopback device.
    pub ifindex: u32,
    /// Payload of each segment, 0 where the frame is not to be segmented.
    pub gso_size: u32,
    /// How many segments the kernel thinks it will become.
    pub gso_segs: u32,
}

impl<'a> Frame<'a> {
    /// A frame on the loopback device that is not to be segmented.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, ifindex: 1, gso_size: 0, gso_segs: 0 }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What the program answered.
    pub verdict: i32,
    /// Mean time of one run.
    pub each: Duration,
}

/// Runs `program` on `frame`, `repeat` times.
///
/// # Errors
///
/// When the kernel refuses: too few or too many octets, no such device.
pub fn run(program: BorrowedFd<'_>, frame: &Frame<'_>, repeat: u32) -> Result<Outcome, Error> {
    let context = Context {
        ifindex: frame.ifindex,
        gso_segs: frame.gso_segs,
        gso_size: frame.gso_size,
        ..Context::default()
    };
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.octets.as_ptr().cast(),
        data_size_in: u32::try_from(frame.octets.len()).unwrap_or(u32::MAX),
        ctx_in: ptr::from_ref(&context).cast(),
        ctx_size_in: size_of::<Context>() as u32,
        repeat: i32::try_from(repeat).unwrap_or(i32::MAX),
        ..Default::default()
    };
    // SAFETY: `options`, the frame and the context it points to outlive the call, and the
    // sizes beside the pointers are theirs.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    if result != 0 {
        return Err(Error::last(Step::TestRun, "a program"));
    }
    Ok(Outcome {
        verdict: options.retval.cast_signed(),
        each: Duration::from_nanos(options.duration.into()),
    })
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

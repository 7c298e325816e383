//! What becomes of memory that is freed.

/// Has large blocks go back to the kernel when they are freed. glibc raises the size from
/// which it does so to that of the largest block it has seen freed, and keeps smaller ones: a
/// program whose buffers grow and shrink with its load then holds several of them for good.
///
/// Other C libraries do so by themselves.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator, which takes its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// glibc's own first value.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 * 1024;

//! What a worker gives back to the system of the memory that it has done with.

/// Frames of a job's input come and go at hundreds of megabytes a second. Left to
/// itself the allocator gives the end of its memory back each time that a few of them
/// are done with, and has it filled with zeros for the next: a fifth of what a worker
/// spends on receiving them. Up to this many bytes a thread stay instead.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 16 << 20;

/// What is larger is given back when it is done with, as always.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 4 << 20;

/// To be called before anything of size is allocated.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_some() {
    for (parameter, bytes) in [
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_MMAP_THRESHOLD, LARGE),
    ] {
        // SAFETY: it sets a number under the allocator's own lock.
        let set = unsafe { libc::mallopt(parameter, bytes) };
        debug_assert_eq!(set, 1, "a parameter that this allocator has");
    }
}

/// Other allocators are left to themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_some() {}

//! The three calls of Linux that nothing safe wraps here.

use crate::answer::check;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

/// Takes this thread to a network namespace of its own, which lives as long as
/// somebody is in it or the file is open.
pub(super) fn leave() -> io::Result<File> {
    // SAFETY: it reads no memory, and changes this thread's view of the network
    // alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    File::open("/proc/thread-self/ns/net")
}

/// Takes this thread to another network namespace.
pub(super) fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: as above; the descriptor is open.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// A new TUN device in this thread's namespace: each read gives a packet that is
/// sent through it, and what is written to it is received there. It goes with the
/// file.
pub(super) fn tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).to_owned();
    let file = file.open("/dev/net/tun")?;
    // SAFETY: all zeros are a value of this type, which has but numbers in it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.iter_mut();
    // A zero stays at the end.
    for (to, byte) in room.take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF takes an `ifreq` and writes no more than one.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// Has this thread wake when it is to, not up to 50 µs later as is usual, and before all
/// that is not in such a hurry; threads and processes that it starts are as others. Where
/// the system does not let it, it is as late as they are.
pub(super) fn be_prompt() {
    // SAFETY: it reads no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let least = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters are read and live as long as the call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const least) };
}

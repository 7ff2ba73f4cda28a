//! Which of the machine's cores a thread is kept to, with whatever it starts from then
//! on: threads and processes.

use crate::answer::check;
use std::io;

/// The cores that this thread may use.
///
/// # Errors
/// None that is known.
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: all zeros are a value of this type, which is a set of bits: the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: no more than the set is written, which lives as long as the call.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    let all = 0..8 * size_of_val(&set);
    // SAFETY: each is a bit of the set.
    Ok(all
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// Keeps this thread to these cores.
///
/// # Errors
/// When it may use none of them.
pub fn keep_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: as above.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        assert!(*core < 8 * size_of_val(&set), "no core {core} is known");
        // SAFETY: it is a bit of the set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: the set is read and lives as long as the call.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
}

/// Lets this thread run only where no other wants to.
///
/// # Errors
/// None that is known.
pub fn stand_back() -> io::Result<()> {
    // SAFETY: all zeros are a value of this type, which is a structure of numbers.
    let none: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: it is read and lives as long as the call.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_thread_starts_is_kept_to_its_cores() {
        let all = allowed().unwrap();
        let last = *all.last().unwrap();
        let kept = std::thread::spawn(move || {
            keep_to(&[last]).unwrap();
            std::thread::spawn(allowed).join().unwrap().unwrap()
        });
        assert_eq!(kept.join().unwrap(), [last]);
        assert_eq!(allowed().unwrap(), all);
        assert!(keep_to(&[]).is_err());
    }
}

//! A timer that is exact to some tens of microseconds, where tokio's own is to a
//! millisecond: for naps that are hardly longer.

use crate::answer::check;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// One timer of the system's. Must be used within a tokio runtime.
pub struct Alarm(AsyncFd<File>);

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: it reads no memory.
        let number = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        check(number)?;
        // SAFETY: it was made just now, and nobody else knows of it.
        let file = unsafe { File::from_raw_fd(number) };
        // SAFETY: a file keeps its number and stays open until it is dropped.
        Ok(Self(unsafe { AsyncFd::register(file)? }))
    }

    /// Waits until then. Safe to cancel; one at a time waits.
    ///
    /// # Errors
    /// None that a timer is known to have.
    pub async fn wait_until(&mut self, moment: Instant) -> io::Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        self.set(left)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            // Setting it anew has taken back what had come of it before.
            match ready.try_io(|timer| timer.get_ref().read_exact(&mut count)) {
                Ok(read) => return read,
                Err(_not_yet) => {}
            }
        }
    }

    fn set(&self, left: Duration) -> io::Result<()> {
        let once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = libc::itimerspec {
            it_interval: once,
            it_value: libc::timespec {
                tv_sec: left.as_secs() as libc::time_t,
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        let timer = self.0.get_ref().as_raw_fd();
        // SAFETY: the setting is read and lives as long as the call; nothing is written.
        let answer =
            unsafe { libc::timerfd_settime(timer, 0, &raw const setting, std::ptr::null_mut()) };
        check(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn it_rings_once_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        for micros in [300, 5_000, 0, 700] {
            let moment = Instant::now() + Duration::from_micros(micros);
            alarm.wait_until(moment).await.unwrap();
            assert!(Instant::now() >= moment);
        }
        // What was not waited for does not ring for another.
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(alarm.wait_until(soon).now_or_never().is_none());
        let later = soon + Duration::from_millis(20);
        let mut other = Alarm::new().unwrap();
        other
            .wait_until(soon + Duration::from_millis(4))
            .await
            .unwrap();
        alarm.wait_until(later).await.unwrap();
        assert!(Instant::now() >= later);
    }
}

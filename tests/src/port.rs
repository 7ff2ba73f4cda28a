//! Ports and addresses of this machine that a test may use.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A TCP port of 127.0.0.1 that was free a moment ago.
///
/// Only for programs that cannot be told to choose a port and say which:
/// another process may take it before they do.
///
/// # Errors
/// When the system has no port left.
pub fn free() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Ports below those that systems give to outgoing connections.
const LASTING: std::ops::Range<u16> = 20_000..32_000;

/// A free TCP port of 127.0.0.1 that stays free while its listener is away: no
/// connection to elsewhere is given it. (One that waits for the listener to
/// come back could even be given it and reach itself.)
///
/// # Errors
/// When all are taken.
pub fn lasting() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests are processes: each begins elsewhere.
    let spread = std::process::id().wrapping_mul(97);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..1000 {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let at = (spread.wrapping_add(step)) % LASTING.len() as u32;
        let port = LASTING.start + at as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasting_ports_differ() {
        let (one, other) = (lasting().unwrap(), lasting().unwrap());
        assert!(one != other && LASTING.contains(&one) && LASTING.contains(&other));
    }

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(listener.local_addr().unwrap().port(), port);
    }
}

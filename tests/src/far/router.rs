//! The way between hosts: packets are read from a host's device, kept for half a
//! round trip, and written to another's, in order. A link has no other limits.

use super::{Host, system};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// More than any packet: devices have the usual 1,500 bytes.
const PACKET: usize = 2048;

/// Hosts that are equally far from one another. Dropping it ends the way between
/// them.
pub struct Far {
    router: Arc<Router>,
    hosts: AtomicU16,
}

struct Router {
    half: Duration,
    links: Mutex<HashMap<Ipv4Addr, Arc<Link>>>,
}

/// A host's end of the way.
pub(super) struct Link {
    tun: File,
    cut: AtomicBool,
    /// Set once.
    queue: Mutex<Option<mpsc::Sender<Held>>>,
}

/// A packet on its way.
struct Held {
    due: Instant,
    packet: Box<[u8]>,
}

impl Link {
    pub(super) fn new(tun: File) -> Self {
        Self {
            tun,
            cut: AtomicBool::new(false),
            queue: Mutex::default(),
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        // Lets go of whoever waits for what is due to it.
        self.queue.lock().expect("nobody panics with it").take();
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Far {
    /// No hosts yet; a packet and its answer will take so long together.
    #[must_use]
    pub fn new(round_trip: Duration) -> Self {
        Self {
            router: Arc::new(Router {
                half: round_trip / 2,
                links: Mutex::default(),
            }),
            hosts: AtomicU16::new(0),
        }
    }

    /// One more host.
    ///
    /// # Errors
    /// Why there can be none on this machine: one line.
    pub fn host(&self) -> Result<Host, String> {
        let [high, low] = (self.hosts.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes();
        let host = Host::new(Ipv4Addr::new(198, 18, high, low))?;
        let link = &host.link;
        let (queue, held) = mpsc::channel();
        *link.queue.lock().expect("nobody panics with it") = Some(queue);
        let (reading, writing) = (Arc::clone(link), Arc::clone(link));
        let router = Arc::clone(&self.router);
        router.links().insert(host.address, Arc::clone(link));
        start(move || router.read(&reading));
        start(move || write(&writing, &held));
        Ok(host)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        for (_, link) in self.router.links().drain() {
            link.cut();
        }
    }
}

impl Router {
    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<Ipv4Addr, Arc<Link>>> {
        self.links.lock().expect("nobody panics with it")
    }

    /// Takes what a host sends until its device is gone.
    fn read(&self, from: &Link) {
        let mut buffer = [0; PACKET];
        while let Ok(len) = (&from.tun).read(&mut buffer) {
            let due = Instant::now() + self.half;
            let packet = &buffer[..len];
            if let Some(to) = destination(packet)
                && !from.is_cut()
                && let Some(link) = self.links().get(&to)
                && let Some(queue) = &*link.queue.lock().expect("nobody panics with it")
            {
                let packet = packet.into();
                // Its writer ends with its host.
                let _ = queue.send(Held { due, packet });
            }
        }
    }
}

/// On a thread that is not late.
fn start(work: impl FnOnce() + Send + 'static) {
    thread::spawn(|| {
        system::be_prompt();
        work();
    });
}

/// Gives a host what is due to it.
fn write(to: &Link, held: &mpsc::Receiver<Held>) {
    while let Ok(Held { due, packet }) = held.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.is_cut() {
            return;
        }
        // A device that takes none loses it, as the cable of one would.
        let _ = (&to.tun).write(&packet);
    }
}

/// Where a packet of IPv4 wants to go.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| address.into())
}

//! Far hosts on this machine: network namespaces whose only device is a TUN, and a
//! router in this process that keeps each packet for a while before it hands it
//! on. At both ends the kernel's own TCP is at work, and sees a long way between
//! them. Needs Linux, the rights of root and the program `ip`; leaves nothing
//! behind, whatever becomes of the process.

mod router;
mod system;

pub use router::Far;

use router::Link;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

/// What each host calls its device.
const DEVICE: &str = "far0";

/// A host: a namespace of its own, and its address. Dropping it removes it.
pub struct Host {
    /// How others reach it.
    pub address: Ipv4Addr,
    namespace: File,
    link: Arc<Link>,
}

impl Host {
    /// A new host, which is not linked to anything yet.
    fn new(address: Ipv4Addr) -> Result<Self, String> {
        let made = thread::scope(|scope| scope.spawn(|| equip(address)).join());
        let (namespace, tun) = made.expect("nothing there panics")?;
        Ok(Self {
            address,
            namespace,
            link: Arc::new(Link::new(tun)),
        })
    }

    /// Does something on a thread that lives on this host: sockets that it opens
    /// and processes that it starts are there, and stay there.
    ///
    /// # Panics
    /// When `work` does, or the system does not let a thread move.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            system::enter(&self.namespace).expect("a thread may move to a namespace of its own");
            work()
        };
        let done = thread::scope(|scope| scope.spawn(there).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Pulls the cable: nothing leaves the host or comes to it any more, what is on
    /// the way included, and nobody is told.
    pub fn cut(&self) {
        self.link.cut();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.cut();
        // Ends the router's reading of it. Where it fails, a thread stays, until
        // the process ends.
        let _ = self.within(|| ip(&format!("link delete {DEVICE}\n")));
    }
}

/// Makes this thread's namespace and what is in it.
fn equip(address: Ipv4Addr) -> Result<(File, File), String> {
    let denied = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let namespace = system::leave();
    let namespace = namespace.map_err(|error| denied("no network namespace can be made", error))?;
    let tun = system::tun(DEVICE);
    let tun = tun.map_err(|error| denied("/dev/net/tun gives no device", error))?;
    // Of the addresses that are set aside for benchmarks (RFC 2544).
    ip(&format!(
        "link set lo up\naddress add {address}/15 dev {DEVICE}\nlink set {DEVICE} up\n"
    ))?;
    Ok((namespace, tun))
}

/// Has `ip` do something in this thread's namespace.
fn ip(lines: &str) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("`ip` (of iproute2) cannot be run: {error}");
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let input = child.stdin.take().expect("it is piped");
    (&input).write_all(lines.as_bytes()).map_err(cannot)?;
    drop(input);
    let output = child.wait_with_output().map_err(cannot)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("`ip` has failed: {}", why.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    const FAR: Duration = Duration::from_millis(80);

    /// Two hosts, or why there are none here.
    fn two() -> Result<(Far, Host, Host), String> {
        let far = Far::new(FAR);
        let (here, there) = (far.host()?, far.host()?);
        Ok((far, here, there))
    }

    #[test]
    fn a_connection_takes_a_round_trip_and_a_cut_one_is_silent() {
        let (_far, here, there) = match two() {
            Ok(two) => two,
            // Most machines of CI let nobody make a namespace.
            Err(why) => return println!("not tested: {why}"),
        };
        let listener = there.within(|| TcpListener::bind((there.address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let begun = Instant::now();
        let mut near = here.within(|| TcpStream::connect(address).unwrap());
        let took = begun.elapsed();
        assert!(took >= FAR && took < 3 * FAR, "{took:?}");
        let (mut far, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), here.address);
        // From elsewhere there is no way there.
        assert!(TcpStream::connect_timeout(&address, FAR).is_err());

        let mut came = [0; 5];
        far.write_all(b"hello").unwrap();
        near.read_exact(&mut came).unwrap();
        assert_eq!(came, *b"hello");
        here.cut();
        for (mut from, mut to) in [(&far, &near), (&near, &far)] {
            from.write_all(b"again").unwrap();
            to.set_read_timeout(Some(3 * FAR)).unwrap();
            let silence = to.read(&mut came).unwrap_err();
            assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
}

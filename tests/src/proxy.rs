//! A bad network: a TCP proxy that cuts connections, truncates them and lets them
//! go silent, at bytes that a seed decides. Knows nothing of what it carries.

use crate::random::Random;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Both sides are reset; bytes on the way are lost.
    Cut,
    /// What came before arrives, then both sides see an orderly end.
    Truncate,
    /// Nothing arrives any more in either direction, and nobody is told: only
    /// after [`Weather::silence`] both sides are reset.
    Stall,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Decides which fault each connection meets, and where.
    pub seed: u64,
    /// So many connections meet a fault; then the network is good.
    pub faults: u64,
    /// Bytes that every connection carries before.
    pub calm: u64,
    /// A connection meets its fault after fewer bytes than two to the power of
    /// this, as likely within the first few as after many.
    pub log_bytes: u64,
    /// How long a stalled connection is silent.
    pub silence: Duration,
}

/// A running proxy; dropping it ends all its connections.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    world: Arc<World>,
    _accepting: AbortOnDropHandle<()>,
}

struct World {
    target: SocketAddr,
    weather: Weather,
    /// Faults that happened.
    faults: Mutex<Vec<Fault>>,
}

/// A fault, and the bytes of one direction that arrive before.
#[derive(Clone, Copy, Debug)]
struct Fate {
    fault: Fault,
    upwards: bool,
    after: u64,
}

/// Why a connection is not carried on.
enum End {
    Fault,
    /// One of the sides has reset it.
    Broken,
}

impl Proxy {
    /// Begins to carry connections to `target`.
    ///
    /// # Errors
    /// When no port is left.
    pub async fn start(target: SocketAddr, weather: Weather) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World {
            target,
            weather,
            faults: Mutex::default(),
        });
        let accepting = accept(listener, Arc::clone(&world));
        Ok(Self {
            address,
            world,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        })
    }

    /// Where it listens, as an address of a coordinator.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The faults that happened so far.
    ///
    /// # Panics
    /// Never, unless a task of the proxy has.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.world.faults.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = tokio::task::JoinSet::new();
    for number in 0.. {
        let Ok((near, _)) = listener.accept().await else {
            return;
        };
        let fate = world.weather.fate(number);
        let world = Arc::clone(&world);
        connections.spawn(async move {
            // Without the target the connection ends, as it would without a proxy.
            if let Ok(far) = TcpStream::connect(world.target).await {
                carry(near, far, fate, &world).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Weather {
    /// What the connection of this number meets.
    fn fate(&self, number: u64) -> Option<Fate> {
        if number >= self.faults {
            return None;
        }
        let mut random = Random::new(self.seed ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd));
        let faults = [Fault::Cut, Fault::Truncate, Fault::Stall];
        let fault = faults[random.below(3) as usize];
        let bits = random.below(self.log_bytes);
        Some(Fate {
            fault,
            upwards: random.below(2) == 0,
            after: self.calm + random.below(2 << bits),
        })
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, fate: Option<Fate>, world: &World) {
    let limit = |upwards| {
        let fate = fate.filter(|fate| fate.upwards == upwards);
        fate.map(|fate| fate.after)
    };
    let (mut near_out, mut near_in) = near.split();
    let (mut far_out, mut far_in) = far.split();
    let up = copy(&mut near_out, &mut far_in, limit(true));
    let down = copy(&mut far_out, &mut near_in, limit(false));
    let fault = match (tokio::try_join!(up, down), fate) {
        (Ok(_), _) => return,
        (Err(End::Fault), Some(fate)) => fate.fault,
        (Err(End::Fault), None) => unreachable!("without a fate there is no limit"),
        (Err(End::Broken), _) => return reset(&near, &far),
    };
    world.faults.lock().unwrap().push(fault);
    match fault {
        Fault::Cut => reset(&near, &far),
        Fault::Truncate => {}
        Fault::Stall => {
            tokio::time::sleep(world.weather.silence).await;
            reset(&near, &far);
        }
    }
}

/// Both are closed with a reset rather than an end.
fn reset(near: &TcpStream, far: &TcpStream) {
    for side in [near, far] {
        // One that is closed already needs none.
        let _ = side.set_zero_linger();
    }
}

/// Carries bytes until the end of `from`, which is passed on, or the limit.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    limit: Option<u64>,
) -> Result<(), End> {
    let mut left = limit;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let most = left.map_or(buffer.len(), |left| buffer.len().min(left as usize));
        if most == 0 {
            return Err(End::Fault);
        }
        let read = from.read(&mut buffer[..most]).await;
        let read = read.map_err(|_| End::Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        let written = to.write_all(&buffer[..read]).await;
        written.map_err(|_| End::Broken)?;
        left = left.map(|left| left - read as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEATHER: Weather = Weather {
        seed: 3,
        faults: 30,
        calm: 0,
        log_bytes: 16,
        silence: Duration::from_millis(100),
    };

    /// Sends whatever comes back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    // The faults are what is looked at.
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    /// Sends 64 KiB; what came back, and whether that ended in order.
    async fn send(proxy: &Proxy) -> (Vec<u8>, bool) {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut from, mut to) = stream.split();
        let mut came = Vec::new();
        let sending = async {
            let sent = to.write_all(&[7; 64 << 10]).await;
            sent.is_ok() && to.shutdown().await.is_ok()
        };
        let (_, read) = tokio::join!(sending, from.read_to_end(&mut came));
        (came, read.is_ok())
    }

    #[tokio::test]
    async fn connections_fail_in_every_way_and_then_no_more() {
        let proxy = Proxy::start(echo().await, WEATHER).await.unwrap();
        let mut cut_short = 0;
        for _ in 0..30 {
            let (came, _) = send(&proxy).await;
            assert!(came.iter().all(|byte| *byte == 7));
            cut_short += usize::from(came.len() < 64 << 10);
        }
        let faults = proxy.faults();
        for fault in [Fault::Cut, Fault::Truncate, Fault::Stall] {
            assert!(faults.contains(&fault), "{faults:?}");
        }
        assert!(faults.len() <= 30 && cut_short <= faults.len());
        assert!(cut_short > 10, "{cut_short} of {faults:?}");
        assert_eq!(send(&proxy).await, (vec![7; 64 << 10], true));
    }

    #[test]
    fn a_seed_decides() {
        let fates = |seed| {
            let weather = Weather { seed, ..WEATHER };
            let fates = (0..50).map(|number| format!("{:?}", weather.fate(number)));
            fates.collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }
}

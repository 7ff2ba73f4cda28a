//! Inputs that need not be sent: a coordinator hands workers of its own machine the
//! open files that inputs lie in, as an object store in shared memory would.
//!
//! The coordinator opens a [`Door`], a socket that only processes of the same machine
//! (and network namespace) can reach, and tells its name to each worker that connects.
//! One that finds itself on that machine [connects](Neighbour::connect) and asks for
//! parts by their hash. What it is given it can only read, and compares with the hash
//! as it does so: the door need not be trusted, nor kept. A door is open to processes of
//! the coordinator's own user alone: its name is no secret, and a file is more than the
//! part of it that was asked for. Workers of other users are sent their inputs.
//!
//! A request is a number of hashes, 1 to [`BATCH`], as one byte, and those hashes; each
//! is answered in order by a kind (0: it is not here, 1: in the file that comes along, 2:
//! in the file before, of the same request), an offset and a length, both as 64 bits in
//! little-endian order.
//!
//! Only Linux has such sockets; elsewhere no door opens.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
use elsewhere as system;

use crate::part::{FileRange, Part};
use manyhands_protocol::BlobHash;
use std::io;

/// Parts that are asked for at once, at most.
pub const BATCH: usize = 64;

/// How each door's name begins: nobody can have a worker talk to another's socket.
const PREFIX: &str = "manyhands-";

/// A coordinator's end.
#[derive(Debug)]
pub struct Door(system::Door);

impl Door {
    /// Opens one under a name made of `number`, which no other door on this machine has.
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Where there are no such sockets, or that one exists.
    pub fn open(number: u64) -> io::Result<Self> {
        system::Door::open(&format!("{PREFIX}{number:016x}")).map(Self)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Serves whoever connects, for ever. `find` says where a part lies; what it says
    /// may be wrong by the time that the part is read.
    pub async fn serve<F>(self, find: F)
    where
        F: Fn(BlobHash) -> Option<FileRange> + Clone + Send + Sync + 'static,
    {
        self.0.serve(find).await;
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Neighbour(system::Neighbour);

impl Neighbour {
    /// Connects to the door of this name.
    ///
    /// # Errors
    /// When there is none: its coordinator is on another machine, or has gone.
    pub async fn connect(name: &str) -> io::Result<Self> {
        let number = name.strip_prefix(PREFIX).unwrap_or_default();
        if number.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        system::Neighbour::connect(name).await.map(Self)
    }

    /// Asks for parts, each by its hash and its length in bytes, and waits for the
    /// answers: in the same order, and `None` for what is not to be had here. Blocks, for
    /// some seconds at most.
    ///
    /// # Errors
    /// When the door is gone or its answers make no sense. It is of no use any more.
    ///
    /// # Panics
    /// When none or more than [`BATCH`] are asked for.
    pub fn ask(&mut self, wanted: &[(BlobHash, u64)]) -> io::Result<Vec<Option<Part>>> {
        let fits = (1..=BATCH).contains(&wanted.len());
        assert!(fits, "{} parts at once", wanted.len());
        self.0.ask(wanted)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;

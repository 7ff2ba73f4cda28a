//! Doors as sockets in the abstract namespace: they have no file, and go with whoever
//! opened them.

use super::BATCH;
use crate::part::{FileRange, Part};
use crate::passing::{Receiver, send_with};
use manyhands_protocol::BlobHash;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as blocking;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long either side waits for all that the other is about to say.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that are served at once; each may be two open files. Who comes then is
/// turned away, and is sent its inputs.
const GUESTS: usize = 64;

/// How long nobody is let in after that has failed: the system is out of something.
const PAUSE: Duration = Duration::from_secs(1);

const HASH: usize = 32;
const ANSWER: usize = 1 + 8 + 8;

const NOT_HERE: u8 = 0;
const WITH_FILE: u8 = 1;
const SAME_FILE: u8 = 2;

#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    name: String,
}

impl Door {
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let address = blocking::SocketAddr::from_abstract_name(name)?;
        let listener = blocking::UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            name: name.to_owned(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn serve<F>(self, find: F)
    where
        F: Fn(BlobHash) -> Option<FileRange> + Clone + Send + Sync + 'static,
    {
        let mut guests = JoinSet::new();
        // That it is out of something is said once.
        let mut is_failing = false;
        loop {
            tokio::select! {
                come = self.listener.accept() => match come {
                    Ok((socket, _)) if !is_own(&socket) => {
                        tracing::debug!("a neighbour of another user is turned away");
                    }
                    Ok((socket, _)) => {
                        is_failing = false;
                        while guests.try_join_next().is_some() {}
                        match guests.len() < GUESTS {
                            true => drop(guests.spawn(receive(socket, find.clone()))),
                            false => tracing::debug!("too many neighbours: one is turned away"),
                        }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(%error, "workers of this machine are sent their inputs");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = guests.join_next() => {}
            }
        }
    }
}

/// Whether a process of the same user is there: an open file is more than the part that
/// was asked for, and those that nobody takes count as this user's.
fn is_own(socket: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    may_enter(socket.peer_cred().ok().map(|peer| peer.uid()), own)
}

fn may_enter(peer: Option<u32>, own: u32) -> bool {
    peer == Some(own)
}

/// Serves one worker until it goes, or says what makes no sense.
async fn receive(mut socket: UnixStream, find: impl Fn(BlobHash) -> Option<FileRange>) {
    let mut hashes = [0; BATCH * HASH];
    while let Ok(number) = socket.read_u8().await {
        let number = usize::from(number);
        if !(1..=BATCH).contains(&number) {
            return;
        }
        let hashes = &mut hashes[..number * HASH];
        let answered = timeout(PATIENCE, async {
            socket.read_exact(hashes).await?;
            answer(&mut socket, hashes, &find).await
        });
        if !matches!(answered.await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Files are open no longer than it takes: a blob that is removed would keep its room.
async fn answer(
    socket: &mut UnixStream,
    hashes: &[u8],
    find: impl Fn(BlobHash) -> Option<FileRange>,
) -> io::Result<()> {
    let mut before: Option<Arc<Path>> = None;
    for hash in hashes.chunks_exact(HASH) {
        let hash = BlobHash(hash.try_into().expect("as long as a hash"));
        let Some(range) = find(hash) else {
            socket.write_all(&encode(NOT_HERE, 0, 0)).await?;
            continue;
        };
        if before.as_ref() == Some(&range.file) {
            let said = encode(SAME_FILE, range.offset, range.len);
            socket.write_all(&said).await?;
            continue;
        }
        let said = encode(WITH_FILE, range.offset, range.len);
        match give(socket, &said, &range.file).await {
            Ok(sent) => {
                socket.write_all(&said[sent..]).await?;
                before = Some(range.file);
            }
            // The worker asks the coordinator, which finds out what has become of it.
            Err(error) => {
                tracing::debug!(%hash, %error, "a part cannot be handed over");
                socket.write_all(&encode(NOT_HERE, 0, 0)).await?;
            }
        }
    }
    Ok(())
}

/// Sends the first bytes of an answer with this file; gives their number.
async fn give(socket: &UnixStream, said: &[u8], path: &Arc<Path>) -> io::Result<usize> {
    let path = Arc::clone(path);
    let file = tokio::task::spawn_blocking(move || File::open(path)).await??;
    send_with(socket, said, file.as_fd()).await
}

fn encode(kind: u8, offset: u64, len: u64) -> [u8; ANSWER] {
    let mut answer = [kind; ANSWER];
    answer[1..9].copy_from_slice(&offset.to_le_bytes());
    answer[9..].copy_from_slice(&len.to_le_bytes());
    answer
}

pub(super) struct Neighbour {
    requests: blocking::UnixStream,
    answers: BufReader<Receiver<blocking::UnixStream>>,
}

impl std::fmt::Debug for Neighbour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Neighbour").field(&self.requests).finish()
    }
}

impl Neighbour {
    pub(super) async fn connect(name: &str) -> io::Result<Self> {
        // As the library writes names in the abstract namespace.
        let connecting = UnixStream::connect(format!("\0{name}"));
        let socket = timeout(PATIENCE, connecting).await??.into_std()?;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            requests: socket.try_clone()?,
            answers: BufReader::with_capacity(ANSWER * BATCH, Receiver::new(socket)),
        })
    }

    pub(super) fn ask(&mut self, wanted: &[(BlobHash, u64)]) -> io::Result<Vec<Option<Part>>> {
        let mut request = Vec::with_capacity(1 + wanted.len() * HASH);
        request.push(wanted.len() as u8);
        for (hash, _) in wanted {
            request.extend_from_slice(&hash.0);
        }
        self.requests.write_all(&request)?;
        let until = Instant::now() + PATIENCE;
        let mut before = None;
        let answers = wanted
            .iter()
            .map(|(_, len)| self.answer(*len, until, &mut before));
        let answers = answers.collect::<io::Result<Vec<_>>>()?;
        match self.answers.get_ref().is_empty() {
            true => Ok(answers),
            // The next answers would be given the wrong ones.
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads so many bytes before that moment, and no more files than answers.
    fn read_exact(&mut self, bytes: &mut [u8], until: Instant) -> io::Result<()> {
        let mut read = 0;
        while read < bytes.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.answers.buffer().is_empty() {
                self.requests.set_read_timeout(Some(left))?;
            }
            match self.answers.read(&mut bytes[read..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.answers.get_ref().len() > BATCH {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    /// The next answer; the part if it is of this length, and can be had.
    fn answer(
        &mut self,
        len: u64,
        until: Instant,
        before: &mut Option<Arc<File>>,
    ) -> io::Result<Option<Part>> {
        let mut answer = [0; ANSWER];
        self.read_exact(&mut answer, until)?;
        let number = |at: usize| {
            let bytes = answer[at..at + 8].try_into();
            u64::from_le_bytes(bytes.expect("eight of them"))
        };
        let (offset, found) = (number(1), number(9));
        let file = match answer[0] {
            NOT_HERE => return Ok(None),
            WITH_FILE => {
                let file = Arc::new(self.answers.get_mut().file()?);
                *before = Some(Arc::clone(&file));
                file
            }
            SAME_FILE => before.clone().ok_or(io::ErrorKind::InvalidData)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        // What cannot be read from there is sent instead.
        Ok((found == len)
            .then(|| Part::new(file, offset, len).ok())
            .flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::set_thread_uid;

    #[test]
    fn only_the_same_user_enters() {
        assert!(may_enter(Some(7), 7));
        for peer in [Some(0), Some(8), None] {
            assert!(!may_enter(peer, 7), "{peer:?}");
        }
    }

    #[tokio::test]
    async fn who_knocks_is_known_by_its_user() {
        let name = format!("manyhands-{:016x}", u64::from(std::process::id()));
        let door = Door::open(&name).unwrap();
        let knock = move |is_other: bool| {
            // A thread can be of a user of its own, where the system lets it.
            let is_other =
                is_other && set_thread_uid(rustix::process::Uid::from_raw(12345)).is_ok();
            let address = blocking::SocketAddr::from_abstract_name(&name).unwrap();
            (
                blocking::UnixStream::connect_addr(&address).unwrap(),
                is_other,
            )
        };
        for is_other in [false, true] {
            let knocking = std::thread::spawn({
                let knock = knock.clone();
                move || knock(is_other)
            });
            let (socket, _) = door.listener.accept().await.unwrap();
            let (_end, is_other) = knocking.join().unwrap();
            assert_eq!(is_own(&socket), !is_other);
        }
    }
}

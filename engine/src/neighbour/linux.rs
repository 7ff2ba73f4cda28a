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
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long either side waits for what the other is about to say.
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
        loop {
            tokio::select! {
                come = self.listener.accept() => match come {
                    Ok((socket, _)) if guests.len() < GUESTS => {
                        guests.spawn(receive(socket, find.clone()));
                    }
                    Ok(_) => tracing::debug!("too many neighbours: one is turned away"),
                    Err(error) => {
                        tracing::warn!(%error, "workers of this machine are sent their inputs");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = guests.join_next() => {}
            }
        }
    }
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
        let path = Arc::clone(&range.file);
        match tokio::task::spawn_blocking(move || File::open(path)).await? {
            Ok(file) => {
                let said = encode(WITH_FILE, range.offset, range.len);
                send_with(socket, &said, file.as_fd()).await?;
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
        socket.set_read_timeout(Some(PATIENCE))?;
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
        let mut before = None;
        let answers = wanted.iter().map(|(_, len)| self.answer(*len, &mut before));
        answers.collect()
    }

    /// The next answer; the part if it is of this length, and can be had.
    fn answer(&mut self, len: u64, before: &mut Option<Arc<File>>) -> io::Result<Option<Part>> {
        let mut answer = [0; ANSWER];
        self.answers.read_exact(&mut answer)?;
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

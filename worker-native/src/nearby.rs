//! Blobs that this process can read itself, since the coordinator is in it too: on
//! a thread of their own, one after the other, hashed as they are read.

use crate::rooms::Shelf;
use bytes::Bytes;
use manyhands_protocol::BlobHash;
use manyhands_worker_core::{Coming, Rooms};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, mpsc as std_mpsc};
use tokio::sync::mpsc;

/// Read at once: little enough to be hashed while it is in the processor's cache.
const CHUNK: usize = 256 << 10;

/// Says where blobs lie. What is there may have changed, or have gone, since: then
/// the coordinator is asked, which knows what to make of it.
pub trait Nearby: Debug + Send + Sync {
    /// Where this blob lies; `None` if only the coordinator knows.
    fn find(&self, hash: BlobHash) -> Option<Part>;
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file.
    pub file: Arc<Path>,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub len: u64,
}

/// A blob that was looked for, and its bytes, if they are to be had.
pub(crate) type Found = (BlobHash, Option<Bytes>);

/// Reads blobs in the order in which they are asked for. Its thread ends with it.
pub(crate) struct Fetcher {
    queue: std_mpsc::Sender<(BlobHash, u64)>,
    found: mpsc::UnboundedReceiver<Found>,
}

impl Fetcher {
    pub(crate) fn start(nearby: Arc<dyn Nearby>, shelf: Shelf) -> io::Result<Self> {
        let (queue, asked) = std_mpsc::channel();
        let (tell, found) = mpsc::unbounded_channel();
        let mut reader = Reader {
            nearby,
            shelf,
            open: None,
            buffer: vec![0; CHUNK],
        };
        let thread = std::thread::Builder::new().name("fetcher".to_owned());
        thread.spawn(move || {
            for (hash, len) in asked {
                if tell.send((hash, reader.fetch(hash, len))).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { queue, found })
    }

    pub(crate) fn fetch(&self, hash: BlobHash, len: u64) {
        // Its thread ends only when this does.
        let _ = self.queue.send((hash, len));
    }

    /// What was found next; for ever nothing, should its thread have panicked. Safe
    /// to cancel.
    pub(crate) async fn next(&mut self) -> Found {
        match self.found.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// What has been found already.
    pub(crate) fn ready(&mut self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

struct Reader {
    nearby: Arc<dyn Nearby>,
    shelf: Shelf,
    /// The file that was read last.
    open: Option<(Arc<Path>, File)>,
    buffer: Vec<u8>,
}

impl Reader {
    fn fetch(&mut self, hash: BlobHash, len: u64) -> Option<Bytes> {
        let part = self.nearby.find(hash).filter(|part| part.len == len)?;
        match self.read(hash, &part) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.open = None;
                let file = part.file.display();
                tracing::debug!(%hash, %file, %error, "a blob is left to the coordinator");
                None
            }
        }
    }

    /// The part's bytes, if they are those of the hash.
    fn read(&mut self, hash: BlobHash, part: &Part) -> io::Result<Option<Bytes>> {
        let file = match &mut self.open {
            Some((path, file)) if *path == part.file => file,
            open => {
                &mut open
                    .insert((Arc::clone(&part.file), File::open(&part.file)?))
                    .1
            }
        };
        file.seek(SeekFrom::Start(part.offset))?;
        let mut file = file.take(part.len);
        let mut coming = Coming::new(self.shelf.room(hash, part.len));
        while file.limit() > 0 {
            let len = match file.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            coming.push(&self.buffer[..len]);
        }
        let (bytes, found) = coming.whole();
        Ok((found == hash).then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(Debug)]
    struct OneFile(Part);

    impl Nearby for OneFile {
        fn find(&self, hash: BlobHash) -> Option<Part> {
            (hash != BlobHash::of(b"elsewhere")).then(|| self.0.clone())
        }
    }

    #[tokio::test]
    async fn a_part_is_found_while_it_is_what_was_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let text = b"many hands make light work\n".repeat(50_000);
        fs::write(&path, [b"before", &text[..], b"behind"].concat()).unwrap();
        let (hash, len) = (BlobHash::of(&text), text.len() as u64);
        let file = path.clone().into();
        let part = Part {
            file,
            offset: 6,
            len,
        };
        let shelf = Shelf::default();
        let fetcher = Fetcher::start(Arc::new(OneFile(part)), shelf.clone());
        let mut fetcher = fetcher.unwrap();
        for hash in [hash, BlobHash::of(b"elsewhere"), BlobHash::of(b"other")] {
            fetcher.fetch(hash, len);
        }
        fetcher.fetch(hash, len - 1);
        let bytes = fetcher.next().await.1.expect("it is there");
        assert_eq!(bytes, text);
        assert_eq!(shelf.find(hash).is_some(), cfg!(target_os = "linux"));
        drop(bytes);
        assert!(shelf.find(hash).is_none(), "it goes with its bytes");
        for _ in 0..3 {
            assert_eq!(fetcher.next().await.1, None);
        }
        // In place, and then by one that is shorter.
        for other in [
            [b"before", &text[1..], b"behind!"].concat(),
            b"before".into(),
        ] {
            fs::write(&path, other).unwrap();
            fetcher.fetch(hash, len);
            assert_eq!(fetcher.next().await.1, None);
        }
    }
}

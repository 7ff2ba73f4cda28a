//! Blobs that this process can read itself, since the coordinator is in it too, on a
//! thread of their own: small ones are read, and hashed as they are; of large ones the
//! compute child is given the file, where the system allows that.

use crate::rooms::LARGE;
use bytes::Bytes;
use manyhands_engine::part as engine;
use manyhands_protocol::BlobHash;
use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, mpsc as std_mpsc};
use tokio::sync::mpsc;

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

/// Where a blob is that was looked for.
#[derive(Debug)]
pub(crate) enum At {
    /// It was read, and has that hash.
    Memory(Bytes),
    /// To be read, and hashed, when it is needed.
    File(engine::Part),
    Nowhere,
}

/// A blob that was looked for.
pub(crate) type Found = (BlobHash, At);

/// Looks for blobs in the order in which they are asked for. Its thread ends with it.
pub(crate) struct Fetcher {
    queue: std_mpsc::Sender<(BlobHash, u64)>,
    found: mpsc::UnboundedReceiver<Found>,
}

impl Fetcher {
    pub(crate) fn start(nearby: Arc<dyn Nearby>) -> io::Result<Self> {
        let (queue, asked) = std_mpsc::channel();
        let (tell, found) = mpsc::unbounded_channel();
        let mut reader = Reader { nearby, open: None };
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
    /// The file that was read last.
    open: Option<(Arc<Path>, Arc<File>)>,
}

impl Reader {
    fn fetch(&mut self, hash: BlobHash, len: u64) -> At {
        let part = self.nearby.find(hash).filter(|part| part.len == len);
        let Some(part) = part else {
            return At::Nowhere;
        };
        self.look(hash, &part).unwrap_or_else(|error| {
            self.open = None;
            let file = part.file.display();
            tracing::debug!(%hash, %file, %error, "a blob is left to the coordinator");
            At::Nowhere
        })
    }

    fn look(&mut self, hash: BlobHash, part: &Part) -> io::Result<At> {
        let file = self.open(&part.file)?;
        if part.len >= LARGE
            && let Ok(given) = engine::Part::new(Arc::clone(&file), part.offset, part.len)
        {
            return Ok(At::File(given));
        }
        let found = read(&file, part)?;
        Ok(match BlobHash::of(&found) == hash {
            true => At::Memory(found.into()),
            false => At::Nowhere,
        })
    }

    fn open(&mut self, path: &Arc<Path>) -> io::Result<Arc<File>> {
        if let Some((open, file)) = &self.open
            && open == path
            && same(&file.metadata()?, &fs::metadata(path)?)
        {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path)?);
        self.open = Some((Arc::clone(path), Arc::clone(&file)));
        Ok(file)
    }
}

/// Whether both are of one file: another may have been renamed to its place.
#[cfg(unix)]
fn same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// It is not known here: bytes that are others are asked of the coordinator.
#[cfg(not(unix))]
fn same(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

/// The part's bytes as they are now.
fn read(mut file: &File, part: &Part) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(part.offset))?;
    let mut bytes = Vec::new();
    let read = file.take(part.len).read_to_end(&mut bytes)?;
    match read as u64 == part.len {
        true => Ok(bytes),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Says that all but one blob lie there.
    #[derive(Debug)]
    struct OneFile(Part);

    impl Nearby for OneFile {
        fn find(&self, hash: BlobHash) -> Option<Part> {
            (hash != BlobHash::of(b"elsewhere")).then(|| self.0.clone())
        }
    }

    /// A fetcher of what lies between some bytes and others.
    fn fetcher(folder: &Path, text: &[u8]) -> (Fetcher, PathBuf) {
        let path = folder.join("text");
        fs::write(&path, [b"before", text, b"behind"].concat()).unwrap();
        let part = Part {
            file: path.clone().into(),
            offset: 6,
            len: text.len() as u64,
        };
        (Fetcher::start(Arc::new(OneFile(part))).unwrap(), path)
    }

    #[tokio::test]
    async fn a_small_part_is_read_while_it_is_what_was_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"many hands make light work\n".repeat(50);
        let (mut fetcher, path) = fetcher(folder.path(), &text);
        let (hash, len) = (BlobHash::of(&text), text.len() as u64);
        for hash in [hash, BlobHash::of(b"elsewhere"), BlobHash::of(b"other")] {
            fetcher.fetch(hash, len);
        }
        fetcher.fetch(hash, len - 1);
        assert!(matches!(fetcher.next().await.1, At::Memory(bytes) if bytes == text));
        for _ in 0..3 {
            assert!(matches!(fetcher.next().await.1, At::Nowhere));
        }
        // In place, and then by one that is shorter.
        for other in [
            [b"before", &text[1..], b"behind!"].concat(),
            b"before".into(),
        ] {
            fs::write(&path, other).unwrap();
            fetcher.fetch(hash, len);
            assert!(matches!(fetcher.next().await.1, At::Nowhere));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_took_the_place_of_another_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (mut fetcher, path) = fetcher(folder.path(), b"many hands");
        fetcher.fetch(BlobHash::of(b"many hands"), 10);
        assert!(matches!(fetcher.next().await.1, At::Memory(bytes) if bytes == "many hands"));
        let other = folder.path().join("other");
        fs::write(&other, b"beforelight work").unwrap();
        fs::rename(other, path).unwrap();
        fetcher.fetch(BlobHash::of(b"light work"), 10);
        assert!(matches!(fetcher.next().await.1, At::Memory(bytes) if bytes == "light work"));
    }

    #[tokio::test]
    async fn a_large_part_is_left_to_who_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"many hands make light work\n".repeat(50_000);
        let (mut fetcher, path) = fetcher(folder.path(), &text);
        let (hash, len) = (BlobHash::of(&text), text.len() as u64);
        fetcher.fetch(hash, len);
        let given = match fetcher.next().await.1 {
            At::File(_) => true,
            At::Memory(bytes) => {
                assert_eq!(bytes, text);
                false
            }
            At::Nowhere => panic!("it is there"),
        };
        assert_eq!(given, cfg!(target_os = "linux"));
        fs::write(&path, &text[..100]).unwrap();
        fetcher.fetch(hash, len);
        assert!(
            matches!(fetcher.next().await.1, At::Nowhere),
            "it is shorter"
        );
    }
}

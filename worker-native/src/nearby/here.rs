//! Blobs that this process knows where to find, since the coordinator is in it too.

use super::{At, Nearby, Source};
use crate::rooms::LARGE;
use manyhands_engine::part::{FileRange, Part};
use manyhands_protocol::BlobHash;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Reads small blobs, and hashes them; of large ones it gives the file, where the system
/// allows that.
pub(super) struct Reader {
    nearby: Arc<dyn Nearby>,
    /// The file that was read last.
    open: Option<(Arc<Path>, Arc<File>)>,
}

impl Source for Reader {
    const AT_ONCE: usize = 1;
    const LEAST: u64 = 0;

    fn look_for(&mut self, wanted: &[(BlobHash, u64)]) -> Vec<At> {
        let found = wanted.iter().map(|(hash, len)| self.fetch(*hash, *len));
        found.collect()
    }
}

impl Reader {
    pub(super) fn new(nearby: Arc<dyn Nearby>) -> Self {
        Self { nearby, open: None }
    }

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

    fn look(&mut self, hash: BlobHash, part: &FileRange) -> io::Result<At> {
        let file = self.open(&part.file)?;
        if part.len >= LARGE
            && let Ok(given) = Part::new(Arc::clone(&file), part.offset, part.len)
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
fn read(mut file: &File, part: &FileRange) -> io::Result<Vec<u8>> {
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
    use crate::nearby::Fetcher;
    use std::path::PathBuf;

    /// Says that all but one blob lie there.
    #[derive(Debug)]
    struct OneFile(FileRange);

    impl Nearby for OneFile {
        fn find(&self, hash: BlobHash) -> Option<FileRange> {
            (hash != BlobHash::of(b"elsewhere")).then(|| self.0.clone())
        }
    }

    /// A fetcher of what lies between some bytes and others.
    fn fetcher(folder: &Path, text: &[u8]) -> (Fetcher, PathBuf) {
        let path = folder.join("text");
        fs::write(&path, [b"before", text, b"behind"].concat()).unwrap();
        let part = FileRange {
            file: path.clone().into(),
            offset: 6,
            len: text.len() as u64,
        };
        (Fetcher::here(Arc::new(OneFile(part))).unwrap(), path)
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

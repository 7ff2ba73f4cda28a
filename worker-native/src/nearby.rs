//! Blobs that need not be sent, on a thread of their own: those of which this process
//! knows where they lie, since the coordinator is in it too (`here`), and those that a
//! coordinator of this machine hands over (`neighbour`).

mod here;
mod neighbour;

use bytes::Bytes;
use manyhands_engine::neighbour::Neighbour;
use manyhands_engine::part::{FileRange, Part};
use manyhands_protocol::BlobHash;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use tokio::sync::mpsc;

/// Says where blobs lie. What is there may have changed, or have gone, since: then
/// the coordinator is asked, which knows what to make of it.
pub trait Nearby: Debug + Send + Sync {
    /// Where this blob lies; `None` if only the coordinator knows.
    fn find(&self, hash: BlobHash) -> Option<FileRange>;
}

/// Where a blob is that was looked for.
#[derive(Debug)]
pub(crate) enum At {
    /// It was read, and has that hash.
    Memory(Bytes),
    /// To be read, and hashed, when it is needed.
    File(Part),
    Nowhere,
}

/// A blob that was looked for.
pub(crate) type Found = (BlobHash, At);

/// Who looks for blobs.
trait Source: Send + 'static {
    /// So many at once, at most.
    const AT_ONCE: usize;
    /// Those that are shorter, in bytes, are nowhere.
    const LEAST: u64;

    /// Where each of these is, given with its length in bytes. May block.
    fn look_for(&mut self, wanted: &[(BlobHash, u64)]) -> Vec<At>;
}

/// Looks for blobs in the order in which they are asked for; those that are too short to
/// be looked for do not wait. Its thread ends with it.
pub(crate) struct Fetcher {
    queue: std_mpsc::Sender<(BlobHash, u64)>,
    least: u64,
    tell: mpsc::UnboundedSender<Found>,
    found: mpsc::UnboundedReceiver<Found>,
}

impl Fetcher {
    /// Looks where `nearby` says.
    pub(crate) fn here(nearby: Arc<dyn Nearby>) -> io::Result<Self> {
        Self::start(here::Reader::new(nearby))
    }

    /// Asks a coordinator of this machine.
    pub(crate) fn neighbour(neighbour: Neighbour) -> io::Result<Self> {
        Self::start(neighbour::Asker::new(neighbour))
    }

    fn start<S: Source>(mut source: S) -> io::Result<Self> {
        let (queue, asked) = std_mpsc::channel();
        let (tell, found) = mpsc::unbounded_channel();
        let told = tell.clone();
        let thread = std::thread::Builder::new().name("fetcher".to_owned());
        thread.spawn(move || {
            while let Ok(first) = asked.recv() {
                let others = asked.try_iter().take(S::AT_ONCE - 1);
                let wanted: Vec<_> = std::iter::once(first).chain(others).collect();
                let found = source.look_for(&wanted);
                for ((hash, _), at) in wanted.into_iter().zip(found) {
                    if told.send((hash, at)).is_err() {
                        return;
                    }
                }
            }
        })?;
        let least = S::LEAST;
        Ok(Self {
            queue,
            least,
            tell,
            found,
        })
    }

    pub(crate) fn fetch(&self, hash: BlobHash, len: u64) {
        // The thread, and who is told, end only with this.
        let _ = match len < self.least {
            true => self.tell.send((hash, At::Nowhere)).is_ok(),
            false => self.queue.send((hash, len)).is_ok(),
        };
    }

    /// What was found next; for ever nothing, should its thread have panicked. Safe
    /// to cancel.
    pub(crate) async fn next(&mut self) -> Found {
        let found = self.found.recv().await;
        found.expect("this keeps a sender")
    }

    /// What has been found already.
    pub(crate) fn ready(&mut self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

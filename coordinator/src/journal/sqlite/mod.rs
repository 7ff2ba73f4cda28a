//! The journal on disk: one SQLite file in the data folder. A thread owns the
//! connection that writes, another the one that reads, so that no page of a list
//! waits for a sync; here is what both are given to do.

mod open;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;

pub use open::OpenError;

use super::{Identity, Journal, JournalError, Keep};
use axum::body::Bytes;
use futures_util::future::BoxFuture;
use manyhands_coordinator_core::{Group, Stored};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, JobId};
use open::Options;
use rusqlite::{Connection, ErrorCode};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The journal's name in the data folder; SQLite puts `-wal` and `-shm` beside.
pub const FILE: &str = "journal.sqlite";

/// Groups that share one sync at most, when several wait.
const MAX_BATCH: usize = 64;

/// A journal in a file of the data folder.
#[derive(Debug)]
pub struct SqliteJournal {
    identity: Identity,
    reader: Worker<Question>,
    writer: Worker<Write>,
}

/// Something to be read, and someone who waits for it.
type Question = Box<dyn FnOnce(&mut Handle) + Send>;

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

enum Write {
    Commit(Arc<Group>, Answer<()>),
    Retain(Keep, u64, Answer<u64>),
}

impl SqliteJournal {
    /// Opens the journal of a data folder for a new start, or makes one. The
    /// folder must be there, and be held against other coordinators.
    ///
    /// # Errors
    /// When there is a journal that cannot be used; it is then as it was.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, Options::default())
    }

    fn open_with(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let file: Arc<Path> = folder.join(FILE).into();
        let (connection, identity) = open::open(&file, options)?;
        let mut reads = Handle {
            file: Arc::clone(&file),
            connection: None,
            open: Box::new(open::readable),
        };
        let writes = Handle {
            file,
            connection: Some(connection),
            open: Box::new(move |file| open::writable(file, options)),
        };
        let reader = Worker::start("journal-reader", move |questions: Receiver<Question>| {
            for question in questions {
                question(&mut reads);
            }
        });
        let writer = Worker::start("journal-writer", move |queue| {
            let mut writer = Writer {
                handle: writes,
                failed: None,
            };
            writer.run(&queue);
        });
        Ok(Self {
            identity,
            reader,
            writer,
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        let (answer, answered) = oneshot::channel();
        self.reader.give(Box::new(move |handle| {
            // Whoever asked may be gone.
            let _ = answer.send(handle.with(|connection| question(connection)));
        }));
        waiting(answered)
    }

    /// Ends both threads; blocks until they have ended.
    fn end(&self) {
        // The writer last: the last connection brings the write-ahead log into
        // the file and removes it, which one that only reads cannot do.
        self.reader.end();
        self.writer.end();
    }
}

/// A thread that was never asked, or has ended, answers that the journal is
/// closed.
fn waiting<T: Send + 'static>(
    answered: oneshot::Receiver<Result<T, JournalError>>,
) -> BoxFuture<'static, Result<T, JournalError>> {
    Box::pin(async { answered.await.unwrap_or(Err(JournalError::Closed)) })
}

impl Journal for SqliteJournal {
    fn commit(&self, group: Arc<Group>) -> BoxFuture<'static, Result<(), JournalError>> {
        let (answer, answered) = oneshot::channel();
        self.writer.give(Write::Commit(group, answer));
        waiting(answered)
    }

    fn job(&self, job: JobId) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>> {
        self.ask(move |connection| read::job(connection, job))
    }

    fn result(&self, job: JobId) -> BoxFuture<'_, Result<Option<Bytes>, JournalError>> {
        self.ask(move |connection| read::result(connection, job))
    }

    fn page(
        &self,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<JobView>>, JournalError>> {
        self.ask(move |connection| read::page(connection, before, limit))
    }

    fn by_key(&self, key: &str) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>> {
        let key = key.to_owned();
        self.ask(move |connection| read::by_key(connection, &key))
    }

    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, JournalError>> {
        self.ask(read::stored)
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn retain(&self, keep: Keep, now_ms: u64) -> BoxFuture<'_, Result<u64, JournalError>> {
        let (answer, answered) = oneshot::channel();
        self.writer.give(Write::Retain(keep, now_ms, answer));
        waiting(answered)
    }

    fn blobs_in_use(&self) -> BoxFuture<'_, Result<BTreeSet<BlobHash>, JournalError>> {
        self.ask(read::blobs_in_use)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        Box::pin(async move {
            let ended = tokio::task::spawn_blocking(move || {
                reader.end();
                writer.end();
            });
            // Only a runtime that is ending does not carry it out; the journal
            // is then ended when it is dropped.
            let _ = ended.await;
        })
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.end();
    }
}

/// A thread with a queue.
struct Worker<T> {
    ends: Arc<Mutex<Ends<T>>>,
}

type Ends<T> = Option<(Sender<T>, JoinHandle<()>)>;

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Self {
        Self {
            ends: Arc::clone(&self.ends),
        }
    }
}

impl<T> std::fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(name: &str, run: impl FnOnce(Receiver<T>) + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name(name.into());
        let thread = thread
            .spawn(move || run(receiver))
            .expect("the system gives a thread");
        Self {
            ends: Arc::new(Mutex::new(Some((sender, thread)))),
        }
    }

    fn give(&self, work: T) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sender, _)) = &*ends {
            // Work that is dropped drops the answer, which is an answer.
            let _ = sender.send(work);
        }
    }

    /// Lets the thread finish what it was given, and waits for that.
    fn end(&self) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sender, thread)) = ends.take() {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}

type Opener = Box<dyn Fn(&Path) -> rusqlite::Result<Connection> + Send>;

/// A connection that is opened anew after an error that may have spoilt it.
struct Handle {
    file: Arc<Path>,
    connection: Option<Connection>,
    open: Opener,
}

impl Handle {
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let outcome = match &mut self.connection {
            Some(connection) => work(connection),
            none => (self.open)(&self.file).and_then(|opened| work(none.insert(opened))),
        };
        outcome.map_err(|error| {
            let within = (self.connection.as_ref()).is_some_and(|at| !at.is_autocommit());
            if within || !open::is_full(&error) {
                self.connection = None;
            }
            self.explain(&error)
        })
    }

    fn explain(&self, error: &rusqlite::Error) -> JournalError {
        let (file, detail) = (Arc::clone(&self.file), error.to_string().into());
        match error.sqlite_error_code() {
            _ if open::is_full(error) => JournalError::Full { file },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                JournalError::ReadOnly { file, detail }
            }
            // What violates the schema, or cannot be decoded, was not written
            // by this program.
            None
            | Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch,
            ) => JournalError::Corrupt { file, detail },
            Some(_) => JournalError::Io { file, detail },
        }
    }
}

/// The thread that writes.
struct Writer {
    handle: Handle,
    /// The group that failed, and why: none after it may come before it.
    failed: Option<(u64, JournalError)>,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Write>) {
        // What cannot be prepared now fails when it is needed, and is dealt with then.
        let _ = self.handle.with(|at| write::prepare(at));
        let mut next = queue.recv().ok();
        while let Some(work) = next.take() {
            match work {
                Write::Retain(keep, now_ms, answer) => {
                    let outcome = self.handle.with(|at| write::retain(at, keep, now_ms));
                    let _ = answer.send(outcome);
                }
                Write::Commit(group, answer) => {
                    let mut batch = vec![(group, answer)];
                    while batch.len() < MAX_BATCH {
                        match queue.try_recv() {
                            Ok(Write::Commit(group, answer)) => batch.push((group, answer)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(batch);
                }
            }
            next = next.or_else(|| queue.recv().ok());
        }
        self.end();
    }

    fn commit(&mut self, mut batch: Vec<(Arc<Group>, Answer<()>)>) {
        if let Some((number, error)) = &self.failed {
            let late = batch.extract_if(.., |(group, _)| group.number > *number);
            for (_, answer) in late {
                let _ = answer.send(Err(error.clone()));
            }
        }
        let Some(first) = batch.first().map(|(group, _)| group.number) else {
            return;
        };
        let groups = || batch.iter().map(|(group, _)| group);
        let mut outcome = self.handle.with(|at| write::commit(at, groups()));
        if matches!(outcome, Err(JournalError::Full { .. })) && self.make_room() {
            outcome = self.handle.with(|at| write::commit(at, groups()));
        }
        self.failed = outcome.as_ref().err().map(|error| (first, error.clone()));
        for (_, answer) in batch {
            // Whoever waited may be gone.
            let _ = answer.send(outcome.clone());
        }
    }

    /// Where the disk is full there may be room in the write-ahead log, once
    /// what it holds is in the file.
    fn make_room(&mut self) -> bool {
        self.handle.with(|at| open::checkpoint(at)).is_ok()
    }

    fn end(&mut self) {
        let noted = self.handle.with(|at| write::end(at));
        let ended = noted.map_err(|error| error.to_string()).and_then(|()| {
            let connection = self.handle.connection.take();
            let connection = connection.expect("the connection that was just used");
            open::close(connection).map_err(|error| error.to_string())
        });
        if let Err(error) = ended {
            // The next start looks more closely then.
            tracing::warn!(%error, "the journal does not end in order");
        }
    }
}

//! Opening a journal: what is there is looked at without a change to it, and
//! only a journal that this program can read in full is then written.

use super::schema::{self, APPLICATION_ID, STEPS};
use crate::journal::Identity;
use manyhands_protocol::{Incarnation, JobId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a journal cannot be opened. What was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk is full.
    #[error("no space is left for the journal {}: free some and start again", file.display())]
    Full {
        /// The journal.
        file: PathBuf,
    },
    /// The folder or the file cannot be written.
    #[error(
        "the journal {} cannot be written ({detail}): make it and its folder writable",
        file.display()
    )]
    ReadOnly {
        /// The journal.
        file: PathBuf,
        /// In the words of the system.
        detail: String,
    },
    /// The disk failed in another way.
    #[error("the journal {} cannot be opened: {detail}", file.display())]
    Io {
        /// The journal.
        file: PathBuf,
        /// In the words of the system.
        detail: String,
    },
    /// The file is something else, or its beginning was overwritten.
    #[error("{} is not a journal ({detail}); nothing was changed", file.display())]
    Foreign {
        /// What should have been one.
        file: PathBuf,
        /// How it shows.
        detail: &'static str,
    },
    /// A newer program wrote it.
    #[error(
        "the journal {} has version {found}, and this program knows versions up to {known}: use a \
         newer one; nothing was changed",
        file.display()
    )]
    Newer {
        /// The journal.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// A file is missing that belongs to the journal: the folder was copied in
    /// part.
    #[error(
        "{} is missing, without which the journal is not whole: copy the folder again, with all its \
         files and no coordinator using it; nothing was changed",
        missing.display()
    )]
    Incomplete {
        /// The file.
        missing: PathBuf,
    },
    /// What is in the file cannot be what was written there.
    #[error(
        "the journal {} is damaged ({detail}): go on from a backup or with another folder; nothing \
         was changed",
        file.display()
    )]
    Corrupt {
        /// The journal.
        file: PathBuf,
        /// Where it shows.
        detail: String,
    },
}

impl OpenError {
    fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let (file, detail) = (file.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            _ if is_full(error) => Self::Full { file },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::ReadOnly { file, detail }
            }
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy | ErrorCode::OutOfMemory) => {
                Self::Io { file, detail }
            }
            _ => Self::Corrupt { file, detail },
        }
    }

    fn io(file: &Path, error: &std::io::Error) -> Self {
        let (file, detail) = (file.to_owned(), error.to_string());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { file },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { file, detail }
            }
            _ => Self::Io { file, detail },
        }
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    // The index of the write-ahead log could not be made as long as it must be.
    let no_index = error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE);
    no_index || error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// A journal of at most this many bytes is checked whole at every start; a
/// greater one only after a start that did not end in order.
const CHECKED_ALWAYS: u64 = 16 << 20;

/// How a journal is opened; other than the default only in tests.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// What makes a file of today's version.
    pub(super) steps: &'static [&'static str],
    /// Pages of 4 KiB in the write-ahead log that are brought into the file.
    pub(super) checkpoint_pages: i64,
    /// The most pages the file may have.
    pub(super) max_pages: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: STEPS,
            checkpoint_pages: 1000,
            max_pages: None,
        }
    }
}

/// Opens the journal for a new start, or makes one; the connection writes.
pub(super) fn open(file: &Path, options: Options) -> Result<(Connection, Identity), OpenError> {
    let wal = beside(file, "-wal");
    match (exists(file)?, exists(&wal)?) {
        (false, true) => {
            return Err(OpenError::Incomplete {
                missing: file.to_owned(),
            });
        }
        (false, false) => create(file)?,
        (true, has_wal) => inspect(file, has_wal.then_some(()).ok_or(wal), options)?,
    }
    let begin = || {
        let mut connection = writable(file, options)?;
        schema::migrate(&mut connection, options.steps)?;
        let identity = begin(&mut connection)?;
        // What says that the journal is open must be in the file itself: from
        // it a later start knows that the write-ahead log belongs to it.
        checkpoint(&connection)?;
        Ok((connection, identity))
    };
    begin().map_err(|error| OpenError::sqlite(file, &error))
}

fn exists(file: &Path) -> Result<bool, OpenError> {
    file.try_exists()
        .map_err(|error| OpenError::io(file, &error))
}

/// The file's name with something added.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A connection that writes. Closed in any other way than by [`close`] it leaves
/// the write-ahead log beside the file: only a journal that ended in order has
/// none.
pub(super) fn writable(file: &Path, options: Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    // FULL: a commit is synced before it is answered.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;",
    )?;
    connection.pragma_update(None, "wal_autocheckpoint", options.checkpoint_pages)?;
    if let Some(pages) = options.max_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

/// Closes a connection that writes: the write-ahead log is brought into the file
/// and removed.
pub(super) fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)
}

/// A connection that only reads.
pub(super) fn readable(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// Brings the write-ahead log into the file and empties it.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Makes an empty journal, wholly or not at all: an empty file of its name can
/// then only come from elsewhere.
fn create(file: &Path) -> Result<(), OpenError> {
    let new = beside(file, ".new");
    let io = |error: std::io::Error| OpenError::io(file, &error);
    if exists(&new)? {
        std::fs::remove_file(&new).map_err(io)?;
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        // Whoever reads the secret can forge proofs.
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let made = options.open(&new).map_err(io)?;
    fill(&new).map_err(|error| OpenError::sqlite(file, &error))?;
    made.sync_all().map_err(io)?;
    std::fs::rename(&new, file).map_err(io)?;
    let folder = file.parent().expect("a file lies in a folder");
    crate::blobs::sync_folder(folder).map_err(io)
}

fn fill(new: &Path) -> rusqlite::Result<()> {
    let mut connection = writable(new, Options::default())?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    assert_eq!(mode, "wal", "a file on a disk can have a write-ahead log");
    schema::migrate(&mut connection, &STEPS[..1])?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("the system gives random bytes");
    connection.execute(
        "INSERT INTO meta VALUES ('incarnation', 0), ('next_job', 1), ('open', 0), ('secret', ?1)",
        [secret],
    )?;
    close(connection)
}

/// Looks at a journal without changing it; `wal` is the write-ahead log that is
/// not there, if it is not.
fn inspect(file: &Path, wal: Result<(), PathBuf>, options: Options) -> Result<(), OpenError> {
    inspect_header(file)?;
    let sqlite = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    let connection = match &wal {
        Ok(()) => readable(file),
        // Opened in any other way SQLite would make a log.
        Err(_) => immutable(file),
    };
    let connection = connection.map_err(sqlite)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(sqlite)?;
    let (found, known) = (
        schema::version(&connection).map_err(sqlite)?,
        options.steps.len() as i64,
    );
    if found > known {
        let file = file.to_owned();
        return Err(OpenError::Newer { file, found, known });
    }
    let was_open: bool = meta(&connection, "open").map_err(sqlite)?;
    if let (true, Err(missing)) = (was_open, wal) {
        return Err(OpenError::Incomplete { missing });
    }
    let len = std::fs::metadata(file).map_err(|error| OpenError::io(file, &error))?;
    if was_open || len.len() <= CHECKED_ALWAYS {
        check(&connection, file)?;
    }
    Ok(())
}

/// What can be told from the first bytes, before SQLite sees the file.
fn inspect_header(file: &Path) -> Result<(), OpenError> {
    let foreign = |detail| OpenError::Foreign {
        file: file.to_owned(),
        detail,
    };
    let mut header = Vec::with_capacity(100);
    let opened = File::options().read(true).write(true).open(file);
    opened
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| OpenError::io(file, &error))?;
    if header.len() < 100 {
        return Err(foreign("it is empty or cut off"));
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it does not begin as a SQLite file does"));
    }
    if header[68..72] != APPLICATION_ID.to_be_bytes() {
        return Err(foreign("it is a SQLite file of another program"));
    }
    Ok(())
}

/// A connection to a file without a write-ahead log that touches nothing.
fn immutable(file: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

fn check(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let found: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    let detail = match found {
        Ok(text) if text == "ok" => return Ok(()),
        Ok(text) => text.replace('\n', ": "),
        Err(error) => return Err(OpenError::sqlite(file, &error)),
    };
    let file = file.to_owned();
    Err(OpenError::Corrupt { file, detail })
}

fn meta<T: rusqlite::types::FromSql>(connection: &Connection, key: &str) -> rusqlite::Result<T> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(sql, [key], |row| row.get(0))
}

/// Counts this start.
fn begin(connection: &mut Connection) -> rusqlite::Result<Identity> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "UPDATE meta SET value = value + 1 WHERE key = 'incarnation';
         UPDATE meta SET value = 1 WHERE key = 'open';",
    )?;
    let incarnation: i64 = meta(&transaction, "incarnation")?;
    let next_job: i64 = meta(&transaction, "next_job")?;
    let identity = Identity {
        incarnation: Incarnation(incarnation as u64),
        secret: meta(&transaction, "secret")?,
        next_job: JobId(next_job as u64),
    };
    transaction.commit()?;
    Ok(identity)
}

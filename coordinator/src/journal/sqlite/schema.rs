//! The tables, and how a file of an older version comes to have them.

use rusqlite::{Connection, TransactionBehavior};

/// "MHJ1": tells a journal from any other SQLite file.
pub(super) const APPLICATION_ID: u32 = 0x4d48_4a31;

/// Step `n` makes version `n + 1` of version `n`; a new file is of version 0.
/// A step that was released is never changed: a new one is added.
///
/// A change of what is encoded in `running.plan` or `jobs.view` needs a step
/// too, unless what is there can still be read.
pub(super) const STEPS: &[&str] = &[
    "
    -- incarnation, secret, next_job, open
    CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

    -- Every job that is remembered. The view is JSON; ended_ms and bytes (of
    -- the result) are known once it is over.
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        view TEXT NOT NULL,
        key TEXT,
        ended_ms INTEGER,
        bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX jobs_by_key ON jobs (key) WHERE key IS NOT NULL;
    CREATE INDEX jobs_by_end ON jobs (ended_ms, id, bytes) WHERE ended_ms IS NOT NULL;

    -- What restarts the jobs that are not over. The plan is in postcard.
    CREATE TABLE running (
        job INTEGER PRIMARY KEY,
        prefix_task INTEGER NOT NULL DEFAULT 0,
        prefix_len INTEGER NOT NULL DEFAULT 0,
        plan BLOB NOT NULL
    );

    -- Their partials: the node at this level that begins with task `first`. With
    -- a rowid: without, one of 8 bytes costs 3 us less and one of 100 KB 200 more.
    CREATE TABLE partials (
        job INTEGER NOT NULL,
        first INTEGER NOT NULL,
        level INTEGER NOT NULL,
        cost_us INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (job, first)
    );

    -- Which blobs a job needs.
    CREATE TABLE uses (
        job INTEGER NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (job, hash)
    ) WITHOUT ROWID;
    ",
    "
    -- Results that are too small to be blobs.
    CREATE TABLE results (job INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
    ",
];

/// The version of a file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Carries out the steps that the file lacks, each wholly or not at all.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (at, step) in steps.iter().enumerate() {
        let step_version = at as i64 + 1;
        if step_version <= from {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", step_version)?;
        transaction.commit()?;
        if from > 0 {
            tracing::info!(version = step_version, "the journal was brought up to date");
        }
    }
    Ok(())
}

//! What is written: the records of groups, the retention of jobs, the end.

use crate::journal::Keep;
use crate::journal::memory::{beyond, blobs_of, ended_ms, result_of};
use manyhands_coordinator_core::{Group, Plan, Record};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, JobId, Node};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::sync::Arc;

/// Free pages that a file keeps for what comes, rather than to become smaller.
const KEPT_FREE_PAGES: i64 = 4096;

/// Pages given back at once: some milliseconds in which nothing is committed.
const PAGES_GIVEN_BACK: i64 = 2048;

/// Names statements, and lists them.
macro_rules! statements {
    ($($name:ident: $sql:expr;)*) => {
        $(const $name: &str = $sql;)*

        /// Whatever records are written with.
        const STATEMENTS: &[&str] = &[$($name),*];
    };
}

statements! {
    NEXT_JOB: "UPDATE meta SET value = ?1 WHERE key = 'next_job'";
    SUBMITTED: "INSERT OR REPLACE INTO jobs (id, view, key) VALUES (?1, ?2, ?3)";
    PLAN: "INSERT OR REPLACE INTO running (job, plan) VALUES (?1, ?2)";
    USES: "INSERT OR IGNORE INTO uses (job, hash) VALUES (?1, ?2)";
    PARTIAL: "INSERT OR REPLACE INTO partials (job, first, level, cost_us, bytes)
              VALUES (?1, ?2, ?3, ?4, ?5)";
    REPLACED: "DELETE FROM partials WHERE job = ?1 AND first >= ?2 AND first < ?3";
    PREFIX: "UPDATE running SET prefix_task = ?2, prefix_len = ?3 WHERE job = ?1";
    APPENDED: "DELETE FROM partials WHERE job = ?1 AND first < ?2";
    OVER: "INSERT INTO jobs (id, view, ended_ms, bytes) VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT (id) DO UPDATE SET view = ?2, ended_ms = ?3, bytes = ?4";
    NOT_RUNNING: "DELETE FROM running WHERE job = ?1";
    NO_PARTIALS: "DELETE FROM partials WHERE job = ?1";
    NO_USES: "DELETE FROM uses WHERE job = ?1";
    RESULT: "INSERT OR REPLACE INTO results (job, bytes) VALUES (?1, ?2)";
}

/// Prepares what records are written with, which takes milliseconds: nobody who submits
/// the first job or waits for its end is to wait for that too.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    for sql in STATEMENTS {
        connection.prepare_cached(sql)?;
    }
    Ok(())
}

/// Commits groups, all or none.
pub(super) fn commit<'a>(
    connection: &mut Connection,
    groups: impl IntoIterator<Item = &'a Arc<Group>>,
) -> rusqlite::Result<()> {
    // Immediate: what cannot be written is known before the work.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for group in groups {
        for record in &group.records {
            carry_out(&transaction, record)?;
        }
    }
    transaction.commit()
}

fn carry_out(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Ids { next } => ids(transaction, *next),
        Record::Submitted { view, plan } => submitted(transaction, view, plan),
        Record::Partial {
            job,
            node,
            first,
            end,
            bytes,
            cost_us,
        } => {
            assert_eq!(node.first(), *first, "a node begins with its first task");
            partial(transaction, *job, *node, *end, bytes, *cost_us)
        }
        Record::Prefix { job, task, len } => prefix(transaction, *job, *task, *len),
        Record::Over { view, result } => over(transaction, view, result.as_deref()),
    }
}

fn submitted(transaction: &Transaction<'_>, view: &JobView, plan: &Plan) -> rusqlite::Result<()> {
    let id = integer(view.id.0);
    let mut insert = transaction.prepare_cached(SUBMITTED)?;
    insert.execute(params![id, json(view), plan.key])?;
    let plan_bytes = postcard::to_stdvec(plan).expect("a plan can be written");
    transaction
        .prepare_cached(PLAN)?
        .execute(params![id, plan_bytes])?;
    for hash in blobs_of(plan) {
        uses(transaction, id, hash)?;
    }
    Ok(())
}

fn ids(transaction: &Transaction<'_>, next: JobId) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached(NEXT_JOB)?;
    update.execute([integer(next.0)])?;
    Ok(())
}

fn uses(transaction: &Transaction<'_>, id: i64, hash: BlobHash) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(USES)?;
    insert.execute(params![id, hash.0])?;
    Ok(())
}

fn partial(
    transaction: &Transaction<'_>,
    job: JobId,
    node: Node,
    end: u64,
    bytes: &[u8],
    cost_us: u64,
) -> rusqlite::Result<()> {
    let (job, first) = (integer(job.0), integer(node.first()));
    if node.level() > 0 {
        let mut delete = transaction.prepare_cached(REPLACED)?;
        delete.execute([job, first, integer(end)])?;
    }
    // A single task can only take its own place.
    let cost_us = i64::try_from(cost_us).unwrap_or(i64::MAX);
    transaction.prepare_cached(PARTIAL)?.execute(params![
        job,
        first,
        node.level(),
        cost_us,
        bytes
    ])?;
    Ok(())
}

fn prefix(transaction: &Transaction<'_>, job: JobId, task: u64, len: u64) -> rusqlite::Result<()> {
    let (job, task) = (integer(job.0), integer(task));
    let mut update = transaction.prepare_cached(PREFIX)?;
    update.execute([job, task, integer(len)])?;
    let mut delete = transaction.prepare_cached(APPENDED)?;
    delete.execute([job, task])?;
    Ok(())
}

fn over(
    transaction: &Transaction<'_>,
    view: &JobView,
    small: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let id = integer(view.id.0);
    let result = result_of(view);
    let bytes = result.map_or(0, |(_, len)| len);
    let mut upsert = transaction.prepare_cached(OVER)?;
    upsert.execute(params![
        id,
        json(view),
        i64::try_from(ended_ms(view)).unwrap_or(i64::MAX),
        i64::try_from(bytes).unwrap_or(i64::MAX),
    ])?;
    for sql in [NOT_RUNNING, NO_PARTIALS, NO_USES] {
        transaction.prepare_cached(sql)?.execute([id])?;
    }
    match (small, result) {
        (Some(bytes), _) => {
            let mut insert = transaction.prepare_cached(RESULT)?;
            insert.execute(params![id, bytes])?;
        }
        (None, Some((hash, _))) => uses(transaction, id, hash)?,
        (None, None) => {}
    }
    Ok(())
}

/// Drops jobs that are over and not to be kept.
pub(super) fn retain(
    connection: &mut Connection,
    keep: Keep,
    now_ms: u64,
) -> rusqlite::Result<u64> {
    let dropped = {
        let sql = "SELECT ended_ms, id, bytes FROM jobs WHERE ended_ms IS NOT NULL
                   ORDER BY ended_ms DESC, id DESC";
        let mut select = connection.prepare_cached(sql)?;
        let over = select.query_map([], |row| {
            let (ended_ms, id, bytes): (i64, i64, i64) = row.try_into()?;
            Ok((ended_ms as u64, JobId(id as u64), bytes as u64))
        })?;
        beyond(keep, now_ms, over.collect::<rusqlite::Result<Vec<_>>>()?)
    };
    if !dropped.is_empty() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in &dropped {
            for sql in [
                "DELETE FROM jobs WHERE id = ?1",
                NO_USES,
                "DELETE FROM results WHERE job = ?1",
            ] {
                transaction.prepare_cached(sql)?.execute([integer(job.0)])?;
            }
        }
        transaction.commit()?;
    }
    give_back(connection)?;
    Ok(dropped.len() as u64)
}

/// Makes a file smaller of which much is free.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free > KEPT_FREE_PAGES {
        let sql = format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})");
        let mut vacuum = connection.prepare(&sql)?;
        // Every step gives one page back.
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
    }
    Ok(())
}

/// Notes that the journal ends in order.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE meta SET value = 0 WHERE key = 'open'", [])?;
    Ok(())
}

/// SQLite's integers have a sign; ids, tasks and lengths are far below it.
fn integer(value: u64) -> i64 {
    i64::try_from(value).expect("ids, tasks and lengths are below 2^63")
}

fn json(view: &JobView) -> String {
    serde_json::to_string(view).expect("a view can be written")
}

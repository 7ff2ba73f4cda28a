//! What is read: the views of jobs, what restarts those that run, the blobs
//! that are needed.

use manyhands_coordinator_core::{Plan, Stored};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, JobId, Node};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The view of a job.
pub(super) fn job(connection: &Connection, id: JobId) -> rusqlite::Result<Option<Arc<JobView>>> {
    let sql = "SELECT view FROM jobs WHERE id = ?1";
    let mut select = connection.prepare_cached(sql)?;
    select.query_row([bounded(id.0)], view).optional()
}

/// The result that was recorded with a job's end.
pub(super) fn result(connection: &Connection, id: JobId) -> rusqlite::Result<Option<bytes::Bytes>> {
    let sql = "SELECT bytes FROM results WHERE job = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let bytes = select.query_row([bounded(id.0)], |row| row.get::<_, Vec<u8>>(0));
    bytes.optional().map(|found| found.map(bytes::Bytes::from))
}

/// The first job with a key.
pub(super) fn by_key(connection: &Connection, key: &str) -> rusqlite::Result<Option<Arc<JobView>>> {
    let sql = "SELECT view FROM jobs WHERE key = ?1 ORDER BY id LIMIT 1";
    let mut select = connection.prepare_cached(sql)?;
    select.query_row([key], view).optional()
}

/// At most `limit` jobs before `before`, the newest first.
pub(super) fn page(
    connection: &Connection,
    before: Option<JobId>,
    limit: usize,
) -> rusqlite::Result<Vec<Arc<JobView>>> {
    let sql = "SELECT view FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let before = bounded(before.map_or(u64::MAX, |job| job.0));
    let views = select.query_map([before, bounded(limit as u64)], view)?;
    views.collect()
}

/// The jobs that are not over.
pub(super) fn stored(connection: &Connection) -> rusqlite::Result<Vec<Stored>> {
    let sql = "SELECT view, plan, prefix_task, prefix_len, job
               FROM running JOIN jobs ON jobs.id = running.job ORDER BY job";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([], |row| {
        let plan: Plan = postcard::from_bytes(row.get_ref(1)?.as_blob()?)
            .map_err(|error| undecodable(1, Type::Blob, error))?;
        let (task, len): (i64, i64) = (row.get(2)?, row.get(3)?);
        Ok(Stored {
            view: view(row)?,
            plan: Arc::new(plan),
            prefix: (task as u64, len as u64),
            partials: partials(connection, row.get(4)?)?,
        })
    })?;
    rows.collect()
}

fn partials(connection: &Connection, job: i64) -> rusqlite::Result<Vec<(Node, bytes::Bytes, u64)>> {
    let sql = "SELECT first, level, bytes, cost_us FROM partials WHERE job = ?1 ORDER BY first";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([job], |row| {
        let (first, level): (i64, u8) = (row.get(0)?, row.get(1)?);
        let node = node(first, level)
            .ok_or_else(|| undecodable(1, Type::Integer, "a level that its task cannot have"))?;
        let bytes: Vec<u8> = row.get(2)?;
        let cost_us: i64 = row.get(3)?;
        Ok((node, bytes.into(), cost_us as u64))
    })?;
    rows.collect()
}

fn node(first: i64, level: u8) -> Option<Node> {
    let first = u64::try_from(first).ok()?;
    let index = first.checked_shr(u32::from(level))?;
    Node::new(level, index).filter(|node| node.first() == first)
}

/// The blobs that jobs need.
pub(super) fn blobs_in_use(connection: &Connection) -> rusqlite::Result<BTreeSet<BlobHash>> {
    let mut select = connection.prepare_cached("SELECT hash FROM uses")?;
    let hashes = select.query_map([], |row| row.get(0).map(BlobHash))?;
    hashes.collect()
}

fn view(row: &Row<'_>) -> rusqlite::Result<Arc<JobView>> {
    let text = row.get_ref(0)?.as_str()?;
    let view = serde_json::from_str(text);
    view.map(Arc::new)
        .map_err(|error| undecodable(0, Type::Text, error))
}

fn undecodable(
    column: usize,
    kind: Type,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
}

/// A number from a request; no id is greater than what this makes of it.
fn bounded(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

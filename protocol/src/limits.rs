//! Bounds that both sides keep, so that no peer can make the other allocate
//! without end.

/// The largest frame either side sends or accepts, in bytes: a piece of bulk
/// and its header, or a large header.
pub const MAX_FRAME: usize = 1 << 20;

/// The bulk bytes of one [`Blob`](crate::message::ToWorker::Blob) or
/// [`Partial`](crate::message::ToCoordinator::Partial) frame, in bytes.
pub const PIECE: usize = 256 << 10;

/// The largest partial a worker may hand in, in bytes.
pub const MAX_PARTIAL: u64 = 1 << 30;

/// The largest module that is admitted, in bytes.
pub const MAX_MODULE: u64 = 64 << 20;

/// The longest parameters, in bytes of JSON.
pub const MAX_PARAMS: usize = 256 << 10;

/// The most broadcast files a job may have.
pub const MAX_FILES: usize = 256;

/// The longest text of a failure, a reason, or a log line, in bytes; longer ones
/// are cut by their sender.
pub const MAX_TEXT: usize = 16 << 10;

/// The most nodes, hashes or segments one message names.
pub const MAX_LIST: usize = 4096;

/// The most slots a worker may claim.
pub const MAX_SLOTS: u16 = 4096;

/// Memory a guest may have unless the submission says otherwise, in bytes.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// The longest one task may run unless the submission says otherwise, in
/// milliseconds.
pub const DEFAULT_TASK_TIMEOUT_MS: u64 = 60_000;

/// Cuts a text to [`MAX_TEXT`] bytes at a character's boundary.
///
/// ```
/// let long = "é".repeat(20_000);
/// assert!(manyhands_protocol::limits::clip(long).len() <= manyhands_protocol::limits::MAX_TEXT);
/// ```
#[must_use]
pub fn clip(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - '…'.len_utf8()));
        text.push('…');
    }
    text
}

//! What coordinator and workers agree on: ids, the block algebra and its merge
//! tree, the splitter of inputs, messages with their codec, limits, and the
//! types of the HTTP API.
//!
//! Pure: no I/O, no clock, no async; builds for `wasm32-unknown-unknown`.

pub mod api;
pub mod codec;
mod ids;
pub mod limits;
mod merge;
pub mod message;
mod node;
mod sequence;
mod split;

pub use ids::{
    BlobHash, BlobHasher, HexError, Incarnation, JobId, LeaseId, Proof, SessionToken, WorkerId,
};
pub use merge::{MergeTree, Operand, Step, evaluate};
pub use message::{Failure, FailureKind, MergeMode};
pub use node::{MAX_TASKS, Node, Tree};
pub use sequence::Sequence;
pub use split::{
    Cut, MAX_TASK_INPUT, SEGMENT_TARGET, Segment, Split, SplitError, Splitter, cut_segment,
    segments_of,
};

/// The version both sides name in their hello; raised whenever the encoding of
/// any message changes (a test notices), what admission writes into modules, or
/// how files are handed to workers of the coordinator's machine.
pub const PROTOCOL_VERSION: u16 = 4;

/// The header by which a coordinator tells workers of its own machine where they are
/// handed files, when a WebSocket is opened.
pub const NEIGHBOUR_HEADER: &str = "manyhands-neighbour";

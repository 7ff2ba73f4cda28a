//! The coordinator: a pure scheduler with a driver, routes, a journal and blobs
//! around it. Which block goes to whom is decided in `manyhands-scheduler`.
//!
//! [`Coordinator::start`] is the way in. No guest code runs in this process:
//! `open`, `merge` and `finish` run in the compute child of `manyhands-engine`.

mod admissions;
mod app;
mod blobs;
mod board;
mod config;
mod doors;
mod driver;
mod error;
mod guard;
mod guests;
mod inputs;
mod journal;
mod keeping;
mod metrics;
mod open_files;
mod outputs;
mod page;
mod routes;
mod sockets;
mod start;
mod submit;

pub use blobs::BlobError;
pub use config::{Config, DEFAULT_LISTEN, Limits};
pub use error::ApiError;
pub use inputs::InPlace;
pub use journal::{
    JOURNAL_FILE, Journal, JournalError, Keep, MemoryJournal, OpenError, SqliteJournal,
};
pub use page::page_is_built;
pub use start::{Coordinator, StartError};

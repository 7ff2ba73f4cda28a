//! Tests of the SDK, run natively.

mod answers;
mod encoding;
mod jobs;
mod maps;
mod random;
mod snapshots;

//! The coordinator's HTTP API as a Rust library.

//! What a driver says of its machine when it makes a session.

use manyhands_protocol::message::EngineKind;

/// What a worker is, for its hello, and the bounds it keeps.
#[derive(Clone, Debug)]
pub struct Config {
    /// For people: the host's or the browser's name; cut to 256 bytes.
    pub name: String,
    /// What runs the guests.
    pub engine: EngineKind,
    /// Slots at the start; [`Input::Capacity`](crate::Input::Capacity) changes
    /// them. 0 while paused.
    pub slots: u16,
    /// Commands that a slot may have waiting behind the one that it carries out:
    /// short ones, so that it needs no round trip to its driver between two. 0
    /// where a slot cannot queue them.
    pub queue: usize,
    /// Bytes of memory for guests and inputs together, as the hello says.
    pub memory: u64,
    /// Whether the engine has SIMD128.
    pub simd: bool,
    /// Bytes of modules, files and segments to keep. What leases in hand need
    /// is kept beyond it.
    pub cache_bytes: u64,
    /// Any random number: it spreads the reconnects of many workers.
    pub seed: u64,
}

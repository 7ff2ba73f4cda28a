//! Messages, ids, blocks and the merge tree, limits. No I/O; builds for wasm32.

//! The browser worker: the hub of a tab, compiled to Wasm.

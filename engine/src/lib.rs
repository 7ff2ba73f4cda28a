//! Admission of guest modules, wasmtime, and the compute child.

//! The worker's brain: one pure session for native and browser workers.

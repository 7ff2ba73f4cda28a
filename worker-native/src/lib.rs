//! The native worker: socket, compute child, drain.

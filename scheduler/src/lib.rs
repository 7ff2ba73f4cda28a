//! The coordinator's brain: pure, no clock, no socket.

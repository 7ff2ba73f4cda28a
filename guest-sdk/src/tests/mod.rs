//! Tests of the SDK, run natively.

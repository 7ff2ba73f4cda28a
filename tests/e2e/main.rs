//! The whole system: real processes, real sockets, real browsers. What every
//! test asserts is bytes: a result is the same however the work was cut and
//! whoever did it.

mod authoring;
mod guests_that_fail;
mod losses;
mod many_workers;
mod same_bytes;

//! The whole system: real processes, real sockets, real browsers. What every
//! test asserts is bytes: a result is the same however the work was cut and
//! whoever did it, or died doing it.

mod authoring;
mod bad_data;
mod bad_network;
mod freezes;
mod full_disk;
mod guests_that_fail;
mod kills;
mod losses;
mod many_workers;
mod merging;
mod restarts;
mod same_bytes;

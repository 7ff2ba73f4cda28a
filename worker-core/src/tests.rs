//! Tests of whole sessions: a driver, slots and a coordinator, all made up, all
//! decided by a seed.

mod anew;
mod coordinator;
mod failures;
mod garbage;
mod inputs;
mod leaving;
mod lines;
mod liveness;
mod merging;
mod results;
mod resuming;
mod whole;
mod world;

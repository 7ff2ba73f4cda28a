//! Tests of whole sessions: a driver, slots and a coordinator, all made up, all
//! decided by a seed.

mod coordinator;
mod failures;
mod garbage;
mod inputs;
mod leaving;
mod lines;
mod results;
mod resuming;
mod whole;
mod world;

//! The scheduler as a whole, driven by events.

mod consistency;
mod failing;
mod fairness;
mod model;
mod operations;
mod presence;
mod results;
mod rig;
mod simulation;
mod tails;

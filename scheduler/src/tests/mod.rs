//! The scheduler as a whole, driven by events.

mod consistency;
mod ending;
mod failing;
mod fairness;
mod hold;
mod model;
mod operations;
mod patience;
mod presence;
mod pulse;
mod quarantine;
mod restarts;
mod restore;
mod results;
mod rig;
mod simulation;
mod tails;
mod unusable;

//! The core against made-up workers, disks and guests: what is said when, and
//! what a successor makes of what was recorded.

mod disk;
mod durability;
mod found;
mod merging;
mod restarts;
mod rig;

//! One file a subcommand.

pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod coordinator;
pub(crate) mod demo;
pub(crate) mod jobs;
pub(crate) mod new;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod worker;
pub(crate) mod workers;

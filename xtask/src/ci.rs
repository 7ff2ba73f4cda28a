//! `cargo xtask ci`: all that has to pass before a change is taken in.

use anyhow::Result;

use crate::{bench, checks, test};

/// Runs what fails quickly first, then the tests, then every part of the bench,
/// for crashes and not for times, then the lints.
pub(crate) fn run() -> Result<()> {
    checks::formatting()?;
    test::run(&test::Options::default())?;
    bench::run(&bench::Options::short())?;
    checks::run()
}

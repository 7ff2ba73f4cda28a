//! `cargo xtask ci`: all that has to pass before a change is taken in.

use anyhow::Result;

use crate::{checks, test};

/// Runs what fails quickly first, then the tests, then the lints.
pub(crate) fn run() -> Result<()> {
    checks::formatting()?;
    test::run(&test::Options::default())?;
    checks::run()
}

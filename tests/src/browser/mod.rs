//! Real browsers, driven through WebDriver: Chromium (V8), Firefox
//! (SpiderMonkey) and WebKitGTK's MiniBrowser (JavaScriptCore, Safari's engine).
//! What a page of this project looks like is not known here.

mod driver;
mod tab;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fantoccini::ClientBuilder;
use fantoccini::error::{CmdError, NewSessionError};
use hyper_util::client::legacy::connect::HttpConnector;
use thiserror::Error;
use tokio::sync::Mutex;

use driver::Driver;
pub use tab::Tab;

/// A browser's engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Chromium: V8.
    Chromium,
    /// Firefox: SpiderMonkey.
    Firefox,
    /// WebKitGTK: JavaScriptCore, as in Safari.
    WebKit,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chromium, Self::Firefox, Self::WebKit];
}

/// What went wrong between a test and its browser.
#[derive(Debug, Error)]
pub enum BrowserError {
    /// A program that a browser needs is not to be found.
    #[error("{0} is not on the PATH: `cargo xtask test` installs it and runs the tests with it")]
    Missing(&'static str),
    /// The system refused something.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    /// The driver, or the display, ended or did not answer in time.
    #[error("{program} did not come up; it printed:\n{log}")]
    Start {
        /// Which program.
        program: &'static str,
        /// What it printed.
        log: String,
    },
    /// The driver opened no browser.
    #[error("no browser opened: {error}; the driver printed:\n{log}")]
    Session {
        /// The driver's answer.
        error: Box<NewSessionError>,
        /// What it printed.
        log: String,
    },
    /// The browser refused a command.
    #[error("the browser refused: {0}")]
    Command(Box<CmdError>),
    /// A condition of [`Tab::wait_until`] did not become true.
    #[error("`{condition}` was not true within {limit:?}: {error}")]
    Condition {
        /// The JavaScript expression.
        condition: String,
        /// How long it was given.
        limit: Duration,
        /// The browser's words.
        error: Box<CmdError>,
    },
}

impl From<CmdError> for BrowserError {
    fn from(error: CmdError) -> Self {
        Self::Command(Box::new(error))
    }
}

/// A running browser with a fresh profile and one blank tab.
///
/// [`open`](Self::open) opens tabs. Dropping the browser kills it with all its
/// processes, as a crash would: no page says goodbye. A page says goodbye when
/// its tab is closed by [`Tab::close`].
#[derive(Debug)]
pub struct Browser {
    engine: Engine,
    /// Commands go to the tab that is in front, so that each tab brings itself
    /// there first, under this lock.
    client: Arc<Mutex<fantoccini::Client>>,
    // After the client, whose connection it ends.
    _driver: Driver,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Errors
    /// When it, its driver or its display is missing or does not come up.
    pub async fn start(engine: Engine) -> Result<Self, BrowserError> {
        let driver = Driver::start(engine).await?;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(driver.capabilities())
            .connect(driver.url())
            .await
            .map_err(|error| BrowserError::Session {
                error: Box::new(error),
                log: driver.log(),
            })?;
        Ok(Self {
            engine,
            client: Arc::new(Mutex::new(client)),
            _driver: driver,
        })
    }

    /// Opens `url` in a new tab and waits until it has loaded.
    ///
    /// # Errors
    /// When there is nothing to be had at `url`.
    pub async fn open(&self, url: &str) -> Result<Tab, BrowserError> {
        Tab::open(Arc::clone(&self.client), self.engine, url).await
    }
}

//! One tab: running scripts in its page, waiting for what the page does,
//! pictures of it, its end.

use std::sync::Arc;
use std::time::Duration;

use fantoccini::Client;
use fantoccini::error::{CmdError, ErrorStatus};
use fantoccini::wd::{TimeoutConfiguration, WindowHandle};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::{BrowserError, Engine};

/// A tab of a browser. Dropping it leaves the tab open.
#[derive(Debug)]
pub struct Tab {
    client: Arc<Mutex<Client>>,
    window: WindowHandle,
}

/// Calls back with the condition's value once that is true, or with the error
/// it threw. The browser's own script time-out ends the waiting. The condition
/// stands in the script itself: the page's content security policy forbids it to
/// make functions of strings.
fn poll(condition: &str) -> String {
    format!(
        "const done = arguments[0];
        const poll = () => {{
            try {{
                const value = ({condition});
                if (value) done({{ value }}); else setTimeout(poll, 20);
            }} catch (error) {{
                done({{ error: String(error) }});
            }}
        }};
        poll();"
    )
}

impl Tab {
    pub(super) async fn open(
        client: Arc<Mutex<Client>>,
        engine: Engine,
        url: &str,
    ) -> Result<Self, BrowserError> {
        let locked = client.lock().await;
        // MiniBrowser opens tabs behind the one in front and leaves them there,
        // hidden: slow timers, no picture.
        let as_tab = engine != Engine::WebKit;
        let window = locked.new_window(as_tab).await?.handle;
        locked.switch_to_window(window.clone()).await?;
        locked.goto(url).await?;
        drop(locked);
        Ok(Self { client, window })
    }

    /// Runs the body of a JavaScript function and returns its JSON value:
    /// `tab.run("return document.title", vec![])`.
    ///
    /// # Errors
    /// When the script throws.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Result<Value, BrowserError> {
        Ok(self.front().await?.execute(script, arguments).await?)
    }

    /// Waits until a JavaScript expression is true, and returns its JSON value.
    ///
    /// The page itself looks every 20 ms (once a second while the tab is
    /// hidden); nothing is sent meanwhile. Other tabs of this browser have to
    /// wait for their commands until this is done.
    ///
    /// # Errors
    /// [`BrowserError::Condition`] after `limit`, or when the expression throws.
    pub async fn wait_until(
        &self,
        condition: &str,
        limit: Duration,
    ) -> Result<Value, BrowserError> {
        let failed = |error| BrowserError::Condition {
            condition: condition.into(),
            limit,
            error: Box::new(error),
        };
        let client = self.front().await?;
        let timeouts = TimeoutConfiguration::new(Some(limit), None, None);
        client.update_timeouts(timeouts).await?;
        let mut answer = client
            .execute_async(&poll(condition), vec![])
            .await
            .map_err(failed)?;
        match answer.get("error") {
            None => Ok(answer["value"].take()),
            Some(_) => Err(failed(CmdError::NotW3C(answer))),
        }
    }

    /// Clicks on the first element that the CSS selector matches.
    ///
    /// # Errors
    /// When there is none, or it cannot be clicked on.
    pub async fn click(&self, selector: &str) -> Result<(), BrowserError> {
        let client = self.front().await?;
        let element = client.find(fantoccini::Locator::Css(selector)).await?;
        Ok(element.click().await?)
    }

    /// Sets the size of the window, in CSS pixels, borders included.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn resize(&self, width: u32, height: u32) -> Result<(), BrowserError> {
        Ok(self.front().await?.set_window_size(width, height).await?)
    }

    /// A picture of what is seen of the page, as PNG.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn screenshot(&self) -> Result<Vec<u8>, BrowserError> {
        Ok(self.front().await?.screenshot().await?)
    }

    /// Closes the tab as a person would; its page gets to say goodbye.
    ///
    /// # Errors
    /// When it is closed already.
    pub async fn close(self) -> Result<(), BrowserError> {
        let client = self.front().await?;
        client.close_window().await?;
        // The blank tab that the browser began with is always there.
        if let Some(window) = client.windows().await?.into_iter().next() {
            client.switch_to_window(window).await?;
        }
        Ok(())
    }

    /// Whether the tab is still there.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn is_open(&self) -> Result<bool, BrowserError> {
        match self.front().await {
            Ok(_) => Ok(true),
            Err(BrowserError::Command(error)) if is_no_such_window(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The browser, with this tab in front.
    async fn front(&self) -> Result<MutexGuard<'_, Client>, BrowserError> {
        let client = self.client.lock().await;
        client.switch_to_window(self.window.clone()).await?;
        Ok(client)
    }
}

fn is_no_such_window(error: &CmdError) -> bool {
    matches!(error, CmdError::Standard(error) if error.error == ErrorStatus::NoSuchWindow)
}

//! Which coordinator a command speaks to, and how it says so when that one is in
//! trouble.

use crate::error::Error;
use clap::Args;
use manyhands_client::Client;

/// The coordinator of a machine that says nothing else.
pub(crate) const DEFAULT: &str = "http://127.0.0.1:7272";

/// Names the coordinator where no option does.
pub(crate) const COORDINATOR_VARIABLE: &str = "MANYHANDS_COORDINATOR";

/// Where the coordinator is, and the key it asks for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The coordinator's address [default: http://127.0.0.1:7272] [env:
    /// MANYHANDS_COORDINATOR]
    #[arg(long, value_name = "URL")]
    coordinator: Option<String>,

    #[command(flatten)]
    key: Key,
}

/// The key that a coordinator asks for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Key {
    /// The key that the coordinator printed; needed beyond this machine [env:
    /// MANYHANDS_KEY]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Connection {
    /// A client of the coordinator named, or of this machine's.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let variable = variable(COORDINATOR_VARIABLE);
        let named = self.coordinator.as_deref().or(variable.as_deref());
        self.key.client(named.unwrap_or(DEFAULT))
    }
}

impl Key {
    /// A client with this key.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn client(&self, url: &str) -> Result<Client, Error> {
        Ok(Client::new(url, self.value())?)
    }

    /// The key, of the option or of the variable; an empty one is none.
    pub(crate) fn value(&self) -> Option<String> {
        let given = self.key.clone().filter(|key| !key.is_empty());
        given.or_else(|| variable("MANYHANDS_KEY"))
    }
}

/// An environment variable; an empty one is as good as none.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says on standard error when the coordinator hands nothing out. A coordinator
/// that does not answer says so where it is asked for something else.
pub(crate) async fn tell_trouble(client: &Client) {
    if let Ok(status) = client.status().await
        && let Some(trouble) = status.trouble
    {
        eprintln!("{}", in_trouble(&trouble));
    }
}

/// What is said of a coordinator that hands nothing out.
pub(crate) fn in_trouble(trouble: &str) -> String {
    format!("the coordinator hands nothing out: {trouble}")
}

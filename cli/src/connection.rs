//! Which coordinator a command speaks to.

use crate::error::Error;
use clap::Args;
use manyhands_client::Client;

/// The coordinator of a machine that says nothing else.
const DEFAULT: &str = "http://127.0.0.1:7272";

/// Where the coordinator is, and the key it asks for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The coordinator's address [default: http://127.0.0.1:7272]
    #[arg(long, value_name = "URL", env = "MANYHANDS_COORDINATOR")]
    pub(crate) coordinator: Option<String>,

    /// The key that the coordinator printed; needed beyond this machine
    #[arg(
        long,
        value_name = "KEY",
        env = "MANYHANDS_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<String>,
}

impl Connection {
    /// A client of the coordinator named, or of this machine's.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let url = self.coordinator.as_deref().unwrap_or(DEFAULT);
        Ok(Client::new(url, self.key.clone())?)
    }
}

//! `manyhands workers`: who lends a hand.

use crate::connection::{Connection, tell_trouble};
use crate::error::Error;
use crate::{print, report};
use clap::Args;

/// List the workers, native ones and browser tabs
#[derive(Args)]
pub(crate) struct Workers {
    #[command(flatten)]
    connection: Connection,
}

impl Workers {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.connection.client()?;
        let workers = client.workers().await?;
        tell_trouble(&client).await;
        print::answer(json, &serde_json::json!({ "workers": workers }), || {
            report::workers(&workers)
        })
    }
}

//! `manyhands workers`: who lends a hand.

use crate::connection::Connection;
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
        let workers = self.connection.client()?.workers().await?;
        print::answer(json, &serde_json::json!({ "workers": workers }), || {
            report::workers(&workers)
        })
    }
}

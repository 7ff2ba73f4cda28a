//! `manyhands workers`: who lends a hand.

use crate::connection::{Connection, tell_trouble};
use crate::error::Error;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::WorkerId;

/// List the workers, native ones and browser tabs, in the order in which they joined
#[derive(Args)]
pub(crate) struct Workers {
    #[command(flatten)]
    connection: Connection,

    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,

    /// Only those that joined after this one
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

impl Workers {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.connection.client()?;
        let after = self.after.map(WorkerId);
        let page = client.workers(after, usize::from(self.limit)).await?;
        tell_trouble(&client).await;
        print::answer(json, &page, || {
            let mut text = report::workers(&page.workers);
            if let Some(next) = page.next {
                text.push_str(&format!("more: manyhands workers --after {next}\n"));
            }
            text
        })
    }
}

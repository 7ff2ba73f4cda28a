//! `manyhands jobs`: lists jobs, the newest first.

use crate::connection::{Connection, tell_trouble};
use crate::error::Error;
use crate::job_args::job_id;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::JobId;

/// List jobs, the newest first
#[derive(Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    connection: Connection,

    /// How many at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,

    /// Only jobs older than this one
    #[arg(long, value_name = "ID", value_parser = job_id)]
    before: Option<JobId>,
}

impl Jobs {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.connection.client()?;
        let page = client.jobs(self.before, usize::from(self.limit)).await?;
        tell_trouble(&client).await;
        print::answer(json, &page, || {
            let mut text = report::jobs(&page.jobs);
            if let Some(next) = page.next {
                text.push_str(&format!("older ones: manyhands jobs --before {next}\n"));
            }
            text
        })
    }
}

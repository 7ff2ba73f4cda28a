//! `manyhands show ID`: one job in full.

use crate::connection::Connection;
use crate::error::Error;
use crate::follow::{self, OnInterrupt};
use crate::job_args::job_id;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::JobId;

/// Show one job: state, parameters, failure, who computed how much
#[derive(Args)]
pub(crate) struct Show {
    /// The job's number, as `manyhands jobs` shows
    #[arg(value_name = "ID", value_parser = job_id)]
    id: JobId,

    /// Show its progress and its log until it is over; Ctrl-C leaves it running
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    connection: Connection,
}

impl Show {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.connection.client()?;
        let mut job = client.job(self.id).await?;
        if self.follow {
            job = follow::follow(&client, &job, OnInterrupt::Leave, json).await?;
        }
        print::answer(json, &job, || report::job(&job))?;
        match self.follow {
            true => follow::outcome(job).map(drop),
            false => Ok(()),
        }
    }
}

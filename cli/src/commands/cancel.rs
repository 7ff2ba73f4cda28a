//! `manyhands cancel ID`: takes a job back.

use crate::connection::Connection;
use crate::error::Error;
use crate::job_args::job_id;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::JobId;

/// Cancel a job; one that is over stays as it is
#[derive(Args)]
pub(crate) struct Cancel {
    /// The job's number, as `manyhands jobs` shows
    #[arg(value_name = "ID", value_parser = job_id)]
    id: JobId,

    #[command(flatten)]
    connection: Connection,
}

impl Cancel {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let job = self.connection.client()?.cancel(self.id).await?;
        print::answer(json, &job, || {
            format!("job {} ({}): {}\n", job.id, job.name, report::state(&job))
        })
    }
}

//! `manyhands cancel ID`: takes a job back.

use crate::connection::Connection;
use crate::error::Error;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::JobId;

/// Cancel a job; one that is over stays as it is
#[derive(Args)]
pub(crate) struct Cancel {
    /// The job's number
    #[arg(value_name = "ID")]
    id: u64,

    #[command(flatten)]
    connection: Connection,
}

impl Cancel {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let job = self.connection.client()?.cancel(JobId(self.id)).await?;
        print::answer(json, &job, || {
            format!("job {} ({}): {}\n", job.id, job.name, report::state(&job))
        })
    }
}

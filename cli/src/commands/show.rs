//! `manyhands show ID`: one job in full.

use crate::connection::Connection;
use crate::error::Error;
use crate::{print, report};
use clap::Args;
use manyhands_protocol::JobId;

/// Show one job: state, parameters, failure, who computed how much
#[derive(Args)]
pub(crate) struct Show {
    /// The job's number
    #[arg(value_name = "ID")]
    id: u64,

    #[command(flatten)]
    connection: Connection,
}

impl Show {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let job = self.connection.client()?.job(JobId(self.id)).await?;
        print::answer(json, &job, || report::job(&job))
    }
}

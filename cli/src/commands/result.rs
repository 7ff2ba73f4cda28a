//! `manyhands result ID`: fetches a result.

use crate::connection::Connection;
use crate::error::Error;
use crate::output::Target;
use crate::{follow, print};
use clap::Args;
use manyhands_protocol::JobId;
use serde_json::json;
use std::path::PathBuf;

/// Fetch the result of a job that is done
#[derive(Args)]
pub(crate) struct ResultOf {
    /// The job's number
    #[arg(value_name = "ID")]
    id: u64,

    #[command(flatten)]
    out: Out,

    #[command(flatten)]
    connection: Connection,
}

/// Where a result goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Out {
    /// Write the result here; `-` is standard output, a folder gets a file named
    /// after the job, a name ending in .png makes a picture of raw pixels
    /// [default: standard output for text, NAME.png for pictures]
    #[arg(short, long, value_name = "OUT")]
    pub(crate) out: Option<PathBuf>,
}

impl Out {
    /// Where a program that reads JSON gets the result: never among the JSON.
    pub(crate) fn target(&self, json: bool, job: &manyhands_protocol::api::JobView) -> Target {
        match Target::choose(self.out.as_deref(), &job.name, &job.output) {
            Target::Stdout if json => Target::default_file(&job.name, &job.output),
            target => target,
        }
    }
}

impl ResultOf {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.connection.client()?;
        let job = follow::outcome(client.job(JobId(self.id)).await?)?;
        let target = self.out.target(json, &job);
        follow::save(&client, &job, &target).await?;
        if json {
            print::answer(
                true,
                &json!({ "job": job, "out": target.path() }),
                String::new,
            )?;
        }
        Ok(())
    }
}

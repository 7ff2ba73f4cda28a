//! `manyhands result ID`: fetches a result.

use crate::connection::Connection;
use crate::error::Error;
use crate::job_args::job_id;
use crate::output::Target;
use crate::{follow, print};
use clap::Args;
use manyhands_protocol::JobId;
use serde_json::json;
use std::path::PathBuf;

/// Fetch the result of a job that is done
#[derive(Args)]
pub(crate) struct ResultOf {
    /// The job's number, as `manyhands jobs` shows
    #[arg(value_name = "ID", value_parser = job_id)]
    id: JobId,

    #[command(flatten)]
    out: Out,

    #[command(flatten)]
    connection: Connection,
}

/// Where a result goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Out {
    /// Write the result to this file, which is replaced if it is there; `-` is
    /// standard output, a folder gets a file named after the job, a name ending in
    /// .png makes a picture of raw pixels [default: text goes to standard output
    /// (with --json to NAME.txt or NAME.json), a picture to NAME.png, other bytes to
    /// a terminal to NAME.bin, in the current folder; NAME is the job's, and NAME-2
    /// follows where a file of that name is there]
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
        let job = follow::outcome(client.job(self.id).await?)?;
        let target = self.out.target(json, &job).open()?;
        let out = follow::save(&client, &job, None, target).await?;
        if json {
            print::answer(true, &json!({ "job": job, "out": out }), String::new)?;
        }
        Ok(())
    }
}

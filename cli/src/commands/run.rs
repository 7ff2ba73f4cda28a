//! `manyhands run MODULE`: from a module to its result, on a coordinator or in
//! this process alone.

use super::result::Out;
use crate::connection::Connection;
use crate::error::Error;
use crate::inputs::{self, Input};
use crate::job_args::JobArgs;
use crate::local::Local;
use crate::module::{self, Module};
use crate::progress::Progress;
use crate::{follow, print, report};
use clap::Args;
use manyhands_client::Client;
use manyhands_engine::admit::admit;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::{BroadcastFile, InputFile, JobView, Submission};
use serde_json::json;
use std::path::PathBuf;

/// Run a job and wait for its result
#[derive(Args)]
#[command(
    after_help = "Without --coordinator everything happens here: a coordinator and a worker on all cores, \
    in this process, on a port of this machine that nobody knows, in a temporary folder, inputs read in place."
)]
pub(crate) struct Run {
    /// A .wasm file, or a guest crate's folder, which is built first
    module: PathBuf,

    #[command(flatten)]
    job: JobArgs,

    #[command(flatten)]
    out: Out,

    #[command(flatten)]
    connection: Connection,

    /// What to call the job [default: the module's name]
    #[arg(long)]
    name: Option<String>,

    /// The job's share of the workers against other jobs, 100 being usual
    #[arg(long, value_name = "1..1000", value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,

    /// Threads to compute on, where everything happens here [default: all]
    #[arg(long, value_name = "N", conflicts_with = "coordinator", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,

    /// Submit, print the job's number, and leave
    #[arg(long, requires = "coordinator")]
    detach: bool,
}

impl Run {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let module = tokio::task::block_in_place(|| module::load(&self.module))?;
        self.check(&module)?;
        let inputs = inputs::find(&self.job.input)?;
        if self.connection.coordinator.is_some() {
            let client = self.connection.client()?;
            self.remote(&client, module, inputs, json).await
        } else {
            self.private(module, inputs, json).await
        }
    }

    /// Finds what a coordinator would refuse before anything is sent.
    fn check(&self, module: &Module) -> Result<(), Error> {
        let admitted = admit(&module.wasm, self.job.memory.0);
        let admitted = admitted.map_err(|source| Error::Refused {
            module: module.name.clone(),
            source,
        })?;
        match (admitted.takes_inputs, self.job.input.is_empty()) {
            (true, true) => Err(Error::InputMissing),
            (false, false) => Err(Error::InputUnwanted),
            _ => Ok(()),
        }
    }

    async fn remote(
        &self,
        client: &Client,
        module: Module,
        inputs: Vec<Input>,
        json: bool,
    ) -> Result<(), Error> {
        let mut submission = self.submission(client, module).await?;
        submission.inputs = upload(client, &inputs, json).await?;
        let job = client.submit(&submission).await?;
        if self.detach {
            return print::answer(json, &json!({ "job": job }), || format!("{}\n", job.id));
        }
        let done = follow::follow(client, job.id, json).await?;
        self.deliver(client, &done, json).await
    }

    async fn private(&self, module: Module, inputs: Vec<Input>, json: bool) -> Result<(), Error> {
        let mut local = Local::start(self.threads).await?;
        let client = local.client.clone();
        let submission = self.submission(&client, module).await?;
        let inputs = inputs
            .into_iter()
            .map(|input| (input.name, input.path))
            .collect();
        let job = local
            .coordinator
            .submit_in_place(submission, inputs)
            .await?;
        let done = tokio::select! {
            done = follow::follow(&client, job.id, json) => done,
            error = local.broken() => Err(error),
        };
        let outcome = match done {
            Ok(done) => self.deliver(&client, &done, json).await,
            Err(error) => Err(error),
        };
        local.shutdown().await;
        outcome
    }

    /// What to submit, but for the inputs; module and files are uploaded.
    async fn submission(&self, client: &Client, module: Module) -> Result<Submission, Error> {
        let uploaded = client.upload_module(module.wasm.to_vec()).await?;
        let mut files = Vec::new();
        for file in &self.job.file {
            let blob = client.upload_file(&file.path).await?.hash;
            files.push(BroadcastFile {
                name: file.name.clone(),
                blob,
            });
        }
        Ok(Submission {
            name: self.name.clone().unwrap_or(module.name),
            module: uploaded.hash,
            params: self.job.params()?,
            inputs: Vec::new(),
            split: self.job.split(),
            files,
            weight: self.weight,
            memory: Some(self.job.memory.0),
            task_timeout_ms: Some(self.job.task_timeout_ms()),
        })
    }

    async fn deliver(&self, client: &Client, done: &JobView, json: bool) -> Result<(), Error> {
        let target = self.out.target(json, done);
        follow::save(client, done, &target).await?;
        if json {
            return print::answer(
                true,
                &json!({ "job": done, "out": target.path() }),
                String::new,
            );
        }
        eprintln!("{}: {}", done.name, report::done(done));
        Ok(())
    }
}

/// Uploads what the coordinator lacks of the inputs.
async fn upload(client: &Client, inputs: &[Input], quiet: bool) -> Result<Vec<InputFile>, Error> {
    let mut progress = Progress::new(quiet);
    let mut uploaded: Vec<InputFile> = Vec::with_capacity(inputs.len());
    for input in inputs {
        progress.upload(uploaded.len(), inputs.len());
        let blob: BlobHash = client.upload_file(&input.path).await?.hash;
        uploaded.push(InputFile {
            path: input.name.clone(),
            blob,
        });
    }
    Ok(uploaded)
}

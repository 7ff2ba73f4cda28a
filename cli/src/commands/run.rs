//! `manyhands run MODULE`: from a module to its result, on a coordinator or in
//! this process alone.

use super::result::Out;
use crate::connection::{COORDINATOR_VARIABLE, DEFAULT, Key, in_trouble, variable};
use crate::error::Error;
use crate::follow::{self, OnInterrupt, insist};
use crate::inputs::{self, Input};
use crate::job_args::JobArgs;
use crate::local::Local;
use crate::module::{self, Module};
use crate::output::{Opened, Target};
use crate::progress::Progress;
use crate::{print, report};
use clap::Args;
use manyhands_client::{Client, random_key};
use manyhands_engine::admit::admit;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::{BroadcastFile, InputFile, JobView, Submission};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Run a job and wait for its result
#[derive(Args)]
#[command(
    override_usage = "manyhands run MODULE [OPTIONS]",
    after_help = "Without --coordinator everything happens here: a coordinator and a worker on all cores, \
    in this process, on a port of this machine that nobody knows, in a temporary folder, inputs read in place. \
    With one, a run waits for its coordinator to come back when that one is started anew; Ctrl-C cancels the job."
)]
pub(crate) struct Run {
    /// A .wasm file, or a guest crate's folder, which is built first
    module: PathBuf,

    #[command(flatten)]
    job: JobArgs,

    #[command(flatten)]
    out: Out,

    /// The coordinator to submit to, such as http://127.0.0.1:7272 [default:
    /// none, the job runs on this machine alone] [env: MANYHANDS_COORDINATOR]
    #[arg(long, value_name = "URL")]
    coordinator: Option<String>,

    #[command(flatten)]
    key: Key,

    /// Run on this machine alone, whatever MANYHANDS_COORDINATOR says
    #[arg(long, conflicts_with = "coordinator")]
    here: bool,

    /// What to call the job [default: the module's name]
    #[arg(long)]
    name: Option<String>,

    /// The job's share of the workers against other jobs, 100 being usual
    #[arg(long, value_name = "1..1000", value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,

    /// Threads to compute on, where everything happens here [default: all]
    #[arg(long, value_name = "N", conflicts_with = "coordinator", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,

    /// Submit to the coordinator, print the job's number, and leave
    #[arg(long, conflicts_with = "here")]
    detach: bool,
}

/// How long a coordinator on this machine may take to be noticed.
const NOTICE: Duration = Duration::from_millis(300);

/// A job that takes no longer is over with the answer to its submission; one that
/// does is followed.
const SHORT: Duration = Duration::from_millis(100);

impl Run {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let client = self.client()?;
        let module = tokio::task::block_in_place(|| module::load(&self.module))?;
        self.check(&module)?;
        let inputs = inputs::find(&self.job.input)?;
        // Not only when all is computed.
        let asked = Target::asked(self.out.out.as_deref()).filter(|_| !self.detach);
        let opened = asked.map(|target| target.open()).transpose()?;
        match client {
            Some(client) => self.remote(&client, module, inputs, opened, json).await,
            None => self.private(module, inputs, opened, json).await,
        }
    }

    /// The coordinator, unless everything is to happen here.
    fn client(&self) -> Result<Option<Client>, Error> {
        let named = match &self.coordinator {
            Some(url) => Some((url.clone(), "--coordinator")),
            None => variable(COORDINATOR_VARIABLE).map(|url| (url, COORDINATOR_VARIABLE)),
        };
        match named.filter(|_| !self.here) {
            Some((_, named_by)) if self.threads.is_some() => {
                Err(Error::ThreadsElsewhere { named_by })
            }
            Some((url, _)) => self.key.client(&url).map(Some),
            None if self.detach => Err(Error::DetachHere),
            None => Ok(None),
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
        opened: Option<Opened>,
        json: bool,
    ) -> Result<(), Error> {
        // One that was never there is not waited for.
        if let Some(trouble) = client.status().await?.trouble {
            eprintln!("{}", in_trouble(&trouble));
        }
        let mut submission = self.submission(client, module).await?;
        submission.inputs = upload(client, &inputs, json).await?;
        if self.detach {
            let job = insist(async || client.submit(&submission).await).await?;
            return print::answer(json, &json!({ "job": job }), || format!("{}\n", job.id));
        }
        let waited = insist(async || client.submit_and_wait(&submission, SHORT).await).await?;
        if waited.job.state.is_over() {
            for line in waited.log.iter().filter(|_| !json) {
                eprintln!("log: {line}");
            }
            let small = waited.bytes();
            return self.deliver(client, waited.job, small, opened, json).await;
        }
        let over = follow::follow(client, &waited.job, OnInterrupt::Cancel, json).await?;
        self.deliver(client, over, None, opened, json).await
    }

    async fn private(
        &self,
        module: Module,
        inputs: Vec<Input>,
        opened: Option<Opened>,
        json: bool,
    ) -> Result<(), Error> {
        if !self.here {
            tell_of_neighbour().await;
        }
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
        let over = tokio::select! {
            over = follow::follow(&client, &job, OnInterrupt::Cancel, json) => over,
            error = local.broken() => Err(error),
        };
        let outcome = match over {
            Ok(over) => self.deliver(&client, over, None, opened, json).await,
            Err(error) => Err(error),
        };
        local.shutdown().await;
        outcome
    }

    /// What to submit, but for the inputs; module and files are uploaded.
    async fn submission(&self, client: &Client, module: Module) -> Result<Submission, Error> {
        let uploaded = insist(async || client.upload_module(module.wasm.to_vec()).await).await?;
        let mut files = Vec::new();
        for file in &self.job.file {
            let blob = insist(async || client.upload_file(&file.path).await).await?;
            files.push(BroadcastFile {
                name: file.name.clone(),
                blob: blob.hash,
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
            // Sent twice, since an answer was lost, it is still one job.
            key: Some(random_key()),
        })
    }

    async fn deliver(
        &self,
        client: &Client,
        over: JobView,
        small: Option<Vec<u8>>,
        opened: Option<Opened>,
        json: bool,
    ) -> Result<(), Error> {
        let done = follow::outcome(over)?;
        let opened = match opened {
            Some(opened) => opened,
            None => self.out.target(json, &done).open()?,
        };
        let out = follow::save(client, &done, small, opened).await?;
        if json {
            return print::answer(true, &json!({ "job": done, "out": out }), String::new);
        }
        eprintln!("{}: {}", done.name, report::done(&done));
        Ok(())
    }
}

/// Who has started a coordinator on this machine may have meant to use it.
async fn tell_of_neighbour() {
    let Ok(client) = Client::new(DEFAULT, None) else {
        return;
    };
    if let Ok(Ok(_)) = tokio::time::timeout(NOTICE, client.status()).await {
        eprintln!(
            "running on this machine alone, though a coordinator answers at {DEFAULT}: \
             --coordinator {DEFAULT} uses that one, --here says nothing of it"
        );
    }
}

/// Uploads what the coordinator lacks of the inputs.
async fn upload(client: &Client, inputs: &[Input], quiet: bool) -> Result<Vec<InputFile>, Error> {
    let mut progress = Progress::new(quiet);
    let mut uploaded: Vec<InputFile> = Vec::with_capacity(inputs.len());
    for input in inputs {
        progress.upload(uploaded.len(), inputs.len());
        let blob: BlobHash = insist(async || client.upload_file(&input.path).await)
            .await?
            .hash;
        uploaded.push(InputFile {
            path: input.name.clone(),
            blob,
        });
    }
    Ok(uploaded)
}

//! `manyhands demo`: the showcase of `cargo xtask demo`, which builds the guests
//! and the page first. A coordinator and a worker in this process, a picture, a
//! word count, and who computed how much.

use crate::error::Error;
use crate::follow::{self, OnInterrupt};
use crate::human;
use crate::inputs::{self, Input};
use crate::interrupt::interrupted;
use crate::local::Local;
use crate::output::Target;
use crate::{print, report};
use clap::Args;
use manyhands_coordinator::DEFAULT_LISTEN;
use manyhands_protocol::Split;
use manyhands_protocol::api::{JobView, Submission};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Show what this is: a picture and a word count, by this machine and whoever
/// opens the link
#[derive(Args)]
pub(crate) struct Demo {
    /// The folder of the examples' modules [default: where `cargo xtask demo`
    /// builds them]
    #[arg(long, value_name = "DIR")]
    guests: Option<PathBuf>,

    /// The folder whose texts are counted [default: the crates' sources that cargo
    /// has downloaded]
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,

    /// Where the results go [default: demo/ beside the guests' build folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:7272, or a free port]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Go on serving when the jobs are done
    #[arg(long)]
    keep: bool,
}

/// A job of the show.
struct Act {
    name: &'static str,
    file: &'static str,
    params: Value,
    inputs: Vec<Input>,
    split: Option<Split>,
}

/// A job that is done, and its result.
struct Outcome {
    job: JobView,
    path: PathBuf,
}

impl Demo {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let guests = self.guests()?;
        let acts = self.acts()?;
        let folder = self.out_folder(&guests);
        std::fs::create_dir_all(&folder).map_err(|source| Error::write(&folder, source))?;
        let mut local = self.start().await?;
        eprintln!("volunteers open {}", local.coordinator.url());
        let outcomes = self.play(&mut local, acts, (&guests, &folder), json).await;
        if let Ok(outcomes) = &outcomes {
            print::answer(json, &facts(outcomes), || summary(outcomes))?;
            if self.keep {
                eprintln!(
                    "still serving at {}; Ctrl-C ends it",
                    local.coordinator.url()
                );
                interrupted().await;
            }
        }
        local.shutdown().await;
        outcomes.map(drop)
    }

    fn acts(&self) -> Result<Vec<Act>, Error> {
        let texts = inputs::find_if(&[self.corpus()?], is_text)?;
        let sizes = texts.iter().filter_map(|text| text.path.metadata().ok());
        let bytes = sizes.map(|metadata| metadata.len()).sum();
        eprintln!(
            "{} of text in {}",
            human::size(bytes),
            human::counted(texts.len() as u64, "file")
        );
        let picture = Act {
            name: GUESTS[0],
            file: "mandelbrot.png",
            params: json!({ "width": 3840, "height": 2160, "iterations": 2000, "samples": 2 }),
            inputs: Vec::new(),
            split: None,
        };
        let words = Act {
            name: GUESTS[1],
            file: "words.json",
            params: json!({ "top": 50 }),
            inputs: texts,
            split: Some(Split::default()),
        };
        Ok(vec![picture, words])
    }

    /// The folder of the modules, all of which are there.
    fn guests(&self) -> Result<PathBuf, Error> {
        // This program is target/debug/manyhands, as a rule.
        let target = || Some(std::env::current_exe().ok()?.ancestors().nth(2)?.to_owned());
        let built = |target: PathBuf| target.join("wasm32-unknown-unknown/guest");
        let folder = self.guests.clone().or_else(|| target().map(built));
        let folder = folder.unwrap_or_default();
        for act in GUESTS {
            let path = module_in(&folder, act);
            if !path.is_file() {
                return Err(Error::NoGuest { path });
            }
        }
        Ok(folder)
    }

    fn corpus(&self) -> Result<PathBuf, Error> {
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = || cargo.or_else(|| Some(dirs::home_dir()?.join(".cargo")));
        let sources = self.corpus.clone();
        let sources = sources.or_else(|| Some(cargo()?.join("registry/src")));
        let sources = sources.unwrap_or_default();
        match sources.is_dir() {
            true => Ok(sources),
            false => Err(Error::NoCorpus { path: sources }),
        }
    }

    fn out_folder(&self, guests: &Path) -> PathBuf {
        // target/wasm32-unknown-unknown/guest → target/demo
        let beside = guests.ancestors().nth(2).unwrap_or(guests);
        self.out.clone().unwrap_or_else(|| beside.join("demo"))
    }

    /// Starts where asked to; the usual port may be taken, which is no reason
    /// for a show to fail.
    async fn start(&self) -> Result<Local, Error> {
        if let Some(listen) = self.listen {
            return Local::start_at(listen, None).await;
        }
        match Local::start_at(DEFAULT_LISTEN, None).await {
            Err(Error::Occupied { .. }) => Local::start(None).await,
            started => started,
        }
    }

    async fn play(
        &self,
        local: &mut Local,
        acts: Vec<Act>,
        (guests, folder): (&Path, &Path),
        json: bool,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for act in acts {
            let path = folder.join(act.file);
            let job = submit(local, guests, act).await?;
            let client = local.client.clone();
            let over = tokio::select! {
                over = follow::follow(&client, &job, OnInterrupt::Cancel, json) => over?,
                error = local.broken() => return Err(error),
            };
            let done = follow::outcome(over)?;
            follow::save(&client, &done, None, Target::File(path.clone()).open()?).await?;
            outcomes.push(Outcome { job: done, path });
        }
        Ok(outcomes)
    }
}

async fn submit(local: &Local, guests: &Path, act: Act) -> Result<JobView, Error> {
    let path = module_in(guests, act.name);
    let wasm = std::fs::read(&path).map_err(|source| Error::read(&path, source))?;
    let module = local.client.upload_module(wasm).await?;
    let submission = Submission {
        name: act.name.to_owned(),
        module: module.hash,
        params: act.params,
        inputs: Vec::new(),
        split: act.split,
        files: Vec::new(),
        weight: None,
        memory: None,
        task_timeout_ms: None,
        key: None,
    };
    let inputs = act
        .inputs
        .into_iter()
        .map(|input| (input.name, input.path))
        .collect();
    let job = local
        .coordinator
        .submit_in_place(submission, inputs)
        .await?;
    Ok(job.as_ref().clone())
}

/// What the show runs.
const GUESTS: [&str; 2] = ["mandelbrot", "wordcount"];

fn module_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("wasm")
}

/// What a person wrote, by the file's ending.
fn is_text(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["rs", "md", "txt", "toml", "html", "c", "h"].contains(&ending)
}

fn facts(outcomes: &[Outcome]) -> Value {
    let jobs = outcomes
        .iter()
        .map(|outcome| json!({ "job": outcome.job, "out": outcome.path }));
    json!({ "jobs": jobs.collect::<Vec<_>>() })
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for Outcome { job, path } in outcomes {
        text.push_str(&format!(
            "\n{}: {}\n  {}\n{}",
            job.name,
            report::done(job),
            path.display(),
            indented(&report::contributions(job))
        ));
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

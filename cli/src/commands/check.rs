//! `manyhands check MODULE`: admits a module and compares what a small job comes
//! to under many cuttings.

use crate::cuttings::{self, Fault, Findings, Subject};
use crate::error::Error;
use crate::interrupt::interrupted;
use crate::job_args::JobArgs;
use crate::lab::Lab;
use crate::local::coordinators_child;
use crate::size::duration;
use crate::{human, inputs, module, print};
use bytes::Bytes;
use clap::Args;
use manyhands_engine::admit::{Admitted, admit};
use manyhands_engine::compute::JobSpec;
use manyhands_protocol::{BlobHash, MergeMode, segments_of};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Check a guest: whether it is admitted, and whether its bytes depend on how
/// the work is cut
#[derive(Args)]
#[command(
    override_usage = "manyhands check MODULE [OPTIONS]",
    after_help = "Give parameters for a small job. Every task is run alone, every block whole and in \
    halves, in a process of their own; the first block whose bytes differ is named."
)]
pub(crate) struct Check {
    /// A .wasm file, or a guest crate's folder, which is built first
    module: PathBuf,

    #[command(flatten)]
    job: JobArgs,

    /// Look at this many tasks; of a larger job, at its first and its last ones
    #[arg(long, value_name = "N", default_value_t = 1024)]
    tasks: u64,

    /// Look for at most this long
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    time: Duration,
}

/// Further than anybody waits.
const FAR: Duration = Duration::from_secs(86_400 * 365);

impl Check {
    /// Checks and reports.
    ///
    /// # Errors
    /// When the module is refused, fails, or breaks its author's contract.
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let module = tokio::task::block_in_place(|| module::load(&self.module))?;
        let refused = |source| Error::Refused {
            module: module.name.clone(),
            source,
        };
        let admitted = admit(&module.wasm, self.job.memory.0).map_err(refused)?;
        self.check_inputs(&admitted)?;
        if !json {
            eprintln!(
                "{}: admitted, {}, {}",
                module.name,
                merge_name(admitted.merge),
                human::size(admitted.wasm.len() as u64)
            );
        }
        let findings = tokio::select! {
            findings = self.look(&admitted) => findings?,
            () = interrupted() => return Err(Error::Interrupted { cancelled: None }),
        };
        print::answer(json, &report(&admitted, &findings), || text(&findings))
    }

    fn check_inputs(&self, admitted: &Admitted) -> Result<(), Error> {
        match (admitted.takes_inputs, self.job.input.is_empty()) {
            (true, true) => Err(Error::InputMissing),
            (false, false) => Err(Error::InputUnwanted),
            _ => Ok(()),
        }
    }

    async fn look(&self, admitted: &Admitted) -> Result<Findings, Error> {
        let spec = JobSpec {
            wasm: admitted.wasm.clone(),
            module: admitted.hash,
            params: self.job.canonical_params()?.into(),
            memory_limit: self.job.memory.0,
            task_timeout: Duration::from_millis(self.job.task_timeout_ms()),
            split: self.job.split(),
            files: self.job.files()?,
        };
        let segments = self.segments()?;
        let config = coordinators_child(1)?;
        let program = config.program.clone();
        let end = Instant::now() + self.time.min(FAR);
        let lab = Lab::start(config, spec, segments, end)
            .map_err(|source| Error::Child { program, source })?;
        let mut subject = Subject {
            lab,
            merge: admitted.merge,
            takes_inputs: admitted.takes_inputs,
        };
        let findings = cuttings::look(&mut subject, self.tasks).await;
        let findings = findings.map_err(|fault| match fault {
            Fault::Differs(difference) => Error::Differs {
                difference,
                reasons: reasons(admitted.merge),
            },
            fault => Error::Fault(fault),
        })?;
        match findings {
            Findings {
                blocks: 0,
                cut_short: Some(place),
                ..
            } => Err(Error::NothingInTime { place }),
            Findings {
                blocks: 0, tasks, ..
            } => Err(Error::NothingToCompare { tasks }),
            findings => Ok(findings),
        }
    }

    /// The input's pieces, each with the number of its tasks.
    fn segments(&self) -> Result<Vec<(Bytes, u64)>, Error> {
        let mut segments = Vec::new();
        for input in inputs::find(&self.job.input)? {
            let read =
                std::fs::read(&input.path).map_err(|source| Error::read(&input.path, source))?;
            let bytes = Bytes::from(read);
            let cut = segments_of(&bytes, self.job.split);
            let cut = cut.map_err(|source| Error::Cut {
                path: input.path.clone(),
                source,
            })?;
            segments.extend(cut.into_iter().map(|segment| {
                let range = segment.offset as usize..(segment.offset + segment.len) as usize;
                (bytes.slice(range), segment.tasks)
            }));
        }
        Ok(segments)
    }
}

fn merge_name(merge: MergeMode) -> &'static str {
    match merge {
        MergeMode::Reduce => "reduce",
        MergeMode::Concat => "concat",
    }
}

/// What usually makes bytes depend on the cut, the likeliest first.
fn reasons(merge: MergeMode) -> &'static str {
    match merge {
        MergeMode::Reduce => {
            "\nLikely reasons, the most frequent first:\n  \
             - a partial with an order of its own (a list that merge appends to in the order of a HashMap)\n  \
             - a field of the partial that is not encoded (#[serde(skip)]) but used by merge\n  \
             - something carried from one task to the next: a static, a thread_local, a cache in a Cell\n  \
             - the bits of a NaN, or an address, that got into the partial"
        }
        MergeMode::Concat => {
            "\nLikely reasons, the most frequent first:\n  \
             - something carried from one task to the next: a static, a thread_local, a cache in a Cell\n  \
             - a task that looks at, or changes, what is in `out` already\n  \
             - an order taken from a HashMap that other tasks have filled before\n  \
             - the bits of a NaN, or an address, that got into the output"
        }
    }
}

fn report(admitted: &Admitted, findings: &Findings) -> serde_json::Value {
    let result = findings
        .result
        .as_ref()
        .map(|bytes| json!({ "len": bytes.len(), "hash": BlobHash::of(bytes) }));
    json!({
        "module": { "hash": admitted.hash, "merge": admitted.merge, "takes_inputs": admitted.takes_inputs },
        "tasks": findings.tasks,
        "tasks_looked_at": findings.looked_at,
        "blocks_compared": findings.blocks,
        "complete": findings.cut_short.is_none(),
        "result": result,
    })
}

fn text(findings: &Findings) -> String {
    let mut text = format!(
        "{} of {}, and {} whole and in halves: the same bytes\n",
        human::count(findings.looked_at),
        human::counted(findings.tasks, "task"),
        human::counted(findings.blocks, "block"),
    );
    if let Some(place) = &findings.cut_short {
        text.push_str(&format!(
            "stopped before the end: the time was up (--time) at {place}\n"
        ));
    }
    if let Some(result) = &findings.result {
        let hash = BlobHash::of(result);
        text.push_str(&format!(
            "result: {}, BLAKE3 {hash}\n",
            human::size(result.len() as u64)
        ));
    }
    text
}

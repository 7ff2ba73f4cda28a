//! From a submission to a job: everything that can be wrong with it is found
//! here, before any worker is bothered.

use crate::app::App;
use crate::driver::{Input, NewJob};
use crate::error::ApiError;
use crate::guests;
use crate::inputs::{self, Cutting, InputError, InputPart};
use crate::outputs::OutputFile;
use axum::body::Bytes;
use manyhands_engine::admit::{Admitted, admit};
use manyhands_engine::compute::{JobSpec as GuestSpec, Work};
use manyhands_protocol::api::{JobState, JobView, ModuleView, OutputShape, Submission};
use manyhands_protocol::limits::{
    DEFAULT_MEMORY, DEFAULT_TASK_TIMEOUT_MS, MAX_FILES, MAX_LIST, MAX_MODULE, MAX_PARAMS,
};
use manyhands_protocol::message::{FileRef, JobHeader};
use manyhands_protocol::{BlobHash, FailureKind, JobId, MergeMode, Split, Tree};
use manyhands_scheduler::JobSpec;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most memory a guest can have: all that 32 bits address.
const MAX_MEMORY: u64 = 4 << 30;

/// Admits a module, so that its author learns early what is wrong with it.
pub(crate) async fn module(app: &App, bytes: Bytes) -> Result<ModuleView, ApiError> {
    let admitted = admitted(bytes.clone(), MAX_MEMORY).await?;
    let blob = app.blobs.put(&bytes).await?;
    // What the compute child and workers are given comes from a submission's
    // own admission, which writes that job's limits.
    Ok(ModuleView {
        hash: blob.hash,
        len: blob.len,
        merge: admitted.merge,
        takes_inputs: admitted.takes_inputs,
    })
}

async fn admitted(bytes: Bytes, memory: u64) -> Result<Admitted, ApiError> {
    let pass = tokio::task::spawn_blocking(move || admit(&bytes, memory)).await;
    let outcome = pass.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    outcome.map_err(|refusal| ApiError::BadModule(refusal.to_string()))
}

/// Makes a job of a submission whose inputs are `parts`.
pub(crate) async fn submit(
    app: &Arc<App>,
    submission: Submission,
    parts: Vec<InputPart>,
) -> Result<Arc<JobView>, ApiError> {
    let _permit = app
        .preparing
        .acquire()
        .await
        .map_err(|_| ApiError::closing())?;
    let id = JobId(app.next_job.fetch_add(1, Ordering::Relaxed));
    let prepared = Preparing {
        app,
        id,
        submission,
    }
    .run(parts)
    .await;
    let job = match prepared {
        Ok(job) => Box::new(job),
        Err(error) => {
            app.compute.unload(id);
            return Err(error);
        }
    };
    app.ask(|reply| Input::Submit { job, reply }).await
}

struct Preparing<'a> {
    app: &'a Arc<App>,
    id: JobId,
    submission: Submission,
}

/// What `open` says, of which the shape is passed on.
#[derive(Deserialize)]
struct Opened {
    tasks: Option<u64>,
    #[serde(flatten)]
    shape: OutputShape,
}

/// Broadcast files: how workers are told of them, and their bytes.
type Files = (Vec<FileRef>, BTreeMap<String, Bytes>);

impl Preparing<'_> {
    async fn run(&self, parts: Vec<InputPart>) -> Result<NewJob, ApiError> {
        let submission = &self.submission;
        let memory = submission.memory.unwrap_or(DEFAULT_MEMORY);
        if !(1 << 16..=MAX_MEMORY).contains(&memory) {
            return Err(bad_input("a guest's memory is from 64 KiB to 4 GiB"));
        }
        let weight = submission.weight.unwrap_or(100);
        if !(1..=1000).contains(&weight) {
            return Err(bad_input("a job's weight is from 1 to 1000"));
        }
        let params = canonical(&submission.params)?;
        let admitted = self.admitted(memory).await?;
        self.check_inputs(&admitted, parts.len())?;
        let (files, file_bytes) = self.files().await?;
        let timeout = submission
            .task_timeout_ms
            .unwrap_or(DEFAULT_TASK_TIMEOUT_MS);
        let split = admitted
            .takes_inputs
            .then(|| submission.split.unwrap_or_default());
        self.app.compute.load(
            self.id,
            GuestSpec {
                wasm: admitted.wasm.clone(),
                module: admitted.hash,
                params: params.clone(),
                memory_limit: memory,
                task_timeout: Duration::from_millis(timeout),
                split,
                files: file_bytes,
            },
        );
        let opened = self.open().await?;
        let cutting = match split {
            Some(split) => Some(cut(parts, split).await?),
            None => None,
        };
        let tasks = match &cutting {
            Some(cutting) => cutting.tasks(),
            None => opened.tasks.ok_or_else(|| {
                ApiError::BadModule("open does not say how many tasks there are".into())
            })?,
        };
        let tree = Tree::new(tasks).ok_or_else(|| {
            ApiError::BadParams(format!("{tasks} tasks; at most 2^62 are possible"))
        })?;
        let output = match admitted.merge {
            MergeMode::Concat => Some(OutputFile::start(self.app, self.id).await?),
            MergeMode::Reduce => None,
        };
        let header = JobHeader {
            job: self.id,
            name: submission.name.clone(),
            module: admitted.hash,
            module_len: admitted.wasm.len() as u64,
            params: params.to_vec(),
            tasks,
            merge: admitted.merge,
            split,
            files,
            memory,
            task_timeout_ms: timeout,
        };
        Ok(NewJob {
            spec: spec(tree, &admitted, weight, memory, cutting.as_ref()),
            view: self.view(&header, opened.shape),
            header,
            cutting,
            output,
        })
    }

    async fn admitted(&self, memory: u64) -> Result<Admitted, ApiError> {
        let hash = self.submission.module;
        let missing = || ApiError::NotFound(format!("module {hash} is not here: upload it first"));
        let bytes = self.read(hash, MAX_MODULE).await?.ok_or_else(missing)?;
        let admitted = admitted(bytes, memory).await?;
        self.app.blobs.put(&admitted.wasm).await?;
        Ok(admitted)
    }

    fn check_inputs(&self, admitted: &Admitted, parts: usize) -> Result<(), ApiError> {
        match (admitted.takes_inputs, parts) {
            (true, 0) => Err(bad_input(
                "this module's tasks are records of an input: give it some",
            )),
            (false, 1..) => Err(bad_input("this module takes no inputs")),
            (false, 0) if self.submission.split.is_some() => {
                Err(bad_input("this module takes no inputs that could be split"))
            }
            _ => Ok(()),
        }
    }

    async fn files(&self) -> Result<Files, ApiError> {
        let files = &self.submission.files;
        if files.len() > MAX_FILES {
            return Err(bad_input(&format!(
                "{} files; at most {MAX_FILES} are allowed",
                files.len()
            )));
        }
        let most = self.app.limits.max_files_bytes;
        let (mut refs, mut all) = (Vec::new(), BTreeMap::new());
        let mut room = most;
        for file in files {
            let missing =
                || ApiError::NotFound(format!("file {} is not here: upload it first", file.name));
            let bytes = self.read(file.blob, room).await?.ok_or_else(missing)?;
            room -= bytes.len() as u64;
            refs.push(FileRef {
                name: file.name.clone(),
                hash: file.blob,
                len: bytes.len() as u64,
            });
            if file.name.len() > 1024 || all.insert(file.name.clone(), bytes).is_some() {
                return Err(bad_input(&format!(
                    "the file name {:?} is given twice or too long",
                    file.name
                )));
            }
        }
        Ok((refs, all))
    }

    /// A whole blob of at most `most` bytes, if it is here.
    async fn read(&self, hash: BlobHash, most: u64) -> Result<Option<Bytes>, ApiError> {
        let Some(place) = self.app.blobs.place(hash).await? else {
            return Ok(None);
        };
        if place.len > most {
            let text = format!(
                "blob {hash} has {} bytes; at most {most} are allowed here",
                place.len
            );
            return Err(ApiError::TooLarge(text));
        }
        let bytes = place.read(0, place.len as usize).await;
        Ok(Some(bytes.map_err(crate::blobs::BlobError::from)?))
    }

    async fn open(&self) -> Result<Opened, ApiError> {
        let answer = guests::call(self.app, self.id, Work::Open)
            .await
            .map_err(|failure| match failure.kind {
                FailureKind::Error => ApiError::BadParams(failure.message),
                FailureKind::Crash => ApiError::Unavailable(failure.message),
                _ => ApiError::BadModule(format!("open failed: {}", failure.message)),
            })?;
        serde_json::from_slice(&answer).map_err(|error| {
            ApiError::BadModule(format!("open answered no JSON object of the ABI: {error}"))
        })
    }

    fn view(&self, header: &JobHeader, output: OutputShape) -> JobView {
        JobView {
            id: self.id,
            name: header.name.clone(),
            state: JobState::Running,
            merge: header.merge,
            tasks: header.tasks,
            done: 0,
            running: 0,
            prefix: 0,
            output,
            submitted_ms: 0,
            elapsed_ms: 0,
            remaining_ms: None,
            retries: 0,
            params: self.submission.params.clone(),
            contributions: Vec::new(),
        }
    }
}

fn bad_input(text: &str) -> ApiError {
    ApiError::BadInput(text.to_owned())
}

/// JSON with sorted keys and no white space: equal parameters are equal bytes.
fn canonical(params: &serde_json::Value) -> Result<Bytes, ApiError> {
    // serde_json's maps are sorted unless a feature says otherwise; a test
    // notices if a dependency turns that on.
    let bytes = serde_json::to_vec(params).expect("JSON values can be written");
    if bytes.len() > MAX_PARAMS {
        let text = format!(
            "parameters of {} bytes; at most {MAX_PARAMS} are allowed",
            bytes.len()
        );
        return Err(ApiError::BadParams(text));
    }
    Ok(bytes.into())
}

async fn cut(parts: Vec<InputPart>, split: Split) -> Result<Cutting, ApiError> {
    let pass = tokio::task::spawn_blocking(move || inputs::cut(parts, split)).await;
    let outcome = pass.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    outcome.map_err(|error: InputError| ApiError::BadInput(error.to_string()))
}

fn spec(
    tree: Tree,
    admitted: &Admitted,
    weight: u32,
    memory: u64,
    cutting: Option<&Cutting>,
) -> JobSpec {
    let bytes: u64 = cutting.map_or(0, |cutting| cutting.segments.iter().map(|at| at.len).sum());
    JobSpec {
        tree,
        merge: admitted.merge,
        weight,
        memory,
        simd: false,
        bytes_per_task: bytes.div_ceil(tree.tasks().max(1)),
        max_block: cutting.map_or(u64::MAX, |cutting| max_block(cutting, MAX_LIST)),
    }
}

/// The most tasks a block may have, wherever it begins, so that its inputs are
/// at most `list` segments.
fn max_block(cutting: &Cutting, list: usize) -> u64 {
    // A range that touches more than `list` segments has all of the `list - 1`
    // between its first and its last, and a task of each of these two.
    let inner = cutting.segments.windows(list + 1).map(|window| {
        let (second, last) = (window[1], window[list]);
        last.first_task - second.first_task + 1
    });
    inner.min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Place;
    use manyhands_protocol::message::SegmentRef;
    use std::path::Path;

    #[test]
    fn parameters_are_brought_into_one_form() {
        let params =
            serde_json::from_str(r#"{ "b": [1, {"z": 0, "y": 1.50}], "a": null }"#).unwrap();
        assert_eq!(
            canonical(&params).unwrap(),
            r#"{"a":null,"b":[1,{"y":1.5,"z":0}]}"#
        );
        let long = serde_json::Value::String("x".repeat(MAX_PARAMS));
        assert!(matches!(canonical(&long), Err(ApiError::BadParams(_))));
    }

    #[test]
    fn no_block_of_the_allowed_size_touches_more_segments_than_a_grant_can_name() {
        let sizes = [3u64, 1, 1, 5, 1, 2, 1, 1, 9, 1];
        let mut cutting = Cutting::default();
        let mut first_task = 0;
        for tasks in sizes {
            cutting.segments.push(SegmentRef {
                hash: BlobHash([0; 32]),
                len: 1,
                first_task,
                tasks,
            });
            cutting.places.push(Place {
                file: Path::new("x").into(),
                offset: 0,
                len: 1,
            });
            first_task += tasks;
        }
        let touched = |start: u64, end: u64| {
            let segments = cutting.segments.iter();
            segments
                .filter(|at| at.first_task < end && at.first_task + at.tasks > start)
                .count()
        };
        let widest = |tasks: u64| {
            (0..=first_task - tasks)
                .map(|at| touched(at, at + tasks))
                .max()
        };
        for list in 1..sizes.len() {
            let most = max_block(&cutting, list);
            assert!(
                widest(most).unwrap() <= list,
                "{list} segments, {most} tasks"
            );
            assert!(
                widest(most + 1).unwrap() > list,
                "{most} is the largest for {list}"
            );
        }
        assert_eq!(max_block(&cutting, sizes.len()), u64::MAX);
    }
}

//! From a submission to a job: everything that can be wrong with it is found
//! here, before any worker is bothered.

use crate::app::App;
use crate::driver::{Accepted, Input, Prepared};
use crate::error::ApiError;
use crate::guests;
use crate::inputs::{self, Cutting, InputError, InputPart};
use crate::outputs::OutputFile;
use axum::body::Bytes;
use manyhands_coordinator_core::{NewJob, Plan};
use manyhands_engine::admit::{Admitted, admit};
use manyhands_engine::compute::{JobSpec as GuestSpec, Work};
use manyhands_protocol::api::{JobView, ModuleView, OutputShape, Submission};
use manyhands_protocol::limits::{
    DEFAULT_MEMORY, DEFAULT_TASK_TIMEOUT_MS, MAX_FILES, MAX_MODULE, MAX_PARAMS,
};
use manyhands_protocol::message::{FileRef, JobHeader};
use manyhands_protocol::{BlobHash, FailureKind, JobId, MergeMode, Split, Tree};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The longest key of a submission, in bytes.
const MAX_KEY: usize = 64;

/// The longest name of a job, or of a broadcast file, in bytes.
const MAX_NAME: usize = 1024;

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

/// Makes a job of a submission whose inputs are `parts`, and whose author `waits` for
/// the result, or does not.
pub(crate) async fn submit(
    app: &Arc<App>,
    submission: Submission,
    parts: Vec<InputPart>,
    waits: bool,
) -> Result<Accepted, ApiError> {
    if let Some(view) = submitted_before(app, &submission).await? {
        return Ok(Accepted { view, early: None });
    }
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
    app.ask(|reply| Input::Submit { job, waits, reply }).await
}

/// The job of a submission that came before, and whose answer was lost.
async fn submitted_before(
    app: &App,
    submission: &Submission,
) -> Result<Option<Arc<JobView>>, ApiError> {
    let Some(key) = &submission.key else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY {
        let text = format!("a submission's key has 1 to {MAX_KEY} bytes");
        return Err(ApiError::BadInput(text));
    }
    let recorded = app.journal.by_key(key).await;
    let recorded = recorded.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    Ok(recorded.map(|view| app.board.get(view.id).map_or(view, |entry| entry.view())))
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
    async fn run(&self, parts: Vec<InputPart>) -> Result<Prepared, ApiError> {
        let submission = &self.submission;
        let memory = submission.memory.unwrap_or(DEFAULT_MEMORY);
        if !(1 << 16..=MAX_MEMORY).contains(&memory) {
            return Err(bad_input("a guest's memory is from 64 KiB to 4 GiB"));
        }
        if submission.name.len() > MAX_NAME {
            let text = format!("a job's name has at most {MAX_NAME} bytes");
            return Err(ApiError::BadInput(text));
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
        let cutting = async {
            match split {
                Some(split) => cut(parts, split).await.map(Some),
                None => Ok(None),
            }
        };
        // Both to their end: a cutting goes on though nobody waits for it.
        let (opened, cutting) = tokio::join!(self.open(), cutting);
        let (opened, cutting) = (opened?, cutting?);
        let tasks = match &cutting {
            Some(cutting) => cutting.tasks(),
            None => opened.tasks.ok_or_else(|| {
                ApiError::BadModule("open does not say how many tasks there are".into())
            })?,
        };
        if Tree::new(tasks).is_none() {
            let text = format!("{tasks} tasks; at most 2^62 are possible");
            return Err(ApiError::BadParams(text));
        }
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
        self.assemble(header, opened.shape, &admitted, weight, cutting)
            .await
    }

    async fn assemble(
        &self,
        header: JobHeader,
        shape: OutputShape,
        admitted: &Admitted,
        weight: u32,
        cutting: Option<Cutting>,
    ) -> Result<Prepared, ApiError> {
        let inputs = self.submission.inputs.iter().map(|input| input.blob);
        let places = cutting
            .as_ref()
            .map(|cutting| cutting.places(&self.app.blobs));
        let view = self.view(&header, shape);
        let plan = Plan {
            header,
            weight,
            simd: admitted.simd,
            segments: cutting
                .as_ref()
                .map_or_else(Vec::new, |cutting| cutting.segments.clone()),
            places: places.unwrap_or_default(),
            blobs: inputs.collect(),
            key: self.submission.key.clone(),
        };
        let output = match admitted.merge {
            MergeMode::Concat => Some(OutputFile::start(self.app, self.id, 0).await?),
            MergeMode::Reduce => None,
        };
        let job = NewJob {
            spec: plan.spec().expect("its number of tasks was checked"),
            plan: Arc::new(plan),
            view,
        };
        Ok(Prepared {
            job,
            cutting,
            output,
        })
    }

    async fn admitted(&self, memory: u64) -> Result<Arc<Admitted>, ApiError> {
        let hash = self.submission.module;
        let (key, now) = ((hash, memory), Instant::now());
        if let Some(known) = self.app.admissions.find(key, now) {
            return Ok(known);
        }
        let missing = || ApiError::NotFound(format!("module {hash} is not here: upload it first"));
        let bytes = self.read(hash, MAX_MODULE).await?.ok_or_else(missing)?;
        let admitted = admitted(bytes, memory).await?;
        self.app.blobs.put(&admitted.wasm).await?;
        let admitted = Arc::new(admitted);
        self.app.admissions.note(key, Arc::clone(&admitted), now);
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
            if file.name.len() > MAX_NAME || all.insert(file.name.clone(), bytes).is_some() {
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
        let Some(place) = self.app.blobs.place_renewed(hash).await? else {
            return Ok(None);
        };
        if place.len > most {
            let text = format!(
                "blob {hash} has {} bytes; at most {most} are allowed here",
                place.len
            );
            return Err(ApiError::TooLarge(text));
        }
        Ok(Some(self.app.blobs.read(&place).await?))
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
            output,
            params: self.submission.params.clone(),
            ..JobView::submitted(self.id, &header.name, header.merge, header.tasks)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! The journal on real files.

mod full;
mod kept;
mod opening;
mod torn;

use super::*;
use bytes::Bytes;
use manyhands_coordinator_core::{Plan, Record};
use manyhands_protocol::api::{JobState, OutputShape};
use manyhands_protocol::message::{FileRef, JobHeader, SegmentRef};
use manyhands_protocol::{MergeMode, Node};
use std::collections::BTreeMap;

/// Waits for a future of the journal, whose threads do the work.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(future)
}

fn open(folder: &Path) -> SqliteJournal {
    SqliteJournal::open(folder).unwrap()
}

fn view(id: u64) -> JobView {
    JobView {
        id: JobId(id),
        name: format!("job {id}"),
        state: JobState::Running,
        merge: MergeMode::Concat,
        tasks: 1 << 30,
        done: 0,
        running: 0,
        prefix: 0,
        output: OutputShape::default(),
        submitted_ms: 1000 * id,
        elapsed_ms: 0,
        remaining_ms: None,
        retries: 0,
        waiting: None,
        params: serde_json::json!({"seed": id, "text": "a \"quoted\" line\n"}),
        contributions: Vec::new(),
    }
}

fn hash(of: &str) -> BlobHash {
    BlobHash::of(of.as_bytes())
}

fn plan(id: u64) -> Plan {
    Plan {
        header: JobHeader {
            job: JobId(id),
            name: format!("job {id}"),
            module: hash("module"),
            module_len: 6,
            params: b"{}".to_vec(),
            tasks: 1 << 30,
            merge: MergeMode::Concat,
            split: None,
            files: vec![FileRef {
                name: "table".into(),
                hash: hash("table"),
                len: 5,
            }],
            memory: 1 << 20,
            task_timeout_ms: 60_000,
        },
        weight: 100,
        simd: true,
        segments: vec![SegmentRef {
            hash: hash("segment"),
            len: 7,
            first_task: 0,
            tasks: 1 << 30,
        }],
        places: Bytes::from_static(b"places"),
        blobs: vec![hash(&format!("input {id}"))],
        key: (id % 2 == 1).then(|| format!("key {id}")),
    }
}

fn submitted(id: u64) -> Record {
    Record::Submitted {
        view: Arc::new(view(id)),
        plan: Arc::new(plan(id)),
    }
}

fn partial(job: u64, level: u8, index: u64, bytes: &[u8]) -> Record {
    let node = Node::new(level, index).unwrap();
    Record::Partial {
        job: JobId(job),
        node,
        first: node.first(),
        end: node.range().end,
        bytes: Bytes::copy_from_slice(bytes),
        cost_us: 1000 + index,
    }
}

fn done(id: u64, len: u64) -> Record {
    let mut view = view(id);
    view.state = JobState::Done {
        len,
        hash: hash(&format!("result {id}")),
    };
    view.elapsed_ms = 500;
    Record::Over {
        view: Arc::new(view),
        result: None,
    }
}

fn group(number: u64, records: Vec<Record>) -> Arc<Group> {
    Arc::new(Group { number, records })
}

/// What a journal should hold, told in the simplest way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    views: BTreeMap<JobId, JobView>,
    running: BTreeMap<JobId, ModelJob>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelJob {
    plan: Option<Plan>,
    prefix: (u64, u64),
    partials: BTreeMap<Node, (Bytes, u64)>,
}

impl Model {
    fn carry_out(&mut self, record: &Record) {
        match record {
            Record::Ids { .. } => {}
            Record::Submitted { view, plan } => {
                self.views.insert(view.id, (**view).clone());
                let job = self.running.entry(view.id).or_default();
                job.plan = Some((**plan).clone());
            }
            Record::Partial {
                job,
                node,
                first,
                end,
                bytes,
                cost_us,
            } => {
                let job = self.running.get_mut(job).unwrap();
                job.partials
                    .retain(|at, _| !(*first..*end).contains(&at.first()));
                job.partials.insert(*node, (bytes.clone(), *cost_us));
            }
            Record::Prefix { job, task, len } => {
                let job = self.running.get_mut(job).unwrap();
                job.prefix = (*task, *len);
                job.partials.retain(|at, _| at.first() >= *task);
            }
            Record::Over { view, .. } => {
                self.views.insert(view.id, (**view).clone());
                self.running.remove(&view.id);
            }
        }
    }

    /// What a journal holds.
    fn of(journal: &SqliteJournal) -> Self {
        let views = wait(journal.page(None, usize::MAX)).unwrap();
        let stored = wait(journal.stored()).unwrap();
        let running = stored.into_iter().map(|job| {
            let partials = job.partials.into_iter();
            let partials = partials.map(|(node, bytes, cost)| (node, (bytes, cost)));
            let found = ModelJob {
                plan: Some((*job.plan).clone()),
                prefix: job.prefix,
                partials: partials.collect(),
            };
            (job.view.id, found)
        });
        Self {
            running: running.collect(),
            views: views.into_iter().map(|at| (at.id, (*at).clone())).collect(),
        }
    }
}

#[test]
fn all_that_records_are_written_with_can_be_prepared() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).end();
    let file: Arc<Path> = folder.path().join(FILE).into();
    let connection = super::open::writable(&file, Options::default()).unwrap();
    write::prepare(&connection).unwrap();
}

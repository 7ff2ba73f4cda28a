//! The plainest way to a job's result: in one thread of one process, block
//! after block. What `manyhands check`, tests and measurements compare with.

use crate::runtime::{
    Guest, Inputs, LoadError, Program, Runtime, Segment, Settings, Sink, StartError,
};
use bytes::Bytes;
use manyhands_protocol::{Failure, MAX_TASKS, MergeMode, MergeTree, Node, Sequence, Step, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job to run here.
#[derive(Clone)]
pub struct Job {
    /// The module, admitted or not.
    pub wasm: Bytes,
    /// The parameters: JSON in canonical form.
    pub params: Bytes,
    /// The most memory the guest may have, in bytes.
    pub memory_limit: u64,
    /// The input in order, for a guest that takes one.
    pub segments: Vec<Arc<Segment>>,
    /// Broadcast files by name.
    pub files: Arc<BTreeMap<String, Bytes>>,
    /// Where log lines go.
    pub sink: Arc<dyn Sink>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// wasmtime does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The module is refused or cannot be compiled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The guest failed.
    #[error("{}", .0.message)]
    Guest(Failure),
    /// `open` did not answer a number of tasks.
    #[error("open answered {0}, not a JSON object with a number of \"tasks\" up to 2^62")]
    Tasks(String),
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::Guest(failure)
    }
}

/// Runs the whole job as one block, the root of its tree.
///
/// The calling thread needs a stack of [`crate::runtime::SLOT_STACK`] bytes.
///
/// # Errors
/// When the module is refused or the guest fails.
pub fn run(job: &Job) -> Result<Vec<u8>, RunError> {
    run_cut(job, |tree| tree.root().into_iter().collect())
}

/// Runs the job in the blocks that `cut` chooses: any nodes that are disjoint
/// and cover the tree, in any order. The result is the same for all of them.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// When the nodes do not cover the tree.
pub fn run_cut(job: &Job, cut: impl FnOnce(Tree) -> Vec<Node>) -> Result<Vec<u8>, RunError> {
    let runtime = Runtime::new(&Settings {
        slots: 1,
        cache: None,
    })?;
    let program = runtime.load(&job.wasm, job.memory_limit)?;
    let tree = tree(job, &program)?;
    match program.merge {
        MergeMode::Concat => concat(job, &program, tree, cut(tree)),
        MergeMode::Reduce => reduce(job, &program, tree, cut(tree)),
    }
}

fn concat(job: &Job, program: &Program, tree: Tree, cut: Vec<Node>) -> Result<Vec<u8>, RunError> {
    let mut sequence = Sequence::new(tree);
    let mut result = Vec::new();
    for node in cut {
        let partial = block(job, program, tree, node)?;
        result.extend(sequence.insert(node, partial).into_iter().flatten());
    }
    assert_eq!(
        sequence.next_task(),
        tree.tasks(),
        "the nodes must cover the tree"
    );
    Ok(result)
}

fn reduce(job: &Job, program: &Program, tree: Tree, cut: Vec<Node>) -> Result<Vec<u8>, RunError> {
    let partial = match tree.root() {
        None => Vec::new(),
        Some(root) => merged(job, program, tree, root, cut)?,
    };
    Ok(guest(job, program, Inputs::default())?
        .finish(&partial)?
        .to_vec())
}

/// The partial of the root.
fn merged(
    job: &Job,
    program: &Program,
    tree: Tree,
    root: Node,
    cut: Vec<Node>,
) -> Result<Vec<u8>, RunError> {
    let mut partials = MergeTree::new(tree, root);
    for node in cut {
        let mut step = partials.insert(node, block(job, program, tree, node)?);
        while let Step::Merge { node, left, right } = step {
            let mut guest = guest(job, program, Inputs::default())?;
            step = partials.merged(node, guest.merge(&left, &right)?.to_vec());
        }
        if let Step::Top(partial) = step {
            return Ok(partial);
        }
    }
    panic!("the nodes must cover the tree");
}

/// How many tasks the job has: what `open` says, or what its input holds.
///
/// # Errors
/// When the guest refuses its parameters.
fn tree(job: &Job, program: &Program) -> Result<Tree, RunError> {
    let mut guest = instance(job, program, Inputs::default())?;
    let answer = guest.open(&job.params)?;
    let tasks = if program.takes_inputs {
        Some(job.segments.iter().map(|segment| segment.tasks()).sum())
    } else {
        let json: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
        json.and_then(|json| json.get("tasks")?.as_u64())
    };
    let tree = tasks
        .filter(|tasks| *tasks <= MAX_TASKS)
        .and_then(Tree::new);
    tree.ok_or_else(|| RunError::Tasks(String::from_utf8_lossy(answer).into_owned()))
}

fn block(job: &Job, program: &Program, tree: Tree, node: Node) -> Result<Vec<u8>, RunError> {
    let tasks = tree.range(node);
    let mut first = 0;
    let mut segments = Vec::new();
    for segment in &job.segments {
        segments.push((first, Arc::clone(segment)));
        first += segment.tasks();
    }
    let mut guest = guest(job, program, Inputs::new(tasks.clone(), segments))?;
    guest.run(tasks.start, tasks.end - tasks.start)?;
    Ok(guest.take()?.to_vec())
}

/// A fresh instance, opened.
fn guest(job: &Job, program: &Program, inputs: Inputs) -> Result<Guest, Failure> {
    let mut guest = instance(job, program, inputs)?;
    guest.open(&job.params)?;
    Ok(guest)
}

fn instance(job: &Job, program: &Program, inputs: Inputs) -> Result<Guest, Failure> {
    Guest::new(
        program,
        inputs,
        Arc::clone(&job.files),
        Arc::clone(&job.sink),
    )
}

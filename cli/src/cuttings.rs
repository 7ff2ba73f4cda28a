//! Whether a guest keeps its author's contract: blocks of every size are run
//! whole and in halves, each in fresh instances, and their bytes compared. No
//! coordinator, no worker; where guests run is the lab's business.

use crate::lab::{Lab, Stopped};
use bytes::Bytes;
use manyhands_protocol::{Failure, MAX_TASKS, MergeMode, Node, Tree};
use std::collections::BTreeMap;

/// A job to be looked at.
pub(crate) struct Subject {
    /// Where its guests run.
    pub(crate) lab: Lab,
    /// How its partials are merged.
    pub(crate) merge: MergeMode,
    /// Whether its tasks are records of an input.
    pub(crate) takes_inputs: bool,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// How many tasks the job has.
    pub(crate) tasks: u64,
    /// Tasks that were run alone, at least.
    pub(crate) looked_at: u64,
    /// Blocks of two or more tasks that were run whole and in halves.
    pub(crate) blocks: u64,
    /// What ran when the time was up, if it was before everything chosen was
    /// compared.
    pub(crate) cut_short: Option<String>,
    /// The result, where all tasks were looked at together.
    pub(crate) result: Option<Bytes>,
}

/// Why a guest cannot be trusted with being cut, or cannot be run at all.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    /// The guest failed in this part of the job, at this task if one is guilty.
    #[error("{place}: {}", .failure.message)]
    Failed {
        place: String,
        task: Option<u64>,
        failure: Failure,
    },
    /// `open` gives no number of tasks.
    #[error("open answers {0}, which has no number of \"tasks\" up to 2^62")]
    Tasks(String),
    /// The bytes depend on how the work is cut.
    #[error("{0}")]
    Differs(Difference),
}

/// The smallest block found whose bytes depend on the cut.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{block} give other bytes {one_way} than {other_way}: {} against {} bytes, which differ from byte {at} on",
    .lengths.0, .lengths.1
)]
pub(crate) struct Difference {
    /// Its tasks.
    pub(crate) block: Node,
    pub(crate) one_way: &'static str,
    pub(crate) other_way: &'static str,
    /// The first byte that differs.
    pub(crate) at: usize,
    pub(crate) lengths: (usize, usize),
}

const WHOLE: &str = "run as one block";
const HALVED: &str = "run in two halves and merged";
const SLICED: &str = "run in slices of one task";

/// Why a look goes no further.
enum Stop {
    Fault(Fault),
    TimeUp { place: String },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Looks at a job, small blocks first, so that what it finds is the smallest. At
/// most about `tasks` tasks; a larger job is looked at in its beginning and its
/// end.
///
/// # Errors
/// With the first fault found.
pub(crate) async fn look(subject: &mut Subject, tasks: u64) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    match look_until(subject, tasks, &mut findings).await {
        Ok(()) => {}
        Err(Stop::Fault(fault)) => return Err(fault),
        Err(Stop::TimeUp { place }) => findings.cut_short = Some(place),
    }
    Ok(findings)
}

async fn look_until(
    subject: &mut Subject,
    tasks: u64,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let tree = subject.tree().await?;
    findings.tasks = tree.tasks();
    let tops = tops(tree, tasks);
    let from_the_root = tops.len() <= 1;
    let mut whole = None;
    for top in tops {
        whole = Some(look_under(subject, tree, top, findings).await?);
    }
    if from_the_root {
        findings.result = Some(subject.finish(whole.unwrap_or_default()).await?);
    }
    Ok(())
}

/// The blocks to look at: the root of a small job, else the first and the last
/// block of a size.
fn tops(tree: Tree, tasks: u64) -> Vec<Node> {
    let Some(root) = tree.root() else {
        return Vec::new();
    };
    let level = tasks.max(2).ilog2() as u8;
    if tree.tasks() <= tasks.max(2) {
        return vec![root];
    }
    let last = Node::new(level, (tree.tasks() - 1) >> level);
    let first = Node::new(level, 0);
    first.into_iter().chain(last).collect()
}

/// Compares all blocks under `top`, level by level; its partial.
async fn look_under(
    subject: &mut Subject,
    tree: Tree,
    top: Node,
    findings: &mut Findings,
) -> Result<Bytes, Stop> {
    let mut below: BTreeMap<Node, Bytes> = BTreeMap::new();
    for level in 0..=top.level() {
        let mut row = BTreeMap::new();
        for node in at_level(tree, top, level) {
            let whole = subject.run(tree, node, false).await?;
            if let Some((left, right)) = tree.halves(node) {
                let halves = (&below[&left], right.map(|right| &below[&right]));
                compare(subject, tree, node, &whole, halves).await?;
                findings.blocks += 1;
            } else {
                findings.looked_at += 1;
            }
            row.insert(node, whole);
        }
        below = row;
    }
    Ok(below.remove(&top).expect("the last row is the top"))
}

fn at_level(tree: Tree, top: Node, level: u8) -> impl Iterator<Item = Node> {
    let tasks = tree.range(top);
    let indices = (tasks.start >> level)..=((tasks.end - 1) >> level);
    indices.filter_map(move |index| Node::new(level, index))
}

async fn compare(
    subject: &mut Subject,
    tree: Tree,
    node: Node,
    whole: &[u8],
    (left, right): (&Bytes, Option<&Bytes>),
) -> Result<(), Stop> {
    let halved = match right {
        Some(right) => subject.merge(node, left, right).await?,
        None => left.clone(),
    };
    same(node, (WHOLE, whole), (HALVED, &halved))?;
    // Once a level is enough: slices end wherever a clock says so.
    if node.index() == 0 {
        let sliced = subject.run(tree, node, true).await?;
        same(node, (WHOLE, whole), (SLICED, &sliced))?;
    }
    Ok(())
}

fn same(
    block: Node,
    (one_way, a): (&'static str, &[u8]),
    (other_way, b): (&'static str, &[u8]),
) -> Result<(), Fault> {
    if a == b {
        return Ok(());
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let lengths = (a.len(), b.len());
    Err(Fault::Differs(Difference {
        block,
        one_way,
        other_way,
        at,
        lengths,
    }))
}

impl Subject {
    async fn tree(&mut self) -> Result<Tree, Stop> {
        let answer = self.lab.open().await.map_err(at("open"))?;
        let tasks = if self.takes_inputs {
            Some(self.lab.input_tasks())
        } else {
            let json: Option<serde_json::Value> = serde_json::from_slice(&answer).ok();
            json.and_then(|json| json.get("tasks")?.as_u64())
        };
        let tree = tasks
            .filter(|tasks| *tasks <= MAX_TASKS)
            .and_then(Tree::new);
        let garbage = || Fault::Tasks(String::from_utf8_lossy(&answer).into_owned());
        Ok(tree.ok_or_else(garbage)?)
    }

    /// A block's partial, run in slices as they come or of one task.
    async fn run(&mut self, tree: Tree, node: Node, sliced: bool) -> Result<Bytes, Stop> {
        let partial = self.lab.run(tree.range(node), sliced).await;
        partial.map_err(at(&node.to_string()))
    }

    async fn merge(&mut self, node: Node, left: &Bytes, right: &Bytes) -> Result<Bytes, Stop> {
        match self.merge {
            MergeMode::Concat => Ok([&left[..], right].concat().into()),
            MergeMode::Reduce => {
                let merged = self.lab.merge(left.clone(), right.clone()).await;
                merged.map_err(at(&format!("merge to {node}")))
            }
        }
    }

    async fn finish(&mut self, partial: Bytes) -> Result<Bytes, Stop> {
        match self.merge {
            MergeMode::Concat => Ok(partial),
            MergeMode::Reduce => self.lab.finish(partial).await.map_err(at("finish")),
        }
    }
}

fn at(place: &str) -> impl FnOnce(Stopped) -> Stop {
    let place = place.to_owned();
    move |stopped| match stopped {
        Stopped::TimeUp => Stop::TimeUp { place },
        Stopped::Failed { task, failure } => Stop::Fault(Fault::Failed {
            place,
            task,
            failure,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_jobs_are_looked_at_whole_and_large_ones_at_both_ends() {
        let tops = |tasks, effort| tops(Tree::new(tasks).unwrap(), effort);
        assert_eq!(tops(0, 16), []);
        assert_eq!(tops(11, 16), [Node::new(4, 0).unwrap()]);
        let ends = [Node::new(4, 0).unwrap(), Node::new(4, 62).unwrap()];
        assert_eq!(tops(1000, 16), ends);
    }

    #[test]
    fn levels_end_where_the_job_does() {
        let tree = Tree::new(11).unwrap();
        let top = Node::new(2, 2).unwrap();
        let row = |level| at_level(tree, top, level).collect::<Vec<_>>();
        assert_eq!(row(0), [8, 9, 10].map(Node::leaf));
        assert_eq!(row(1), [Node::new(1, 4).unwrap(), Node::new(1, 5).unwrap()]);
        assert_eq!(row(2), [top]);
    }

    #[test]
    fn a_difference_says_where() {
        let node = Node::new(1, 2).unwrap();
        let fault = same(node, (WHOLE, b"abcd"), (HALVED, b"abX")).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "tasks 4..6 give other bytes run as one block than run in two halves and merged: \
             4 against 3 bytes, which differ from byte 2 on"
        );
        assert_eq!(same(node, (WHOLE, b""), (HALVED, b"")), Ok(()));
    }
}

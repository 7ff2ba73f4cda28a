//! Whether a guest keeps its author's contract: blocks of every size are run
//! whole and in halves, each in fresh instances, and their bytes compared.
//! In one thread of this process; no coordinator, no worker.

use bytes::Bytes;
use manyhands_engine::runtime::{Guest, Inputs, Program, Segment, Sink};
use manyhands_protocol::{Failure, MAX_TASKS, MergeMode, Node, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A job to be looked at.
pub(crate) struct Subject {
    /// The guest.
    pub(crate) program: Program,
    /// JSON in canonical form.
    pub(crate) params: Vec<u8>,
    /// The inputs in order.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Broadcast files.
    pub(crate) files: Arc<BTreeMap<String, Bytes>>,
    /// Where the guest's lines go.
    pub(crate) sink: Arc<dyn Sink>,
}

/// How much to look at.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// At most about so many tasks; a larger job is looked at in its beginning
    /// and its end.
    pub(crate) tasks: u64,
    /// Stop looking after this long.
    pub(crate) time: Duration,
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
    /// Whether the time was up before everything chosen was compared.
    pub(crate) cut_short: bool,
    /// The result, where all tasks were looked at.
    pub(crate) result: Option<Vec<u8>>,
}

/// Why a guest cannot be trusted with being cut, or cannot be run at all.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    /// The guest failed in this part of the job.
    #[error("{place}: {}", .failure.message)]
    Failed { place: String, failure: Failure },
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

/// Looks at a job, small blocks first, so that what it finds is the smallest.
///
/// # Errors
/// With the first fault found.
pub(crate) fn look(subject: &Subject, effort: Effort) -> Result<Findings, Fault> {
    let tree = subject.tree()?;
    let mut findings = Findings {
        tasks: tree.tasks(),
        ..Findings::default()
    };
    let end = Instant::now() + effort.time;
    let mut whole = None;
    for top in tops(tree, effort.tasks) {
        match look_under(subject, tree, top, end, &mut findings)? {
            Some(partial) => whole = Some(partial),
            None => {
                findings.cut_short = true;
                return Ok(findings);
            }
        }
    }
    if findings.looked_at == tree.tasks() {
        findings.result = Some(subject.finish(whole.unwrap_or_default())?);
    }
    Ok(findings)
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

/// Compares all blocks under `top`, level by level; its partial, or `None` when
/// the time is up.
fn look_under(
    subject: &Subject,
    tree: Tree,
    top: Node,
    end: Instant,
    findings: &mut Findings,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut below: BTreeMap<Node, Vec<u8>> = BTreeMap::new();
    for level in 0..=top.level() {
        let mut row = BTreeMap::new();
        for node in at_level(tree, top, level) {
            if Instant::now() > end {
                return Ok(None);
            }
            let whole = subject.run(tree, node, false)?;
            if let Some((left, right)) = tree.halves(node) {
                compare(
                    subject,
                    tree,
                    node,
                    &whole,
                    (&below[&left], right.map(|right| &below[&right])),
                )?;
                findings.blocks += 1;
            } else {
                findings.looked_at += 1;
            }
            row.insert(node, whole);
        }
        below = row;
    }
    Ok(below.remove(&top))
}

fn at_level(tree: Tree, top: Node, level: u8) -> impl Iterator<Item = Node> {
    let tasks = tree.range(top);
    let indices = (tasks.start >> level)..=((tasks.end - 1) >> level);
    indices.filter_map(move |index| Node::new(level, index))
}

fn compare(
    subject: &Subject,
    tree: Tree,
    node: Node,
    whole: &[u8],
    (left, right): (&Vec<u8>, Option<&Vec<u8>>),
) -> Result<(), Fault> {
    let halved = match right {
        Some(right) => subject.merge(node, left, right)?,
        None => left.clone(),
    };
    same(node, (WHOLE, whole), (HALVED, &halved))?;
    // Once a level is enough: slices end wherever a clock says so.
    if node.index() == 0 {
        let sliced = subject.run(tree, node, true)?;
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
    fn tree(&self) -> Result<Tree, Fault> {
        let mut guest = self.instance(Inputs::default(), "open")?;
        let answer = guest.open(&self.params).map_err(failed("open"))?;
        let tasks = if self.program.takes_inputs {
            Some(self.segments.iter().map(|segment| segment.tasks()).sum())
        } else {
            let json: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
            json.and_then(|json| json.get("tasks")?.as_u64())
        };
        let tree = tasks
            .filter(|tasks| *tasks <= MAX_TASKS)
            .and_then(Tree::new);
        tree.ok_or_else(|| Fault::Tasks(String::from_utf8_lossy(answer).into_owned()))
    }

    /// A block's partial, run in one slice or in slices of one task.
    fn run(&self, tree: Tree, node: Node, sliced: bool) -> Result<Vec<u8>, Fault> {
        let tasks = tree.range(node);
        let place = node.to_string();
        let mut guest = self.opened(Inputs::new(tasks.clone(), self.segments()), &place)?;
        let slice = if sliced { 1 } else { tasks.end - tasks.start };
        for first in tasks.step_by(usize::try_from(slice).unwrap_or(usize::MAX)) {
            guest.run(first, slice).map_err(failed(&place))?;
        }
        guest.take().map(<[u8]>::to_vec).map_err(failed(&place))
    }

    fn merge(&self, node: Node, left: &[u8], right: &[u8]) -> Result<Vec<u8>, Fault> {
        match self.program.merge {
            MergeMode::Concat => Ok([left, right].concat()),
            MergeMode::Reduce => {
                let place = format!("merge to {node}");
                let mut guest = self.opened(Inputs::default(), &place)?;
                guest
                    .merge(left, right)
                    .map(<[u8]>::to_vec)
                    .map_err(failed(&place))
            }
        }
    }

    fn finish(&self, partial: Vec<u8>) -> Result<Vec<u8>, Fault> {
        match self.program.merge {
            MergeMode::Concat => Ok(partial),
            MergeMode::Reduce => {
                let mut guest = self.opened(Inputs::default(), "finish")?;
                guest
                    .finish(&partial)
                    .map(<[u8]>::to_vec)
                    .map_err(failed("finish"))
            }
        }
    }

    fn opened(&self, inputs: Inputs, place: &str) -> Result<Guest, Fault> {
        let mut guest = self.instance(inputs, place)?;
        guest.open(&self.params).map_err(failed(place))?;
        Ok(guest)
    }

    fn instance(&self, inputs: Inputs, place: &str) -> Result<Guest, Fault> {
        Guest::new(
            &self.program,
            inputs,
            Arc::clone(&self.files),
            Arc::clone(&self.sink),
        )
        .map_err(failed(place))
    }

    fn segments(&self) -> Vec<(u64, Arc<Segment>)> {
        let mut first = 0;
        let with_first = self.segments.iter().map(|segment| {
            let at = first;
            first += segment.tasks();
            (at, Arc::clone(segment))
        });
        with_first.collect()
    }
}

fn failed(place: &str) -> impl FnOnce(Failure) -> Fault {
    move |failure| Fault::Failed {
        place: place.to_owned(),
        failure,
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

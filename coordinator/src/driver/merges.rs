//! Merges on their way to the compute child. A call there and back takes several times
//! what a small merge does. While the child has little to do each merge is a call, and
//! begins at once; those that come while it is busy go together.

use manyhands_engine::compute::Merge;
use manyhands_protocol::{JobId, Node};
use std::collections::VecDeque;

/// Calls under way for each slot of the child: it has the next one when one ends.
const CALLS: usize = 2;

/// The most merges of one call, and their partials' bytes, past the first one: whoever
/// waits for one of them waits for all.
const MERGES: usize = 64;
const BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Merges {
    /// In the order in which they were asked for.
    waiting: VecDeque<(JobId, Node, Merge)>,
    /// Calls that may be made besides those under way.
    free: usize,
}

impl Merges {
    /// For a child with so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            free: slots * CALLS,
        }
    }

    pub(super) fn add(&mut self, job: JobId, node: Node, merge: Merge) {
        self.waiting.push_back((job, node, merge));
    }

    /// The job is over: nobody waits for its merges.
    pub(super) fn forget(&mut self, job: JobId) {
        self.waiting.retain(|(of, ..)| *of != job);
    }

    /// What the next call is to merge, if it is to be made now: a fair part of what
    /// waits, as long as it is of one job.
    pub(super) fn next_call(&mut self) -> Option<(JobId, Vec<(Node, Merge)>)> {
        if self.free == 0 {
            return None;
        }
        let most = self.waiting.len().div_ceil(self.free).min(MERGES);
        let job = self.waiting.front()?.0;
        let (mut merges, mut bytes) = (Vec::new(), 0);
        while merges.len() < most
            && let Some((_, node, merge)) = self.waiting.pop_front_if(|(of, _, merge)| {
                let with = bytes + len(merge);
                let fits = *of == job && (with <= BYTES || bytes == 0);
                bytes = if fits { with } else { bytes };
                fits
            })
        {
            merges.push((node, merge));
        }
        self.free -= 1;
        Some((job, merges))
    }

    pub(super) fn call_ended(&mut self) {
        self.free += 1;
    }
}

/// The bytes of a merge's partials.
fn len(merge: &Merge) -> usize {
    merge
        .operands
        .iter()
        .map(|operand| operand.partial.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;

    fn merge(bytes: usize) -> Merge {
        Merge::two(Bytes::from(vec![0; bytes]), Bytes::new())
    }

    /// The job and the nodes of each call that can be made now.
    fn calls(merges: &mut Merges) -> Vec<(u64, Vec<u64>)> {
        let calls = std::iter::from_fn(|| merges.next_call());
        calls
            .map(|(job, merges)| {
                let nodes = merges.into_iter().map(|(node, _)| node.first());
                (job.0, nodes.collect())
            })
            .collect()
    }

    fn add(merges: &mut Merges, job: u64, nodes: std::ops::Range<u64>, bytes: usize) {
        for node in nodes {
            merges.add(JobId(job), Node::leaf(node), merge(bytes));
        }
    }

    #[test]
    fn what_comes_while_the_child_is_busy_goes_together() {
        let mut merges = Merges::new(1);
        add(&mut merges, 1, 0..2, 8);
        assert_eq!(calls(&mut merges), [(1, vec![0]), (1, vec![1])]);
        add(&mut merges, 1, 2..7, 8);
        assert!(calls(&mut merges).is_empty());
        merges.call_ended();
        assert_eq!(calls(&mut merges), [(1, vec![2, 3, 4, 5, 6])]);
        // Two calls share what waits.
        add(&mut merges, 1, 7..10, 8);
        merges.call_ended();
        merges.call_ended();
        assert_eq!(calls(&mut merges), [(1, vec![7, 8]), (1, vec![9])]);
    }

    #[test]
    fn a_call_has_one_job_and_bounds() {
        let mut merges = Merges::new(1);
        add(&mut merges, 1, 0..2, 8);
        calls(&mut merges);
        add(&mut merges, 1, 0..2, 8);
        add(&mut merges, 2, 2..4, 200 << 10);
        add(&mut merges, 3, 4..6, 300 << 10);
        add(&mut merges, 4, 0..70, 8);
        let mut made = Vec::new();
        while !merges.waiting.is_empty() {
            merges.call_ended();
            made.extend(calls(&mut merges));
        }
        let (first, last) = ((0..64).collect(), (64..70).collect());
        let expected = [
            (1, vec![0, 1]),
            (2, vec![2]),
            (2, vec![3]),
            (3, vec![4]),
            (3, vec![5]),
            (4, first),
            (4, last),
        ];
        assert_eq!(made, expected);
    }

    #[test]
    fn nobody_merges_for_a_job_that_is_over() {
        let mut merges = Merges::new(1);
        add(&mut merges, 1, 0..1, 8);
        add(&mut merges, 2, 1..2, 8);
        merges.forget(JobId(1));
        assert_eq!(calls(&mut merges), [(2, vec![1])]);
    }
}

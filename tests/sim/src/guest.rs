//! The guests: pure functions from tasks to bytes, and what one thread alone
//! makes of a whole job. Their merge is neither commutative nor associative, and
//! a partial says which tasks it is of, so that a wrong tree shows.

use crate::rng::mix;
use bytes::Bytes;
use manyhands_protocol::{MergeMode, Node, Tree};

/// A job's guest with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) merge: MergeMode,
    pub(crate) tasks: u64,
    /// What its numbers come from.
    pub(crate) salt: u64,
    /// `reduce`: aligned runs of `2^grain` tasks give the same number, so that a
    /// node of so many is computed in as many steps: jobs may be large.
    pub(crate) grain: u8,
    /// `concat`: a task gives up to so many bytes.
    pub(crate) most_bytes: u64,
    /// Slot time of a task on a machine of speed 1, in nanoseconds.
    pub(crate) task_ns: u64,
    /// A task that fails wherever it runs.
    pub(crate) poison: Option<u64>,
}

/// A `reduce` partial, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sum {
    first: u64,
    count: u64,
    hash: u64,
}

impl Sum {
    fn encode(self) -> Bytes {
        let words = [self.first, self.count, self.hash];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let words: &[[u8; 8]; 3] = match bytes.as_chunks::<8>() {
            (words, []) => words
                .try_into()
                .map_err(|_| "a partial of a wrong length")?,
            _ => return Err("a partial of a wrong length".into()),
        };
        let [first, count, hash] = words.map(u64::from_le_bytes);
        Ok(Self { first, count, hash })
    }

    /// Left before right, and side by side, or it is an error.
    fn join(self, right: Self) -> Result<Self, String> {
        if self.first + self.count != right.first {
            return Err(format!("{self:?} was merged with {right:?}"));
        }
        Ok(Self {
            first: self.first,
            count: self.count + right.count,
            hash: join_hash(self.hash, self.count, right.hash, right.count),
        })
    }
}

fn join_hash(left: u64, left_count: u64, right: u64, right_count: u64) -> u64 {
    let left = mix(left ^ left_count.rotate_left(32));
    mix(left.rotate_left(7) ^ mix(right.wrapping_add(right_count)))
}

impl Guest {
    fn tree(&self) -> Tree {
        Tree::new(self.tasks).expect("a job that was made here")
    }

    /// The partial of a node, as a slot computes it.
    pub(crate) fn run(&self, node: Node) -> Bytes {
        match self.merge {
            MergeMode::Reduce => self.sum(node).encode(),
            MergeMode::Concat => {
                let mut bytes = Vec::new();
                for task in self.tree().range(node) {
                    self.append(task, &mut bytes);
                }
                bytes.into()
            }
        }
    }

    fn number(&self, task: u64) -> u64 {
        mix(self.salt ^ (task >> self.grain))
    }

    fn sum(&self, node: Node) -> Sum {
        let tasks = self.tree().range(node);
        let (first, count) = (tasks.start, tasks.end - tasks.start);
        if count == 1 {
            let hash = self.number(first);
            return Sum { first, count, hash };
        }
        if node.level() <= self.grain && count == 1 << node.level() {
            // All its tasks give the same number.
            let mut hash = self.number(first);
            for level in 0..node.level() {
                hash = join_hash(hash, 1 << level, hash, 1 << level);
            }
            return Sum { first, count, hash };
        }
        let (left, right) = node.halves().expect("more than one task");
        if right.first() >= self.tasks {
            return self.sum(left);
        }
        let joined = self.sum(left).join(self.sum(right));
        joined.expect("siblings lie side by side")
    }

    /// Appends a task's bytes to a `concat` result.
    pub(crate) fn append(&self, task: u64, to: &mut Vec<u8>) {
        let mut number = mix(self.salt ^ task);
        let len = match number % 7 {
            0 => 0,
            1 => self.most_bytes,
            _ => (number >> 8) % (self.most_bytes + 1),
        };
        let end = to.len() + len as usize;
        while to.len() < end {
            number = mix(number);
            let left = (end - to.len()).min(8);
            to.extend_from_slice(&number.to_le_bytes()[..left]);
        }
    }

    /// Merges two siblings' partials.
    pub(crate) fn merge(&self, left: &[u8], right: &[u8]) -> Result<Bytes, String> {
        let joined = Sum::decode(left)?.join(Sum::decode(right)?)?;
        Ok(joined.encode())
    }

    /// The result, from the root's partial.
    pub(crate) fn finish(&self, partial: &[u8]) -> Bytes {
        let mut result = b"result:".to_vec();
        result.extend_from_slice(partial);
        result.into()
    }

    /// The whole result as one thread computes it.
    pub(crate) fn expected(&self) -> Bytes {
        match (self.merge, self.tree().root()) {
            (MergeMode::Reduce, None) => self.finish(&[]),
            (MergeMode::Reduce, Some(root)) => self.finish(&self.sum(root).encode()),
            (MergeMode::Concat, _) => {
                let mut bytes = Vec::new();
                for task in 0..self.tasks {
                    self.append(task, &mut bytes);
                }
                bytes.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(tasks: u64, grain: u8) -> Guest {
        Guest {
            merge: MergeMode::Reduce,
            tasks,
            salt: 7,
            grain,
            most_bytes: 0,
            task_ns: 1,
            poison: None,
        }
    }

    /// The tree by recursion over ranges, without nodes.
    fn plain(guest: &Guest, first: u64, width: u64) -> Option<Sum> {
        if first >= guest.tasks {
            return None;
        }
        if width == 1 {
            let hash = guest.number(first);
            let count = 1;
            return Some(Sum { first, count, hash });
        }
        let left = plain(guest, first, width / 2)?;
        match plain(guest, first + width / 2, width / 2) {
            Some(right) => Some(left.join(right).unwrap()),
            None => Some(left),
        }
    }

    #[test]
    fn large_nodes_are_what_their_tasks_come_to() {
        for (tasks, grain) in [(1, 0), (11, 0), (1000, 3), (1024, 10), (5000, 4), (777, 12)] {
            let guest = guest(tasks, grain);
            let sum = plain(&guest, 0, tasks.next_power_of_two()).unwrap();
            assert_eq!(
                guest.expected(),
                guest.finish(&sum.encode()),
                "{tasks} {grain}"
            );
            assert_eq!((sum.first, sum.count), (0, tasks));
        }
    }

    #[test]
    fn a_merge_in_the_wrong_order_shows() {
        let guest = guest(4, 2);
        let [left, right] = [0, 1].map(|task| guest.run(Node::leaf(task)));
        assert!(guest.merge(&left, &right).is_ok());
        assert!(guest.merge(&right, &left).is_err());
        assert!(guest.merge(&left, &left).is_err());
    }
}

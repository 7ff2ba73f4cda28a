//! What Wasm costs: the examples' own code, compiled with this program, on rayon
//! threads, in the blocks in which `in_process` runs the module.

use crate::in_process;
use manyhands_engine::runtime::SLOT_STACK;
use manyhands_guest_sdk::__private::{Job as NativeJob, Program};
use manyhands_protocol::{Node, Tree};
use manyhands_tests::jobs::Job;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// How `MERGE_MODE` says that the guest merges.
const REDUCE: u8 = 0;

/// Runs the job, which is a `J`, on `threads` threads; the time, and the bytes.
pub(crate) fn run<J: NativeJob>(job: &Job, threads: u16) -> (Duration, Vec<u8>) {
    let params = job.params.to_string();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .stack_size(SLOT_STACK)
        .build();
    let start = Instant::now();
    let (_, answer) = J::Program::open(params.as_bytes()).expect("the job opens");
    let answer: serde_json::Value = serde_json::from_slice(&answer[1..]).expect("JSON");
    let tasks = answer["tasks"].as_u64().expect("open answers tasks");
    let tree = Tree::new(tasks).expect("at most 2^62 tasks");
    let native = Native {
        params: params.as_bytes(),
        tree,
        level: (tasks / in_process::blocks(threads)).max(1).ilog2() as u8,
        program: PhantomData::<fn() -> J::Program>,
    };
    let root = tree.root().expect("a job with tasks");
    let partial = pool.expect("threads start").install(|| native.node(root));
    let bytes = match J::Program::MERGE_MODE {
        REDUCE => value(native.opened().finish(&partial)),
        _ => partial,
    };
    (start.elapsed(), bytes)
}

struct Native<'a, P> {
    params: &'a [u8],
    tree: Tree,
    /// Of the blocks.
    level: u8,
    program: PhantomData<fn() -> P>,
}

impl<P: Program> Native<'_, P> {
    fn opened(&self) -> P {
        P::open(self.params).expect("the job opens").0
    }

    /// The node's partial, whose halves threads take as they are free.
    fn node(&self, node: Node) -> Vec<u8> {
        let halves = (node.level() > self.level).then(|| self.tree.halves(node));
        match halves.flatten() {
            None => self.block(node),
            Some((left, None)) => self.node(left),
            Some((left, Some(right))) => {
                let (left, right) = rayon::join(|| self.node(left), || self.node(right));
                match P::MERGE_MODE {
                    REDUCE => value(self.opened().merge(&left, &right)),
                    _ => [left, right].concat(),
                }
            }
        }
    }

    fn block(&self, node: Node) -> Vec<u8> {
        let range = self.tree.range(node);
        let mut instance = self.opened();
        let ran = instance.run(range.start, range.end - range.start);
        ran.expect("the block runs");
        value(instance.take())
    }
}

/// An answer without its status byte.
fn value<E: std::fmt::Debug>(answer: Result<Vec<u8>, E>) -> Vec<u8> {
    let mut answer = answer.expect("it answers");
    answer.remove(0);
    answer
}

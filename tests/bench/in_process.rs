//! The base of all ratios: the same module on rayon threads of one process,
//! with the runtime that the compute child uses and nothing around it.

use manyhands_engine::runtime::{Guest, Inputs, Program, Runtime, SLOT_STACK, Settings, Silent};
use manyhands_protocol::limits::DEFAULT_MEMORY;
use manyhands_protocol::{MergeMode, MergeTree, Node, Sequence, Step, Tree};
use manyhands_tests::jobs::Job;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks a thread: enough that uneven ones even out.
const BLOCKS_PER_THREAD: u64 = 32;

struct InProcess {
    program: Program,
    params: Vec<u8>,
}

impl InProcess {
    fn guest(&self) -> Guest {
        let files = Arc::new(BTreeMap::new());
        let guest = Guest::new(&self.program, Inputs::default(), files, Arc::new(Silent));
        guest.expect("the guest starts")
    }

    fn opened(&self) -> (Guest, u64) {
        let mut guest = self.guest();
        let answer = guest.open(&self.params).expect("the guest opens");
        let answer: serde_json::Value = serde_json::from_slice(answer).expect("open answers JSON");
        let tasks = answer["tasks"].as_u64().expect("open answers tasks");
        (guest, tasks)
    }

    fn block(&self, tree: Tree, node: Node) -> Vec<u8> {
        let (mut guest, _) = self.opened();
        let range = tree.range(node);
        guest
            .run(range.start, range.end - range.start)
            .expect("the block runs");
        guest.take().expect("the block ends").to_vec()
    }

    fn reduce(&self, tree: Tree, partials: Vec<(Node, Vec<u8>)>) -> Vec<u8> {
        let mut merging = MergeTree::new(tree, tree.root().expect("a job with tasks"));
        for (node, partial) in partials {
            let mut step = merging.insert(node, partial);
            while let Step::Merge { node, left, right } = step {
                let (mut guest, _) = self.opened();
                step = merging.merged(node, guest.merge(&left, &right).expect("merges").to_vec());
            }
            if let Step::Top(partial) = step {
                let (mut guest, _) = self.opened();
                return guest.finish(&partial).expect("finishes").to_vec();
            }
        }
        panic!("the blocks cover the tree");
    }
}

/// Runs the job on `threads` threads; the time without compiling, and the bytes.
pub(crate) fn run(job: &Job, threads: u16) -> (Duration, Vec<u8>) {
    let settings = Settings {
        slots: usize::from(threads) + 1,
        cache: None,
    };
    let runtime = Runtime::new(&settings).expect("wasmtime starts");
    let wasm = std::fs::read(job.module()).expect("the guest is built");
    let program = runtime
        .load(&wasm, DEFAULT_MEMORY)
        .expect("the guest is admitted");
    let here = InProcess {
        program,
        params: job.params.to_string().into_bytes(),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .stack_size(SLOT_STACK)
        .start_handler(|_| Runtime::prepare_thread())
        .build();
    pool.expect("threads start").install(|| {
        let start = Instant::now();
        let tree = Tree::new(here.opened().1).expect("at most 2^62 tasks");
        let blocks = (u64::from(threads) * BLOCKS_PER_THREAD).next_power_of_two();
        let level = (tree.tasks() / blocks).max(1).ilog2() as u8;
        let count = tree.tasks().div_ceil(1 << level);
        let nodes = (0..count)
            .into_par_iter()
            .map(|index| Node::new(level, index).expect("in the tree"));
        let partials: Vec<_> = nodes.map(|node| (node, here.block(tree, node))).collect();
        let bytes = match here.program.merge {
            MergeMode::Reduce => here.reduce(tree, partials),
            MergeMode::Concat => {
                let mut sequence = Sequence::new(tree);
                let ready = partials
                    .into_iter()
                    .flat_map(|(node, bytes)| sequence.insert(node, bytes));
                ready.collect::<Vec<_>>().concat()
            }
        };
        (start.elapsed(), bytes)
    })
}

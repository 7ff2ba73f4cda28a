//! The base of all ratios: the same module on rayon threads of one process,
//! with the runtime that the compute child uses and nothing around it.

use manyhands_engine::runtime::{
    Guest, Inputs, Program, Runtime, SLOT_STACK, Segment, Settings, Silent,
};
use manyhands_protocol::limits::DEFAULT_MEMORY;
use manyhands_protocol::{MergeMode, Node, Sequence, Tree};
use manyhands_tests::jobs::Job;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks a thread: enough that uneven ones even out.
const BLOCKS_PER_THREAD: u64 = 32;

/// The same where each block leaves a large partial to be merged: of 256 MiB of
/// text, 2 and 4 took 1.3 s on two threads, 8 took 1.2 s, 16 took 1.1 s.
const BLOCKS_PER_THREAD_OF_INPUT: u64 = 16;

/// Into how many blocks a job without an input is cut.
pub(crate) fn blocks(threads: u16) -> u64 {
    (u64::from(threads) * BLOCKS_PER_THREAD).next_power_of_two()
}

/// A compiled module on threads of this process.
pub(crate) struct InProcess {
    program: Program,
    params: Vec<u8>,
    /// Cut before anything is measured, each with its first task.
    segments: Vec<(u64, Arc<Segment>)>,
    pool: rayon::ThreadPool,
}

impl InProcess {
    /// Compiles the job's module; `segments` are its input, which is in memory.
    pub(crate) fn new(job: &Job, segments: Vec<Arc<Segment>>, threads: u16) -> Self {
        let settings = Settings {
            slots: usize::from(threads) + 1,
            cache: None,
        };
        let runtime = Runtime::new(&settings).expect("wasmtime starts");
        let wasm = std::fs::read(job.module()).expect("the guest is built");
        let program = runtime
            .load(&wasm, DEFAULT_MEMORY)
            .expect("the guest is admitted");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .stack_size(SLOT_STACK)
            .start_handler(|_| Runtime::prepare_thread())
            .build();
        let mut first = 0;
        let segments = segments.into_iter().map(|segment| {
            let at = first;
            first += segment.tasks();
            (at, segment)
        });
        Self {
            program,
            params: job.params.to_string().into_bytes(),
            segments: segments.collect(),
            pool: pool.expect("threads start"),
        }
    }

    /// Runs the job; the time it took, and the bytes.
    pub(crate) fn run(&self) -> (Duration, Vec<u8>) {
        self.pool.install(|| {
            let start = Instant::now();
            let tree = Tree::new(self.tasks()).expect("at most 2^62 tasks");
            let each = match self.segments.is_empty() {
                true => BLOCKS_PER_THREAD,
                false => BLOCKS_PER_THREAD_OF_INPUT,
            };
            let blocks = (self.pool.current_num_threads() as u64 * each).next_power_of_two();
            let level = (tree.tasks() / blocks).max(1).ilog2() as u8;
            let bytes = match self.program.merge {
                MergeMode::Reduce => {
                    let root = tree.root().expect("a job with tasks");
                    let partial = self.reduced(tree, root, level);
                    let (mut guest, _) = self.opened(Inputs::default());
                    guest.finish(&partial).expect("finishes").to_vec()
                }
                MergeMode::Concat => self.joined(tree, level),
            };
            (start.elapsed(), bytes)
        })
    }

    fn opened(&self, inputs: Inputs) -> (Guest, serde_json::Value) {
        let files = Arc::new(BTreeMap::new());
        let guest = Guest::new(&self.program, inputs, files, Arc::new(Silent));
        let mut guest = guest.expect("the guest starts");
        let answer = guest.open(&self.params).expect("the guest opens");
        let answer = serde_json::from_slice(answer).expect("open answers JSON");
        (guest, answer)
    }

    fn tasks(&self) -> u64 {
        match self.segments.last() {
            Some((first, last)) => first + last.tasks(),
            None => {
                let (_, answer) = self.opened(Inputs::default());
                answer["tasks"].as_u64().expect("open answers tasks")
            }
        }
    }

    fn block(&self, tree: Tree, node: Node) -> Vec<u8> {
        let range = tree.range(node);
        let inputs = Inputs::new(range.clone(), self.segments.clone());
        let (mut guest, _) = self.opened(inputs);
        guest
            .run(range.start, range.end - range.start)
            .expect("the block runs");
        guest.take().expect("the block ends").to_vec()
    }

    /// The node's partial: of one instance at `level` and below, else merged from
    /// its halves, which threads take as they are free.
    fn reduced(&self, tree: Tree, node: Node, level: u8) -> Vec<u8> {
        let halves = (node.level() > level).then(|| tree.halves(node)).flatten();
        match halves {
            None => self.block(tree, node),
            Some((left, None)) => self.reduced(tree, left, level),
            Some((left, Some(right))) => {
                let (left, right) = rayon::join(
                    || self.reduced(tree, left, level),
                    || self.reduced(tree, right, level),
                );
                let (mut guest, _) = self.opened(Inputs::default());
                guest.merge(&left, &right).expect("merges").to_vec()
            }
        }
    }

    fn joined(&self, tree: Tree, level: u8) -> Vec<u8> {
        let nodes = (0..tree.tasks().div_ceil(1 << level))
            .into_par_iter()
            .map(|index| Node::new(level, index).expect("in the tree"));
        let partials: Vec<_> = nodes.map(|node| (node, self.block(tree, node))).collect();
        let mut sequence = Sequence::new(tree);
        let ready = partials
            .into_iter()
            .flat_map(|(node, bytes)| sequence.insert(node, bytes));
        ready.collect::<Vec<_>>().concat()
    }
}

/// Runs a job without an input on `threads` threads; the time without compiling,
/// and the bytes.
pub(crate) fn run(job: &Job, threads: u16) -> (Duration, Vec<u8>) {
    InProcess::new(job, Vec::new(), threads).run()
}

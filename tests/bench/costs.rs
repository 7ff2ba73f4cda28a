//! What a compute child's work costs beside the tasks themselves: a piece, a merge, and
//! each merge more in the same call, there and back. `manyhands_sim::fleet` assumes what
//! is measured here.

use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median, quantile};
use crate::threads;
use bytes::Bytes;
use futures_util::StreamExt;
use manyhands_engine::admit::admit;
use manyhands_engine::compute::{Compute, Config, Event, Events, JobSpec, Merge, Work};
use manyhands_protocol::limits::DEFAULT_MEMORY;
use manyhands_protocol::{JobId, Operand};
use manyhands_tests::files;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const JOB: JobId = JobId(1);

/// Cheap ones, more than are ever asked for.
const TASKS: u64 = 1 << 40;

/// A piece that no round outlasts.
const LONG: u64 = 1 << 38;

/// Merges of the longer calls past the first one.
const MORE: usize = 32;

/// What a call found cold is not measured.
const WARM_UP: usize = 100;

/// What does not come within this time is lost.
const LOST: Duration = Duration::from_secs(60);

/// What one round measured, in microseconds.
struct Costs {
    pieces: Vec<f64>,
    merges: Vec<f64>,
    /// While another call is under way all the time.
    pairs: Vec<f64>,
    more: f64,
}

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let times = plan.work(5000, 50);
        // As the driver is: on a thread that tasks share.
        rounds.push(tokio::spawn(measure(times)).await.expect("it measures"));
    }
    let busy = "while all other slots are at work";
    trips(table, "a piece of one cheap task", busy, &rounds, |costs| {
        &costs.pieces
    });
    let idle = "in a child that has nothing else to do";
    trips(table, "a merge", idle, &rounds, |costs| &costs.merges);
    let pair = "while another call is under way";
    trips(table, "one of two merges", pair, &rounds, |costs| {
        &costs.pairs
    });
    let more: Vec<f64> = rounds.iter().map(|costs| costs.more).collect();
    let what = "each further merge in the same call";
    let note = format!("partials of a few bytes, {MORE} further merges");
    table.add(Row::of("costs", what, Unit::Microseconds, &more).note(note));
}

/// The first decile, the median and the last decile of each round.
fn trips(
    table: &mut Table,
    what: &str,
    note: &str,
    rounds: &[Costs],
    of: impl Fn(&Costs) -> &Vec<f64>,
) {
    for (part, name) in [(0.1, "10 %"), (0.5, "median"), (0.9, "90 %")] {
        let samples = rounds.iter().map(|costs| quantile(of(costs), part));
        let samples: Vec<f64> = samples.collect();
        let what = format!("{what}, there and back, {name}");
        table.add(Row::of("costs", what, Unit::Microseconds, &samples).note(note));
    }
}

async fn measure(times: usize) -> Costs {
    let config = Config {
        program: files::manyhands().to_owned(),
        args: vec!["compute-child".into()],
        slots: usize::from(threads()),
        cache: None,
    };
    let (compute, events) = Compute::spawn(config).expect("the child starts");
    let mut child = Child {
        compute,
        events,
        last: 0,
    };
    child.load();
    for slot in 1..child.compute.slots() {
        child.begin(slot, 0..LONG);
    }
    let mut pieces = Vec::new();
    let mut partials = Vec::new();
    for at in 0..WARM_UP + times {
        let first = LONG + at as u64;
        let start = Instant::now();
        partials.push(child.run(first..first + 1).await);
        pieces.push(micros(start));
    }
    for slot in 1..child.compute.slots() {
        child.stop(slot).await;
    }
    let (mut merges, mut longer) = (Vec::new(), Vec::new());
    let partial = |at: usize| partials[at % partials.len()].clone();
    for at in 0..WARM_UP + times {
        let mut operands = Operand::two(partial(at), partial(at + 1));
        merges.push(child.merge(operands.clone()).await);
        operands.extend((2..2 + MORE).map(|further| Operand::new(partial(at + further), 1)));
        longer.push(child.merge(operands).await);
    }
    let mut pairs = Vec::new();
    let calls =
        (0..WARM_UP + times).map(|at| child.merge(Operand::two(partial(at), partial(at + 1))));
    let mut calls = futures_util::stream::iter(calls).buffer_unordered(2);
    while let Some(took) = calls.next().await {
        pairs.push(took);
    }
    let more = (median(&longer[WARM_UP..]) - median(&merges[WARM_UP..])) / MORE as f64;
    Costs {
        pieces: pieces.split_off(WARM_UP),
        merges: merges.split_off(WARM_UP),
        pairs: pairs.split_off(WARM_UP),
        more,
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

struct Child {
    compute: Compute,
    events: Events,
    /// The last piece's id.
    last: u64,
}

impl Child {
    fn load(&self) {
        let wasm = std::fs::read(files::guest("pi")).expect("the guest was built");
        let admitted = admit(&wasm, DEFAULT_MEMORY).expect("the guest is admitted");
        let params = json!({ "samples": TASKS, "samples_per_task": 1 });
        let spec = JobSpec {
            wasm: admitted.wasm,
            module: admitted.hash,
            params: params.to_string().into(),
            memory_limit: DEFAULT_MEMORY,
            task_timeout: LOST,
            split: None,
            files: BTreeMap::new(),
        };
        self.compute.load(JOB, spec);
    }

    fn begin(&mut self, slot: usize, tasks: std::ops::Range<u64>) {
        self.last += 1;
        let work = Work::Run {
            tasks,
            single_step: false,
            segments: Vec::new(),
        };
        self.compute.submit(slot, self.last, JOB, work);
    }

    /// Runs a piece on the first slot.
    async fn run(&mut self, tasks: std::ops::Range<u64>) -> Bytes {
        self.begin(0, tasks);
        loop {
            match self.event().await {
                Event::Done { bytes, .. } => return bytes,
                Event::Loaded { .. } | Event::Progress { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn stop(&mut self, slot: usize) {
        self.compute.cancel(slot);
        loop {
            match self.event().await {
                Event::Stopped { .. } => return,
                Event::Progress { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(LOST, self.events.next()).await;
        event.expect("the child answers").expect("it is held")
    }

    /// How long it took, in microseconds.
    async fn merge(&self, operands: Vec<Operand<Bytes>>) -> f64 {
        let merge = Merge { operands };
        let start = Instant::now();
        let merged = self.compute.call(JOB, Work::Merge(merge)).await;
        let took = micros(start);
        assert!(!merged.expect("they can be merged").is_empty());
        took
    }
}

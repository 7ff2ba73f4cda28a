//! How many completed blocks the coordinator takes in, each a lease, a partial that
//! is recorded, a receipt and the next grant, when workers cost nothing.

use crate::coordinator::{Coordinator, SINGLE_TASKS};
use crate::guests::guest;
use crate::machine;
use crate::plan::Plan;
use crate::stand_in::{News, Role, StandIn};
use crate::table::{Row, Table, Unit, median};
use manyhands_protocol::MergeMode;
use manyhands_tests::cluster::workers;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Small partials that claim to have taken long: every one is recorded.
const ROLE: Role = Role {
    slots: 8,
    bytes_per_task: 8,
    busy_us: 50_000,
};

/// Machines of eight slots each.
const WORKERS: usize = 32;

/// More than are ever asked for.
const TASKS: u64 = 1 << 40;

/// The goal, for each second of one core.
const GOAL: f64 = 60_000.0;

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(folder.path(), &SINGLE_TASKS).await;
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(StandIn::join(&coordinator.address, ROLE).await));
    }
    coordinator
        .submit(guest(MergeMode::Concat, TASKS), json!({}))
        .await;
    let measured = tokio::select! {
        measured = windows(&coordinator, plan) => measured,
        ended = workers.join_next() => panic!("a worker ended early: {ended:?}"),
    };
    workers.shutdown().await;
    let Windows {
        wall,
        cpu,
        cores,
        recorded,
    } = measured;
    let note = format!(
        "on {:.2} cores; {WORKERS} workers with {} slots, 8 bytes a block",
        median(&cores),
        ROLE.slots
    );
    let what = "blocks completed, a second of the clock";
    table.add(Row::of("blocks", what, Unit::PerSecond, &wall).note(note));
    let what = "blocks completed, a second of one core";
    let row = Row::of("blocks", what, Unit::PerSecond, &cpu).at_least(GOAL);
    let note = format!(
        "{:.0} % recorded; the coordinator's time, the kernel's part included",
        100.0 * median(&recorded)
    );
    table.add(row.note(note));
    coordinator.kill().await;
}

/// What each stretch of time measured.
#[derive(Default)]
pub(crate) struct Windows {
    pub(crate) wall: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
    pub(crate) cores: Vec<f64>,
    pub(crate) recorded: Vec<f64>,
}

pub(crate) async fn windows(coordinator: &Coordinator, plan: &Plan) -> Windows {
    let length = Duration::from_millis(plan.work(5000, 1000));
    let mut windows = Windows::default();
    // Until block sizes and connections have settled.
    tokio::time::sleep(length / 2).await;
    let mut before = Moment::now(coordinator).await;
    for _ in 0..plan.rounds {
        tokio::time::sleep(length).await;
        let after = Moment::now(coordinator).await;
        let blocks = (after.blocks - before.blocks) as f64;
        assert!(blocks > 0.0, "no block was completed within {length:?}");
        let wall = after.at.duration_since(before.at).as_secs_f64();
        let cpu = after.cpu - before.cpu;
        windows.wall.push(blocks / wall);
        windows.cpu.push(blocks / cpu);
        windows.cores.push(cpu / wall);
        windows
            .recorded
            .push((after.recorded - before.recorded) / blocks);
        before = after;
    }
    windows
}

struct Moment {
    at: Instant,
    blocks: u64,
    recorded: f64,
    cpu: f64,
}

impl Moment {
    async fn now(coordinator: &Coordinator) -> Self {
        let workers = workers(&coordinator.client).await;
        Self {
            at: Instant::now(),
            blocks: workers.iter().map(|worker| worker.blocks).sum(),
            recorded: coordinator.metric("manyhands_recorded_total").await,
            cpu: machine::cpu_seconds(coordinator.process()),
        }
    }
}

/// Answers every grant at once, as long as the job goes on.
async fn work(mut worker: StandIn) {
    loop {
        let mut news = Some(worker.next().await);
        while let Some(one) = news {
            match one {
                News::Granted(grant) => worker.answer(grant).await,
                News::Forgotten => return,
                News::Accepted(_) | News::Revoked(_) | News::Noted => {}
            }
            news = worker.ready().await;
        }
    }
}

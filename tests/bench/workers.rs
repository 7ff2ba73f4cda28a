//! Ten thousand workers at once: how soon they are in, what they cost, whether
//! each has something to do, and whether people are still answered.

use crate::coordinator::Coordinator;
use crate::guests::guest;
use crate::plan::Plan;
use crate::stand_in::{Grant, News, Role, StandIn};
use crate::table::{Row, Table, Unit, median, quantile};
use crate::{looks, machine};
use futures_util::StreamExt;
use manyhands_protocol::MergeMode;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// One thread each, whose tasks take a second: blocks are single tasks then.
const ROLE: Role = Role {
    slots: 1,
    bytes_per_task: 8,
    busy_us: TASK.as_micros() as u64,
};
const TASK: Duration = Duration::from_secs(1);

/// Connections being opened at the same time.
const AT_ONCE: usize = 128;

/// More tasks than are ever asked for.
const TASKS: u64 = 1 << 40;

/// Files that a process has open besides its connections.
const OTHER_FILES: u64 = 100;

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let count: usize = plan.work(10_000, 200);
    let may_open = machine::raise_open_files();
    assert!(
        may_open >= count as u64 + OTHER_FILES,
        "{count} connections, where a process may open {may_open} files: raise `ulimit -Hn`"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(folder.path(), &[]).await;
    let crowd = join(&coordinator, count, table).await;
    coordinator
        .submit(guest(MergeMode::Concat, TASKS), json!({}))
        .await;
    let mut workers = JoinSet::new();
    let mut idling = Vec::new();
    for worker in crowd {
        let idle = Arc::new(Idle::default());
        idling.push(Arc::clone(&idle));
        workers.spawn(work(worker, idle));
    }
    tokio::select! {
        () = windows(&coordinator, &idling, plan, table) => {}
        ended = workers.join_next() => panic!("a worker ended early: {ended:?}"),
    }
    workers.shutdown().await;
    coordinator.kill().await;
}

/// All of them, welcomed.
async fn join(coordinator: &Coordinator, count: usize, table: &mut Table) -> Vec<StandIn> {
    let start = Instant::now();
    let joining = (0..count).map(|_| StandIn::join(&coordinator.address, ROLE));
    let joining = futures_util::stream::iter(joining).buffer_unordered(AT_ONCE);
    let crowd: Vec<StandIn> = joining.collect().await;
    let took = start.elapsed().as_secs_f64();
    let status = coordinator.client.status().await.expect("a status");
    assert_eq!(status.workers, count as u64, "workers that joined");
    let row = Row::of(
        "workers",
        format!("{count} joined in"),
        Unit::Seconds,
        &[took],
    );
    let resident = machine::resident_mb(coordinator.process());
    table.add(row.at_most(5.0).note(format!("{resident:.0} MB then")));
    crowd
}

/// How long a worker had nothing to do.
#[derive(Default)]
struct Idle {
    total_us: AtomicU64,
    /// Since when it has been so, in microseconds after the first of all
    /// [`clock`] readings; 0 while it computes.
    since_us: AtomicU64,
}

impl Idle {
    fn begin(&self) {
        self.since_us.store(clock(), Ordering::Relaxed);
    }

    fn end(&self) {
        let since = self.since_us.swap(0, Ordering::Relaxed);
        if since > 0 {
            self.total_us.fetch_add(clock() - since, Ordering::Relaxed);
        }
    }

    fn so_far(&self) -> u64 {
        let since = self.since_us.load(Ordering::Relaxed);
        let now = if since > 0 { clock() - since } else { 0 };
        self.total_us.load(Ordering::Relaxed) + now
    }
}

/// Microseconds since it was first read, and one.
fn clock() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64 + 1
}

/// Computes one block after the other, as a worker of one thread does, but by a
/// timer.
async fn work(worker: StandIn, idle: Arc<Idle>) {
    idle.begin();
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    let mut at_work = AtWork {
        worker,
        idle,
        queue: VecDeque::new(),
        computing: None,
    };
    loop {
        tokio::select! {
            news = at_work.worker.next() => {
                let mut news = Some(news);
                while let Some(one) = news {
                    at_work.note(one);
                    news = at_work.worker.ready().await;
                }
            }
            () = &mut timer, if at_work.computing.is_some() => at_work.done().await,
        }
        at_work.begin(timer.as_mut());
    }
}

struct AtWork {
    worker: StandIn,
    idle: Arc<Idle>,
    queue: VecDeque<Grant>,
    computing: Option<Grant>,
}

impl AtWork {
    fn note(&mut self, news: News) {
        match news {
            News::Granted(grant) => self.queue.push_back(grant),
            News::Revoked(lease) => {
                self.queue.retain(|grant| grant.lease != lease);
                if self.computing.is_some_and(|grant| grant.lease == lease) {
                    self.computing = None;
                    self.idle.begin();
                }
            }
            News::Forgotten => panic!("the job ended before the measurement"),
            News::Accepted(_) | News::Noted => {}
        }
    }

    async fn done(&mut self) {
        let grant = self.computing.take().expect("the timer ran for it");
        self.idle.begin();
        self.worker.answer(grant).await;
    }

    fn begin(&mut self, timer: std::pin::Pin<&mut Sleep>) {
        if self.computing.is_none()
            && let Some(grant) = self.queue.pop_front()
        {
            self.idle.end();
            let tasks = u32::try_from(grant.tasks).expect("blocks of a second");
            timer.reset(tokio::time::Instant::now() + TASK * tasks);
            self.computing = Some(grant);
        }
    }
}

async fn windows(coordinator: &Coordinator, idling: &[Arc<Idle>], plan: &Plan, table: &mut Table) {
    let length = Duration::from_millis(plan.work(10_000, 2_000));
    // Until all have their second lease.
    tokio::time::sleep(length / 2).await;
    let (mut idle, mut looked, mut cores) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let cpu = machine::cpu_seconds(coordinator.process());
        let (start, before) = (Instant::now(), so_far(idling));
        looked.push(looks::during(&coordinator.address, length).await);
        let took = start.elapsed();
        let shares = so_far(idling).into_iter().zip(before);
        let shares =
            shares.map(|(after, before)| 100.0 * (after - before) as f64 / took.as_micros() as f64);
        idle.push(quantile(&shares.collect::<Vec<_>>(), 0.99));
        let cpu = machine::cpu_seconds(coordinator.process()) - cpu;
        cores.push(cpu / took.as_secs_f64());
    }
    let count = idling.len();
    let what = format!("{count} fed: idle time at the 99th percentile of workers");
    let note = format!(
        "blocks of 1 s; the coordinator on {:.2} cores",
        median(&cores)
    );
    let row = Row::of("workers", what, Unit::Percent, &idle).at_most(3.0);
    table.add(row.note(note));
    let resident = machine::resident_mb(coordinator.process());
    let what = format!("{count} fed, the coordinator's resident memory");
    table.add(Row::of("workers", what, Unit::Megabytes, &[resident]).at_most(400.0));
    looks::rows(count, &looked, table);
}

fn so_far(idling: &[Arc<Idle>]) -> Vec<u64> {
    idling.iter().map(|idle| idle.so_far()).collect()
}

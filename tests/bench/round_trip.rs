//! How long one block's answer takes: from a partial to the receipt for it, and to
//! the next grant, one block at a time.

use crate::coordinator::{Coordinator, SINGLE_TASKS};
use crate::guests::guest;
use crate::machine;
use crate::plan::Plan;
use crate::stand_in::{Grant, News, Role, StandIn};
use crate::table::{Row, Table, Unit, median, milliseconds, quantile};
use manyhands_protocol::MergeMode;
use serde_json::json;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Hands in a row of a picture 2048 pixels wide, that took so long.
const fn role(busy_us: u64) -> Role {
    Role {
        slots: 1,
        bytes_per_task: 4 * 2048,
        busy_us,
    }
}

/// Worth a record, and not.
const DEAR: Role = role(50_000);
const CHEAP: Role = role(0);

/// More than are ever asked for.
const TASKS: u64 = 1 << 30;

/// A block that takes longer is lost.
const LOST: Duration = Duration::from_secs(10);

/// What one round measured, in milliseconds.
struct Trips {
    accepted: Vec<f64>,
    granted: Vec<f64>,
}

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let sync = median(&machine::sync_ms(folder.path(), 100));
    let durable = format!("the disk's own sync takes {sync:.3} ms");
    for (how, role, options, note, goal) in [
        ("--ephemeral", DEAR, EPHEMERAL, "8 KiB a block", true),
        ("too cheap to record", CHEAP, DURABLE, "", true),
        ("recorded", DEAR, DURABLE, &durable, false),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            rounds.push(measure(plan.work(2000, 100), role, options).await);
        }
        let what = format!("partial to receipt, {how}");
        rows(table, &what, note, &rounds, |trips| &trips.accepted, goal);
        let what = format!("partial to next grant, {how}");
        rows(table, &what, "", &rounds, |trips| &trips.granted, true);
    }
}

/// Options of the coordinator.
const DURABLE: &[&str] = &SINGLE_TASKS;
const EPHEMERAL: &[&str] = &[SINGLE_TASKS[0], SINGLE_TASKS[1], "--ephemeral"];

/// The median and the 99th percentile of each round.
fn rows(
    table: &mut Table,
    what: &str,
    note: &str,
    rounds: &[Trips],
    which: impl Fn(&Trips) -> &Vec<f64>,
    goal: bool,
) {
    for (part, name) in [(0.5, "median"), (0.99, "99 %")] {
        let samples = rounds.iter().map(|trips| quantile(which(trips), part));
        let samples: Vec<f64> = samples.collect();
        let what = format!("{what}, {name}");
        let row = Row::of("round-trip", what, Unit::Milliseconds, &samples).note(note);
        table.add(match goal && part == 0.5 {
            true => row.at_most(1.0),
            false => row,
        });
    }
}

async fn measure(trips: usize, role: Role, options: &[&str]) -> Trips {
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(folder.path(), options).await;
    let worker = StandIn::join(&coordinator.address, role).await;
    coordinator
        .submit(guest(MergeMode::Concat, TASKS), json!({}))
        .await;
    let mut trip = Trip {
        worker,
        queue: VecDeque::new(),
        granted: None,
    };
    // The first ones find connections and files cold.
    trip.several(trips / 10).await;
    let measured = trip.several(trips).await;
    coordinator.kill().await;
    measured
}

/// A worker that waits for the receipt of each block before it hands in the next.
struct Trip {
    worker: StandIn,
    queue: VecDeque<Grant>,
    /// When the last grant came.
    granted: Option<Instant>,
}

impl Trip {
    async fn several(&mut self, trips: usize) -> Trips {
        let (mut accepted, mut granted) = (Vec::new(), Vec::new());
        while accepted.len() < trips {
            let once = tokio::time::timeout(LOST, self.once()).await;
            let (receipt, grant) = once.expect("a block's answer comes within seconds");
            accepted.push(receipt);
            // Sometimes two come for one partial, and none for the next.
            granted.extend(grant);
        }
        Trips {
            accepted: milliseconds(&accepted),
            granted: milliseconds(&granted),
        }
    }

    /// One block: how long its receipt took, and a grant, if one came before the
    /// next partial was due.
    async fn once(&mut self) -> (Duration, Option<Duration>) {
        let grant = loop {
            if let Some(grant) = self.queue.pop_front() {
                break grant;
            }
            let news = self.worker.next().await;
            self.note(&news);
        };
        self.granted = None;
        let start = Instant::now();
        self.worker.answer(grant).await;
        let receipt = loop {
            let news = self.worker.next().await;
            if matches!(news, News::Accepted(lease) if lease == grant.lease) {
                break start.elapsed();
            }
            self.note(&news);
        };
        while let Some(news) = self.worker.ready().await {
            self.note(&news);
        }
        let granted = self.granted.map(|at| at.duration_since(start));
        (receipt, granted)
    }

    fn note(&mut self, news: &News) {
        match news {
            News::Granted(grant) => {
                self.queue.push_back(*grant);
                self.granted.get_or_insert_with(Instant::now);
            }
            News::Revoked(lease) => self.queue.retain(|grant| grant.lease != *lease),
            News::Forgotten => panic!("the job ended before the measurement"),
            News::Accepted(_) | News::Noted => {}
        }
    }
}

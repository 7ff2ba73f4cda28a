//! `cargo xtask bench`: how fast the system is, beside the goals that it has.
//!
//! - `compare`: the same module in one process, through a coordinator and a native
//!   worker, natively, in a Chromium tab and on that browser's bare workers;
//!   `tiny`: what tiny tasks cost; `data`: the same of a job that reads much;
//! - `round-trip`, `durability`, `blocks`, `memory`, `workers`, `restart`: the coordinator alone,
//!   between stand-ins for workers, or beside itself without a journal;
//! - `merging`: what large partials cost the coordinator;
//! - `scheduler`: the scheduler alone, by workers, blocks and jobs;
//! - `latency`: what one who waits for a single task waits for;
//! - `costs`: what a piece and a merge cost beside what they compute;
//! - `networks`: far and unlike machines, simulated; `namespaces`: some of them for real;
//! - `size`: what is downloaded, resident and waited for; `page`: what a person who opens
//!   the link waits for.
//!
//! Every part starts processes of the real binary and ends them. Figures are
//! medians over rounds; rounds of what is compared are interleaved, so that a
//! machine that drifts (by 13 % where this was written) drifts for all.

mod bare;
mod blocks;
mod compare;
mod coordinator;
mod corpus;
mod costs;
mod data;
mod durability;
mod guests;
#[cfg(target_os = "linux")]
mod hot;
mod in_process;
mod latency;
mod looks;
mod machine;
mod memory;
mod merging;
#[cfg(target_os = "linux")]
mod namespaces;
mod native;
mod networks;
#[cfg(target_os = "linux")]
mod paced;
mod page;
mod plan;
mod plot;
mod restart;
mod round_trip;
mod scheduler;
mod size;
mod stand_in;
mod table;
mod tiny;
mod workers;

use futures_util::FutureExt;
use plan::{NAMES, Plan};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;
use table::Table;

/// A part that takes longer, for each unit of scale, hangs; the second is for
/// the short version.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const SHORT_LIMIT: Duration = Duration::from_secs(3 * 60);

fn main() -> ExitCode {
    let plan = Plan::from_arguments(std::env::args().skip(1));
    println!(
        "{}; medians of {} rounds",
        machine::described(),
        plan.rounds
    );
    if cfg!(debug_assertions) {
        println!("built for tests, not for speed: the figures mean nothing");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let mut table = Table::default();
    let broken = runtime
        .expect("a runtime starts")
        .block_on(measure(&plan, &mut table));
    if plan.markdown {
        println!("\n{}", table.markdown());
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("these did not end: {}", broken.join(", "));
        ExitCode::FAILURE
    }
}

/// Runs all parts that are wanted, whatever becomes of one of them; those that
/// broke.
async fn measure(plan: &Plan, table: &mut Table) -> Vec<&'static str> {
    let mut broken = Vec::new();
    let limit = plan.work(LIMIT, SHORT_LIMIT) * plan.scale as u32;
    for name in NAMES.into_iter().filter(|name| plan.wants(name)) {
        let part = AssertUnwindSafe(part(name, plan, table)).catch_unwind();
        // A panic has said why.
        let ended = tokio::time::timeout(limit, part).await;
        if !matches!(ended, Ok(Ok(()))) {
            broken.push(name);
        }
    }
    broken
}

async fn part(name: &str, plan: &Plan, table: &mut Table) {
    match name {
        "compare" => compare::jobs(plan, table).await,
        "tiny" => tiny::run(plan, table).await,
        "round-trip" => round_trip::run(plan, table).await,
        "durability" => durability::run(plan, table).await,
        "latency" => latency::run(plan, table).await,
        "blocks" => blocks::run(plan, table).await,
        "scheduler" => scheduler::run(plan, table).await,
        "costs" => costs::run(plan, table).await,
        "networks" => networks::run(plan, table).await,
        #[cfg(target_os = "linux")]
        "namespaces" => namespaces::run(plan, table).await,
        #[cfg(not(target_os = "linux"))]
        "namespaces" => println!("namespaces  SKIPPED: it needs Linux"),
        "memory" => memory::run(plan, table).await,
        "merging" => merging::run(plan, table).await,
        "data" => data::run(plan, table).await,
        "workers" => workers::run(plan, table).await,
        "restart" => restart::run(plan, table).await,
        "size" => size::run(plan, table).await,
        "page" => page::run(plan, table).await,
        other => unreachable!("{other} is not among the names"),
    }
}

/// Threads that jobs are computed on, in whichever way.
fn threads() -> u16 {
    std::thread::available_parallelism().map_or(1, usize::from) as u16
}

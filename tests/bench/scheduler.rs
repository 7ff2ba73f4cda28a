//! The scheduler alone, told what workers would tell it: how many events one core
//! takes, and how their cost grows with workers, blocks and jobs. Nothing is on the
//! wire or on disk.

use crate::plan::Plan;
use crate::plot;
use crate::table::{Row, Table, Unit, median};
use manyhands_loads::scheduler::{Rig, Scale};
use manyhands_protocol::MergeMode;
use std::time::Instant;

const PART: &str = "scheduler";

/// Where the rate is to hold: workers, with eight blocks each.
const USUAL: u64 = 1000;

/// What an event costs at one size.
pub(crate) struct Point {
    pub(crate) size: u64,
    /// Microseconds, measured again and again.
    pub(crate) micros: Vec<f64>,
}

/// What an event costs as one thing grows.
pub(crate) struct Series {
    pub(crate) of: &'static str,
    pub(crate) points: Vec<Point>,
}

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let rounds = plan.rounds.max(plan.work(3, 1));
    let most = |full: u32| plan.work(full, 3);
    let sizes = [most(5), most(7), most(4)];
    let series = tokio::task::spawn_blocking(move || {
        let [workers, blocks, jobs] = sizes;
        [
            by_workers("workers, reduce", MergeMode::Reduce, workers, rounds),
            by_workers("workers, concat", MergeMode::Concat, workers, rounds),
            by_blocks_out(blocks, rounds),
            by_blocks_held(blocks, rounds),
            by_jobs(jobs, rounds),
        ]
    });
    let series = series.await.expect("the loads run");
    for (series, merge) in series.iter().zip(["reduce", "concat"]) {
        let usual = series.points.iter().find(|point| point.size == USUAL);
        let micros = &usual.expect("the usual size is measured").micros;
        let rates: Vec<f64> = micros.iter().map(|micros| 1e6 / micros).collect();
        let what = format!("events, {merge}: {USUAL} workers with 8 blocks each");
        let row = Row::of(PART, what, Unit::PerSecond, &rates);
        table.add(row.at_least(1e6).note("on one thread"));
    }
    for series in &series {
        table.add(growth(series));
    }
    println!("\n{}", plot::logarithmic(&series));
}

/// How much more an event costs at the largest size than at the smallest, over
/// how much larger that one's logarithm is.
fn growth(series: &Series) -> Row {
    let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else {
        panic!("{} was not measured", series.of);
    };
    let logarithm = (last.size as f64).ln() / (first.size as f64).ln();
    let pairs = first.micros.iter().zip(&last.micros);
    let ratios: Vec<f64> = pairs
        .map(|(small, large)| large / small / logarithm)
        .collect();
    let what = format!("{}: growth by the logarithm's", series.of);
    let note = format!(
        "{:.3} µs an event at {}, {:.3} µs at {}",
        median(&first.micros),
        first.size,
        median(&last.micros),
        last.size
    );
    let row = Row::of(PART, what, Unit::Ratio, &ratios);
    row.at_most(1.0).note(note)
}

fn by_workers(of: &'static str, merge: MergeMode, most: u32, rounds: usize) -> Series {
    let points = (1..=most).map(|power| {
        let size = 10_u64.pow(power);
        let mut rig = Rig::new(Scale::workers(size, merge));
        measured(size, &mut rig, rounds)
    });
    Series {
        of,
        points: points.collect(),
    }
}

/// Blocks in the hands of a thousand workers, or of as few as can be.
fn by_blocks_out(most: u32, rounds: usize) -> Series {
    let points = (3..=most).map(|power| {
        let size = 10_u64.pow(power);
        let mut rig = Rig::new(Scale {
            depth: (size / USUAL) as usize,
            ..Scale::workers(USUAL, MergeMode::Concat)
        });
        assert_eq!(rig.outstanding() as u64, size, "blocks are out");
        measured(size, &mut rig, rounds)
    });
    Series {
        of: "blocks out",
        points: points.collect(),
    }
}

/// Blocks that are done and wait for the first.
fn by_blocks_held(most: u32, rounds: usize) -> Series {
    let mut rig = Rig::new(Scale {
        withhold: true,
        ..Scale::workers(10, MergeMode::Concat)
    });
    let points = (3..=most).map(|power| {
        let size = 10_u64.pow(power);
        while rig.blocks() < size {
            rig.block();
        }
        measured(size, &mut rig, rounds)
    });
    Series {
        of: "blocks that wait for the first",
        points: points.collect(),
    }
}

fn by_jobs(most: u32, rounds: usize) -> Series {
    let points = (1..=most).map(|power| {
        let size = 10_u64.pow(power);
        let mut rig = Rig::new(Scale {
            jobs: size,
            ..Scale::workers(USUAL, MergeMode::Reduce)
        });
        measured(size, &mut rig, rounds)
    });
    Series {
        of: "jobs",
        points: points.collect(),
    }
}

/// Every worker answers once at least, and there are enough events for the clock.
fn measured(size: u64, rig: &mut Rig, rounds: usize) -> Point {
    let blocks = (rig.outstanding() as u64).clamp(100_000, 200_000);
    let once = |_| {
        let (events, begun) = (rig.events(), Instant::now());
        (0..blocks).for_each(|_| rig.block());
        begun.elapsed().as_secs_f64() * 1e6 / (rig.events() - events) as f64
    };
    Point {
        size,
        micros: (0..rounds).map(once).collect(),
    }
}

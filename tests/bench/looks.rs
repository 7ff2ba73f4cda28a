//! Looks at a coordinator that has much to do: how long people and their programs
//! wait for an answer.

use crate::size;
use crate::table::{Row, Table, Unit, median, quantile};
use std::time::{Duration, Instant};

/// What the page and Prometheus ask for, which is at hand.
const AT_HAND: [&str; 4] = ["/", "/api/v1/status", "/api/v1/jobs", "/metrics"];

/// What the driver is asked for: as many workers as there may be in one answer.
const LIST: &str = "/api/v1/workers?limit=500";

/// Looks are this far apart, in turn at one and the other.
const EVERY: Duration = Duration::from_millis(100);

/// How long looks took in one stretch, in milliseconds.
pub(crate) struct Looked {
    at_hand: [Vec<f64>; AT_HAND.len()],
    list: Vec<f64>,
}

/// Looks for so long, on a thread that does nothing else: whoever looks is no
/// stand-in, and waits for the coordinator, not for a turn among ten thousand.
pub(crate) async fn during(address: &str, length: Duration) -> Looked {
    let address = address.to_owned();
    let looking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime starts");
        runtime.block_on(look(&address, length))
    };
    let looked = tokio::task::spawn_blocking(looking).await;
    looked.expect("all looks are answered")
}

async fn look(address: &str, length: Duration) -> Looked {
    let end = Instant::now() + length;
    let mut ticks = tokio::time::interval(EVERY);
    let mut looked = Looked {
        at_hand: Default::default(),
        list: Vec::new(),
    };
    while Instant::now() < end {
        for (path, times) in AT_HAND.iter().zip(&mut looked.at_hand) {
            ticks.tick().await;
            times.push(once(address, path).await);
        }
        ticks.tick().await;
        looked.list.push(once(address, LIST).await);
    }
    looked
}

/// How long one look takes, on a connection of its own.
async fn once(address: &str, path: &str) -> f64 {
    let start = Instant::now();
    let answer = size::fetch(address, path).await;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let answer = answer.expect("the coordinator answers");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path} is not answered"
    );
    took
}

/// What so many workers did to those who looked, stretch by stretch.
pub(crate) fn rows(workers: usize, looked: &[Looked], table: &mut Table) {
    let slowest: Vec<f64> = looked
        .iter()
        .map(|stretch| most(&stretch.at_hand.concat()))
        .collect();
    let each = AT_HAND.iter().enumerate().map(|(at, path)| {
        let all: Vec<f64> = looked
            .iter()
            .flat_map(|one| one.at_hand[at].clone())
            .collect();
        format!("{path} {:.1} ms, at most {:.1}", median(&all), most(&all))
    });
    let note = each.collect::<Vec<_>>().join("; ");
    let what = format!("{workers} fed, the slowest of all looks at page, status, jobs and metrics");
    let row = Row::of("workers", what, Unit::Milliseconds, &slowest);
    table.add(row.at_most(50.0).note(note));
    let slowest: Vec<f64> = looked.iter().map(|stretch| most(&stretch.list)).collect();
    let all: Vec<f64> = looked.iter().flat_map(|one| one.list.clone()).collect();
    let what = format!("{workers} fed, the slowest of all lists of 500 of them");
    let row = Row::of("workers", what, Unit::Milliseconds, &slowest);
    let note = format!("the median is {:.1} ms", median(&all));
    table.add(row.at_most(50.0).note(note));
}

fn most(times: &[f64]) -> f64 {
    quantile(times, 1.0)
}

//! A worker that is stopped for longer than the deadline, as a laptop that
//! slept: the job goes on without it, and it goes on with the next one.

use manyhands_tests::cluster::{Cluster, Setup, workers};
use manyhands_tests::jobs::Job;
use manyhands_tests::process::{Process, Signal};
use manyhands_tests::processes;

/// A worker and its compute child.
fn all_of(worker: &Process) -> Vec<u32> {
    let id = worker.id().unwrap();
    let children = processes::children(id).into_iter();
    children.chain([id]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_works_on_the_next_job() {
    let options = vec!["--deadline", "2s"];
    let setup = Setup {
        options,
        ..Setup::default()
    };
    let cluster = Cluster::start_with(setup).await;
    let steady = cluster.worker("steady", 1).await;
    let sleeper = cluster.worker("sleeper", 1).await;
    let job = Job::pi(1600);
    let running = cluster.run(&job, &[]);
    cluster
        .until("the sleeper has a block", async |client| {
            let workers = workers(client).await;
            let mut sleepers = workers.iter().filter(|worker| worker.name == "sleeper");
            sleepers.any(|worker| worker.leases > 0 && worker.blocks > 0)
        })
        .await;
    processes::signal(&all_of(&sleeper), Signal::STOP);
    cluster
        .until("the sleeper is given up", async |client| {
            let workers = workers(client).await;
            let mut sleepers = workers.iter().filter(|worker| worker.name == "sleeper");
            sleepers.all(|worker| !worker.connected && worker.leases == 0)
        })
        .await;
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "while a worker sleeps");
    assert!(outcome.job.retries > 0, "its blocks were done again");

    processes::signal(&all_of(&sleeper), Signal::CONT);
    cluster
        .until("the sleeper is back", async |client| {
            let workers = workers(client).await;
            let mut sleepers = workers.iter().filter(|worker| worker.name == "sleeper");
            sleepers.any(|worker| worker.connected)
        })
        .await;
    let next = Job::mandelbrot(1000);
    let outcome = cluster.run(&next, &[]).outcome().await;
    outcome.assert_bytes(&next.expected(), "after a worker slept");
    outcome.assert_helped("sleeper");
    outcome.assert_helped("steady");
    cluster.end([steady, sleeper]).await;
}

//! Slow networks and unlike machines, for real: a coordinator and workers in network
//! namespaces, far from one another. What is measured is what `networks` measures
//! in the simulation, by the same definitions; machines are fewer, and the job
//! shorter.

use crate::coordinator::Coordinator;
use crate::guests::guest;
use crate::hot::Hot;
use crate::paced::{Diary, Machine};
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median, milliseconds};
use manyhands_protocol::MergeMode;
use manyhands_tests::cores;
use manyhands_tests::far::{Far, Host};
use manyhands_tests::random::Random;
use manyhands_tests::yardstick::{End, Job};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The fastest machine is so many times as fast as the slowest.
const APART: f64 = 16.0;

/// Of each machine. The naps, packets and partials of four slots are what one core can do
/// in time: with 24 machines of 4 slots both cores were at work for several milliseconds on
/// what came in one, with 8 machines of 2 for one and a half.
const SLOTS: u16 = 1;

/// What a task takes a slot of speed 1.
const TASK: Duration = Duration::from_micros(50);

/// What changes state needs, where others could reach the coordinator.
const KEY: &str = "of a coordinator that nobody can reach";

/// How often its author looks at the job.
const LOOKS: Duration = Duration::from_millis(100);

/// Of all machines, the part that vanishes each minute.
const VANISHING: f64 = 0.05;

/// So many machines, and how long the job would take them all.
#[derive(Clone, Copy)]
struct Fleet {
    machines: usize,
    job: Duration,
}

impl Fleet {
    /// Machines that vanish during the job.
    fn vanishing(self) -> usize {
        let minutes = self.job.as_secs_f64() / 60.0;
        (self.machines as f64 * VANISHING * minutes)
            .round()
            .max(1.0) as usize
    }
}

/// What a run came to.
struct Measured {
    used: f64,
    end: End,
    /// What a connection took, in milliseconds.
    connect_ms: f64,
    /// From the result to its author.
    told: Duration,
}

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    if let Err(why) = Far::new(Duration::ZERO).host() {
        println!("namespaces  SKIPPED: {why}; it needs Linux, the rights of root and iproute2");
        return;
    }
    // A beginning takes round trips: jobs that are worth going far are longer. An end of a
    // few milliseconds scatters more than one of hundreds, and is taken more often.
    for (round_trip_ms, seconds, times) in [(1, 50, 3), (50, 50, 1), (300, 180, 1)] {
        let fleet = Fleet {
            machines: 4,
            job: Duration::from_secs(plan.work(seconds, 2)),
        };
        let mut runs = Vec::new();
        for seed in 0..(plan.rounds * times) as u64 {
            let measuring = move || measure(fleet, Duration::from_millis(round_trip_ms), seed);
            // On a thread of its own, which is kept to some cores.
            let measuring = move || thread::spawn(measuring).join();
            let measured = tokio::task::spawn_blocking(measuring).await;
            let measured = measured.expect("it does not panic");
            runs.push(measured.expect("all machines work"));
        }
        rows(round_trip_ms, fleet, &runs, table);
    }
}

fn rows(round_trip_ms: u64, fleet: Fleet, runs: &[Measured], table: &mut Table) {
    let each = |of: &dyn Fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
    let what = format!("round trip {round_trip_ms} ms: slot time that is used");
    let row = Row::of("namespaces", what, Unit::Ratio, &each(&|run| run.used));
    let note = format!(
        "{} machines, a job of {} s, {} vanish; a connection takes {:.1} ms",
        fleet.machines,
        fleet.job.as_secs(),
        fleet.vanishing(),
        median(&each(&|run| run.connect_ms)),
    );
    table.add(row.at_least(0.95).note(note));
    let ratio = |run: &Measured| run.end.took.div_duration_f64(run.end.ideal);
    let what = format!("round trip {round_trip_ms} ms: the job's end against the ideal");
    let row = Row::of("namespaces", what, Unit::Ratio, &each(&ratio));
    let ms = |of: &dyn Fn(&End) -> Duration| median(&each(&|run| of(&run.end).as_secs_f64() * 1e3));
    let (took, ideal) = (ms(&|end| end.took), ms(&|end| end.ideal));
    let told = median(&each(&|run| run.told.as_secs_f64() * 1e3));
    let note = format!(
        "{took:.1} ms, the ideal {ideal:.1} ms; its author has the result {told:.1} ms later"
    );
    table.add(row.at_most(1.2).note(note));
}

/// The coordinator has a core to itself, as it had on a machine of its own; the machines,
/// the ways between them and the author share the others, if there are any.
struct Cores {
    coordinator: Vec<usize>,
    others: Vec<usize>,
}

impl Cores {
    fn shared_out() -> Self {
        let mut coordinator = cores::allowed().expect("it has a core");
        let others = match coordinator.len() {
            1 => coordinator.clone(),
            _ => coordinator.split_off(1),
        };
        Self {
            coordinator,
            others,
        }
    }
}

fn keep_to(cores: &[usize]) {
    cores::keep_to(cores).expect("a thread may stay on its cores");
}

/// One run, with the coordinator and its author on a host of their own.
fn measure(fleet: Fleet, round_trip: Duration, seed: u64) -> Measured {
    let cores = Cores::shared_out();
    // With the threads that this one starts.
    keep_to(&cores.others);
    let far = Far::new(round_trip);
    let home = far.host().expect("there was one before");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime starts");
    let work = work(fleet, round_trip, seed, (&far, &home), &cores);
    home.within(|| runtime.block_on(work))
}

async fn work(
    fleet: Fleet,
    round_trip: Duration,
    seed: u64,
    (far, home): (&Far, &Host),
    cores: &Cores,
) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("{}:0", home.address);
    keep_to(&cores.coordinator);
    let mut coordinator = Coordinator::start_at(&listen, folder.path(), &["-vv"], Some(KEY)).await;
    keep_to(&cores.others);
    let _hot = Hot::keep();
    let address: SocketAddr = coordinator.address.parse().expect("an address");
    let diary = Diary::begin();
    let speeds: Vec<f64> = speeds(fleet.machines).collect();
    let switch_on = |speed| {
        let machine = Arc::new(Machine {
            host: far.host().expect("there was one before"),
            slots: SLOTS,
            speed,
            task: TASK,
            half: round_trip / 2,
        });
        let (index, working) = machine.start(address, &diary);
        (machine, index, working)
    };
    let mut machines: Vec<_> = speeds.iter().map(|speed| switch_on(*speed)).collect();
    let all = fleet.machines as u64;
    while coordinator
        .client
        .status()
        .await
        .expect("it answers")
        .workers
        < all
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let slots = speeds.iter().sum::<f64>() * f64::from(SLOTS);
    let tasks = (slots * fleet.job.div_duration_f64(TASK)) as u64;
    // A coordinator that has had a job, as most have: one of no tasks.
    let mut before = coordinator
        .submission(guest(MergeMode::Reduce, 0), json!({}))
        .await;
    before.key = Some("before".to_owned());
    coordinator.wait(&before).await;
    let wasm = guest(MergeMode::Reduce, tasks);
    let mut submission = coordinator.submission(wasm, json!({})).await;
    submission.key = Some("waited for".to_owned());
    let submitted = coordinator.client.submit(&submission).await;
    let job = submitted.expect("the job is accepted").id;
    let began = diary.now();
    let vanishing = async {
        let mut random = Random::new(seed);
        let shares = (0..fleet.vanishing()).map(|_| random.below(1000));
        let mut shares: Vec<u64> = shares.collect();
        shares.sort_unstable();
        // Their hosts are there till the end, cut off.
        let mut gone = Vec::new();
        for share in shares {
            let moment = began + fleet.job.mul_f64(share as f64 / 1000.0);
            tokio::time::sleep(moment.saturating_sub(diary.now())).await;
            let one = random.below(machines.len() as u64) as usize;
            let (machine, index, working) = machines.swap_remove(one);
            // Without a word, and another like it comes.
            machine.host.cut();
            working.abort();
            diary.notes().machines[index].until = Some(diary.now());
            machines.push(switch_on(machine.speed));
            gone.push(machine);
        }
        std::future::pending::<()>().await;
    };
    let over = async {
        let view = coordinator.wait(&submission).await;
        (view, diary.now())
    };
    // As the command line does.
    let looking_on = async {
        loop {
            tokio::time::sleep(LOOKS).await;
            let looked = coordinator.client.job(job).await;
            looked.expect("the job is there");
        }
    };
    // The moment is taken before the hosts of those that vanished are taken down.
    let (view, told) = tokio::select! {
        over = over => over,
        () = vanishing => unreachable!("it goes on"),
        () = looking_on => unreachable!("it goes on"),
    };
    // As in the simulation the end is when the coordinator has it.
    let ago = coordinator.had_result(view.id).await;
    let ended = diary.now() - ago;
    let job = Job {
        tasks,
        task: TASK,
        began,
        ended,
    };
    for (_, _, working) in &machines {
        working.abort();
    }
    coordinator.kill().await;
    assert!(view.state.is_over() && view.done == tasks, "{view:?}");
    let used: u64 = view.contributions.iter().map(|one| one.busy_ms).sum();
    let notes = diary.notes();
    let connect_ms = median(&milliseconds(&diary.connects()));
    // Threads that wake late are a part of the way there and back.
    let way = Duration::from_secs_f64(connect_ms / 1e3).max(round_trip);
    Measured {
        used: used as f64 / 1e3 / notes.available(&job).as_secs_f64(),
        end: notes.end(&job, way).expect("somebody was first"),
        connect_ms,
        told: told.saturating_sub(ended),
    }
}

/// From the slowest to the fastest, each magnitude as often.
fn speeds(machines: usize) -> impl Iterator<Item = f64> {
    let step = move |at| at as f64 / (machines - 1) as f64 - 0.5;
    (0..machines).map(move |at| APART.powf(step(at)))
}

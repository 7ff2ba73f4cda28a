//! Simulated machines of different speeds behind a slow network: how much of
//! their time goes into the job.

use super::rig::{capacity, failure, spec};
use crate::{Action, Config, Event, JobSpec, Micros, Scheduler};
use manyhands_protocol::{FailureKind, Incarnation, JobId, LeaseId, MergeMode, Node, WorkerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// A machine whose slots take chunks of its leases in order.
struct Machine {
    slots: u16,
    idle: u16,
    /// A task takes one slot here its cost times this.
    slowness: f64,
    queue: VecDeque<Held>,
}

/// A lease on a machine.
struct Held {
    lease: LeaseId,
    node: Node,
    /// Tasks of it that no slot has taken.
    rest: Range<u64>,
    /// Chunks that slots are at.
    running: u64,
    busy_us: f64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Grant(WorkerId, LeaseId, Node),
    Revoke(WorkerId, LeaseId),
    /// A slot has ended a chunk of that length.
    Chunk(WorkerId, LeaseId, u64),
    Partial(WorkerId, LeaseId, Node, u64),
    Returned(WorkerId, LeaseId),
    Failed(WorkerId, LeaseId, Node),
    /// The coordinator dies.
    Death,
    /// It is there again, and so are its workers.
    Rebirth,
}

/// What goes wrong.
#[derive(Default)]
struct Trouble {
    /// The coordinator dies then, and is started anew.
    death: Option<u64>,
    /// On this machine nothing comes out.
    broken: Option<WorkerId>,
}

/// From the coordinator's death until its workers are back, in microseconds.
const OUTAGE: u64 = 2_000_000;

struct Outcome {
    /// When the job was done.
    end: u64,
    /// The work the job needs, over what the machines could have done till then.
    utilisation: f64,
    grants: u64,
}

struct Simulation<'a> {
    scheduler: Scheduler<()>,
    machines: BTreeMap<WorkerId, Machine>,
    due: BTreeSet<(u64, u64, Due)>,
    sequence: u64,
    round_trip: u64,
    cost: &'a dyn Fn(u64) -> f64,
    spec: JobSpec,
    done: bool,
    grants: u64,
    broken: Option<WorkerId>,
    /// While the coordinator is away.
    down: bool,
    /// What it has kept.
    stored: BTreeSet<Node>,
}

impl Simulation<'_> {
    fn at(&mut self, when: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((when, self.sequence, due));
    }

    fn tell(&mut self, now: u64, event: Event<()>) {
        let mut actions = Vec::new();
        self.scheduler.handle(Micros(now), event, &mut actions);
        let arrives = now + self.round_trip / 2;
        for action in actions {
            match action {
                Action::Grant {
                    worker,
                    lease,
                    node,
                    ..
                } => {
                    self.grants += 1;
                    self.at(arrives, Due::Grant(worker, lease, node));
                }
                Action::Revoke { worker, lease } => self.at(arrives, Due::Revoke(worker, lease)),
                Action::Merge { job, node, .. } => {
                    self.store(node);
                    self.tell(
                        now,
                        Event::Merged {
                            job,
                            node,
                            partial: (),
                            len: 8,
                        },
                    );
                }
                Action::Root { .. } | Action::Complete { .. } => self.done = true,
                Action::Accepted {
                    node,
                    used: Some(_),
                    ..
                } => self.store(node),
                Action::Accepted { .. }
                | Action::Forget { .. }
                | Action::Emit { .. }
                | Action::Ping { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn store(&mut self, node: Node) {
        let node = self.spec.tree.canonical(node);
        while let Some(below) = self.stored.range(node..).next().copied()
            && node.contains(below)
        {
            self.stored.remove(&below);
        }
        self.stored.insert(node);
    }

    /// What was on its way to the workers is lost; they go on with what they have.
    fn die(&mut self, now: u64) {
        let config = Config {
            incarnation: Incarnation(2),
            ..Config::default()
        };
        self.scheduler = Scheduler::new(config);
        self.due
            .retain(|(_, _, due)| !matches!(due, Due::Grant(..) | Due::Revoke(..)));
        self.down = true;
        self.at(now + OUTAGE, Due::Rebirth);
    }

    fn be_reborn(&mut self, now: u64) {
        self.down = false;
        let partials = self.stored.iter().map(|node| (*node, (), 8));
        let restored = Event::JobRestored {
            job: JobId(1),
            spec: self.spec,
            prefix: 0,
            partials: partials.collect(),
        };
        self.tell(now, restored);
        let mut held: BTreeMap<WorkerId, BTreeMap<LeaseId, Node>> = BTreeMap::new();
        for (id, machine) in &self.machines {
            let queue = machine.queue.iter().map(|held| (held.lease, held.node));
            held.insert(*id, queue.collect());
        }
        for (_, _, due) in &self.due {
            if let Due::Partial(id, lease, node, _) = due {
                held.get_mut(id).unwrap().insert(*lease, *node);
            }
        }
        for (worker, held) in held {
            let held = held.into_iter();
            let event = Event::WorkerJoined {
                worker,
                capacity: capacity(self.machines[&worker].slots),
                held: held.map(|(lease, node)| (lease, JobId(1), node)).collect(),
            };
            self.tell(now, event);
        }
    }

    /// Microseconds these tasks take one slot of a machine of slowness 1.
    fn work(&self, range: Range<u64>) -> f64 {
        let tasks = (range.end - range.start) as f64;
        // Large ranges are sampled.
        let step = ((range.end - range.start) / 256).max(1);
        let (mut sum, mut count) = (0.0, 0.0);
        for task in range.step_by(step as usize) {
            sum += (self.cost)(task);
            count += 1.0;
        }
        sum / count * tasks
    }

    /// Idle slots take what is next.
    fn compute(&mut self, now: u64, id: WorkerId) {
        loop {
            let machine = self.machines.get_mut(&id).unwrap();
            let slots = u64::from(machine.slots);
            let mut held = machine.queue.iter_mut();
            let Some(held) = held.find(|held| !held.rest.is_empty()) else {
                return;
            };
            if machine.idle == 0 {
                return;
            }
            machine.idle -= 1;
            let tasks = self.spec.tree.len(held.node);
            let chunk = (tasks / (slots * 4))
                .max(1)
                .min(held.rest.end - held.rest.start);
            let range = held.rest.start..held.rest.start + chunk;
            held.rest.start += chunk;
            held.running += 1;
            let (lease, slowness) = (held.lease, machine.slowness);
            let took = (self.work(range) * slowness).ceil() as u64;
            self.at(now + took, Due::Chunk(id, lease, took));
        }
    }

    fn happen(&mut self, now: u64, due: Due) {
        match due {
            Due::Partial(..) | Due::Returned(..) if self.down => {
                // Kept by its worker until that is back.
                self.at(now + OUTAGE, due);
            }
            Due::Death => self.die(now),
            Due::Rebirth => self.be_reborn(now),
            Due::Grant(id, lease, node) if self.broken == Some(id) => {
                self.at(now + self.round_trip / 2, Due::Failed(id, lease, node));
            }
            Due::Failed(worker, lease, node) => {
                let failure = failure(FailureKind::Crash);
                self.tell(
                    now,
                    Event::Failed {
                        worker,
                        lease,
                        node,
                        failure,
                    },
                );
            }
            Due::Grant(id, lease, node) => {
                let held = Held {
                    lease,
                    node,
                    rest: self.spec.tree.range(node),
                    running: 0,
                    busy_us: 0.0,
                };
                self.machines.get_mut(&id).unwrap().queue.push_back(held);
                self.compute(now, id);
            }
            Due::Revoke(id, lease) => {
                let machine = self.machines.get_mut(&id).unwrap();
                let tree = self.spec.tree;
                let before = machine.queue.len();
                machine
                    .queue
                    .retain(|held| held.lease != lease || held.rest != tree.range(held.node));
                if machine.queue.len() < before {
                    self.at(now + self.round_trip / 2, Due::Returned(id, lease));
                }
            }
            Due::Chunk(id, lease, took) => {
                let machine = self.machines.get_mut(&id).unwrap();
                machine.idle += 1;
                let at = machine
                    .queue
                    .iter()
                    .position(|held| held.lease == lease)
                    .unwrap();
                let held = &mut machine.queue[at];
                held.running -= 1;
                held.busy_us += took as f64;
                if held.running == 0 && held.rest.is_empty() {
                    let (node, busy_us) = (held.node, held.busy_us as u64);
                    machine.queue.remove(at);
                    let arrives = now + self.round_trip / 2;
                    self.at(arrives, Due::Partial(id, lease, node, busy_us));
                }
                self.compute(now, id);
            }
            Due::Partial(worker, lease, node, busy_us) => {
                let (partial, len) = ((), 8);
                self.tell(
                    now,
                    Event::Partial {
                        worker,
                        lease,
                        node,
                        partial,
                        len,
                        busy_us,
                    },
                );
            }
            Due::Returned(worker, lease) => self.tell(now, Event::Returned { worker, lease }),
        }
    }
}

/// Runs one job on machines of (slots, slowness).
fn simulate(
    spec: JobSpec,
    machines: &[(u16, f64)],
    round_trip: u64,
    cost: &dyn Fn(u64) -> f64,
) -> Outcome {
    simulate_with(Trouble::default(), spec, machines, round_trip, cost)
}

/// The same with trouble.
fn simulate_with(
    trouble: Trouble,
    spec: JobSpec,
    machines: &[(u16, f64)],
    round_trip: u64,
    cost: &dyn Fn(u64) -> f64,
) -> Outcome {
    let mut simulation = Simulation {
        scheduler: Scheduler::new(Config::default()),
        machines: BTreeMap::new(),
        due: BTreeSet::new(),
        sequence: 0,
        round_trip,
        cost,
        spec,
        done: false,
        grants: 0,
        broken: trouble.broken,
        down: false,
        stored: BTreeSet::new(),
    };
    for (at, (slots, slowness)) in machines.iter().enumerate() {
        let worker = WorkerId(at as u64);
        let machine = Machine {
            slots: *slots,
            slowness: *slowness,
            idle: *slots,
            queue: VecDeque::new(),
        };
        simulation.machines.insert(worker, machine);
        let capacity = capacity(*slots);
        simulation.tell(
            0,
            Event::WorkerJoined {
                worker,
                capacity,
                held: Vec::new(),
            },
        );
    }
    let job = JobId(1);
    simulation.tell(0, Event::JobSubmitted { job, spec });
    if let Some(at) = trouble.death {
        simulation.at(at, Due::Death);
    }
    let mut now = 0;
    let mut heard = 0;
    while !simulation.done {
        let deadline = simulation
            .scheduler
            .next_deadline()
            .map_or(u64::MAX, |at| at.0);
        let next = simulation.due.first().map_or(u64::MAX, |(at, ..)| *at);
        // Workers say that they live every five seconds.
        let alive = heard + 5_000_000;
        now = next.min(deadline).min(alive).max(now);
        if alive <= now {
            heard = now;
            for worker in simulation.machines.keys().copied().collect::<Vec<_>>() {
                simulation.tell(now, Event::Heard { worker });
            }
        } else if next <= now {
            let (_, _, due) = simulation.due.pop_first().unwrap();
            simulation.happen(now, due);
        } else {
            simulation.tell(now, Event::Tick);
        }
    }
    let useful = simulation.work(0..spec.tree.tasks());
    let working = machines.iter().enumerate();
    let working = working.filter(|(at, _)| trouble.broken != Some(WorkerId(*at as u64)));
    let speed: f64 = working
        .map(|(_, machine)| machine)
        .map(|(slots, slowness)| f64::from(*slots) / slowness)
        .sum();
    Outcome {
        end: now,
        utilisation: useful / (speed * now as f64),
        grants: simulation.grants,
    }
}

const UNEQUAL: &[(u16, f64)] = &[(8, 1.0), (4, 1.0), (4, 2.0), (2, 4.0), (1, 8.0), (1, 16.0)];

fn assert_busy(name: &str, outcome: &Outcome, least: f64) {
    let Outcome {
        end,
        utilisation,
        grants,
    } = outcome;
    let seconds = *end as f64 / 1e6;
    println!("{name}: {utilisation:.3} useful, {seconds:.2} s, {grants} grants");
    assert!(
        *utilisation >= least,
        "{name}: only {utilisation:.3} useful"
    );
}

#[test]
fn unequal_machines_stay_busy() {
    // 30 s and more of everybody's time; 50 ms round trips.
    let even = simulate(spec(20_000, MergeMode::Reduce), UNEQUAL, 50_000, &|_| {
        30_000.0
    });
    assert_busy("20,000 tasks of 30 ms", &even, 0.9);
    let tiny = simulate(spec(1 << 36, MergeMode::Reduce), UNEQUAL, 50_000, &|_| 0.01);
    assert_busy("2^36 tasks of 10 ns", &tiny, 0.9);
    let long = simulate(spec(400, MergeMode::Reduce), UNEQUAL, 50_000, &|_| {
        2_000_000.0
    });
    assert_busy("400 tasks of 2 s", &long, 0.8);
}

#[test]
fn costs_that_vary_do_not_confuse() {
    // As the rows of a picture: cheap above and below, a hundred times dearer
    // in the middle.
    let picture = |task: u64| {
        let from_middle = (task as f64 / 32_768.0 - 1.0).abs();
        if from_middle < 0.4 { 30_000.0 } else { 300.0 }
    };
    let reduce = simulate(spec(65_536, MergeMode::Reduce), UNEQUAL, 50_000, &picture);
    assert_busy("picture, reduce", &reduce, 0.85);
    let concat = simulate(spec(65_536, MergeMode::Concat), UNEQUAL, 50_000, &picture);
    assert_busy("picture, concat", &concat, 0.85);
    let spread = |task: u64| {
        if task.is_multiple_of(97) {
            400_000.0
        } else {
            2_000.0
        }
    };
    let spread = simulate(spec(100_000, MergeMode::Reduce), UNEQUAL, 50_000, &spread);
    assert_busy("one dear task in 97", &spread, 0.9);
}

#[test]
fn a_million_tiny_tasks_cost_little_more_than_their_work() {
    // 50 ns each on two slots: 25 ms of work, round trips of 1 ms.
    let outcome = simulate(
        spec(1_000_000, MergeMode::Reduce),
        &[(2, 1.0)],
        1000,
        &|_| 0.05,
    );
    println!("{} µs, {} grants", outcome.end, outcome.grants);
    assert!(outcome.end < 60_000, "{} µs", outcome.end);
}

#[test]
fn a_coordinator_started_anew_goes_on_with_what_its_workers_do() {
    let trouble = Trouble {
        death: Some(10_000_000),
        ..Trouble::default()
    };
    let task = |_| 30_000.0;
    let spec = spec(20_000, MergeMode::Reduce);
    let outcome = simulate_with(trouble, spec, UNEQUAL, 50_000, &task);
    // Blocks of a second were queued when it died: of two seconds half are lost.
    assert_busy("two seconds without a coordinator", &outcome, 0.85);
}

#[test]
fn a_broken_machine_is_quarantined_and_the_others_stay_busy() {
    let broken = Some(WorkerId(1));
    let trouble = Trouble {
        broken,
        ..Trouble::default()
    };
    let task = |_| 30_000.0;
    let spec = spec(20_000, MergeMode::Reduce);
    let outcome = simulate_with(trouble, spec, UNEQUAL, 50_000, &task);
    assert_busy("one of six is broken", &outcome, 0.85);
}

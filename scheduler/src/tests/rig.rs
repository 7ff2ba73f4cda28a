//! A scheduler over strings: a task's partial is its number, a merge puts two
//! into brackets. What comes out shows in what order things were merged.

use crate::{Action, Capacity, Config, Event, JobSpec, Micros, Scheduler};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{Failure, FailureKind, JobId, LeaseId, MergeMode, Node, Tree, WorkerId};

pub(super) fn node(level: u8, index: u64) -> Node {
    Node::new(level, index).unwrap()
}

pub(super) fn spec(tasks: u64, merge: MergeMode) -> JobSpec {
    JobSpec {
        tree: Tree::new(tasks).unwrap(),
        merge,
        weight: 100,
        memory: 1 << 20,
        simd: false,
        bytes_per_task: 0,
        max_block: u64::MAX,
    }
}

pub(super) fn capacity(slots: u16) -> Capacity {
    Capacity {
        engine: EngineKind::Native,
        slots,
        memory: 1 << 30,
        simd: true,
        hidden: false,
    }
}

/// What a node's partial must be, whoever computed it in whatever parts.
pub(super) fn reference(tree: Tree, merge: MergeMode, node: Node) -> String {
    match (tree.halves(node), merge) {
        (None, MergeMode::Concat) => format!("{},", node.first()),
        (None, MergeMode::Reduce) => node.first().to_string(),
        (Some((left, None)), _) => reference(tree, merge, left),
        (Some((left, Some(right))), _) => {
            let (left, right) = (reference(tree, merge, left), reference(tree, merge, right));
            merged(merge, &left, &right)
        }
    }
}

pub(super) fn merged(merge: MergeMode, left: &str, right: &str) -> String {
    match merge {
        MergeMode::Concat => format!("{left}{right}"),
        MergeMode::Reduce => format!("({left} {right})"),
    }
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        message: "it broke".into(),
    }
}

/// A grant as a worker sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Granted {
    pub(super) worker: WorkerId,
    pub(super) lease: LeaseId,
    pub(super) job: JobId,
    pub(super) node: Node,
}

pub(super) fn grants(actions: &[Action<String>]) -> Vec<Granted> {
    let grant = |action: &Action<String>| match action {
        Action::Grant {
            worker,
            lease,
            job,
            node,
        } => Some(Granted {
            worker: *worker,
            lease: *lease,
            job: *job,
            node: *node,
        }),
        _ => None,
    };
    actions.iter().filter_map(grant).collect()
}

pub(super) struct Rig {
    pub(super) scheduler: Scheduler<String>,
    pub(super) now: Micros,
    /// Who was asked for a sign of life: not among the actions.
    pub(super) pinged: Vec<WorkerId>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            now: Micros(0),
            pinged: Vec::new(),
        }
    }

    /// Lets time pass without a tick.
    pub(super) fn pass(&mut self, micros: u64) {
        self.now = self.now + micros;
    }

    /// Hands an event in and gives all that came of it.
    pub(super) fn handle(&mut self, event: Event<String>) -> Vec<Action<String>> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        self.scheduler.assert_consistent();
        for ping in actions.extract_if(.., |action| matches!(action, Action::Ping { .. })) {
            if let Action::Ping { worker } = ping {
                self.pinged.push(worker);
            }
        }
        actions
    }

    pub(super) fn submit(&mut self, job: u64, spec: JobSpec) -> Vec<Action<String>> {
        let job = JobId(job);
        self.handle(Event::JobSubmitted { job, spec })
    }

    pub(super) fn join(&mut self, worker: u64, slots: u16) -> Vec<Action<String>> {
        let worker = WorkerId(worker);
        let capacity = capacity(slots);
        self.handle(Event::WorkerJoined {
            worker,
            capacity,
            held: Vec::new(),
        })
    }

    /// Submits one job and joins one worker; gives its grants.
    pub(super) fn start(&mut self, tasks: u64, merge: MergeMode, slots: u16) -> Vec<Granted> {
        assert_eq!(self.submit(1, spec(tasks, merge)), []);
        grants(&self.join(1, slots))
    }

    /// The answer of an honest worker for a node of its lease.
    pub(super) fn partial(&self, granted: Granted, node: Node) -> Event<String> {
        let spec = self.scheduler.jobs[&granted.job].spec;
        let partial = reference(spec.tree, spec.merge, node);
        Event::Partial {
            worker: granted.worker,
            lease: granted.lease,
            node,
            len: partial.len() as u64,
            partial,
            busy_us: 0,
        }
    }

    pub(super) fn answer(&mut self, granted: Granted) -> Vec<Action<String>> {
        self.handle(self.partial(granted, granted.node))
    }

    pub(super) fn fail(
        &mut self,
        granted: Granted,
        node: Node,
        kind: FailureKind,
    ) -> Vec<Action<String>> {
        self.handle(Event::Failed {
            worker: granted.worker,
            lease: granted.lease,
            node,
            failure: failure(kind),
        })
    }

    pub(super) fn give_back(&mut self, granted: Granted) -> Vec<Action<String>> {
        self.handle(Event::Returned {
            worker: granted.worker,
            lease: granted.lease,
        })
    }

    /// Lets time pass to the next deadline, at most `micros`, and ticks.
    pub(super) fn tick(&mut self, micros: u64) -> Vec<Action<String>> {
        let latest = self.now + micros;
        let due = self.scheduler.next_deadline().unwrap_or(latest);
        self.now = due.clamp(self.now, latest);
        self.handle(Event::Tick)
    }
}

pub(super) fn accepted(granted: Granted, node: Node, used: bool) -> Action<String> {
    Action::Accepted {
        worker: granted.worker,
        lease: granted.lease,
        node,
        used: used.then_some(granted.job),
    }
}

pub(super) fn revoke(granted: Granted) -> Action<String> {
    Action::Revoke {
        worker: granted.worker,
        lease: granted.lease,
    }
}

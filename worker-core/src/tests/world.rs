//! A made-up driver with its slots. It checks that the session keeps its side
//! of the calling contract, and computes with strings whose parentheses show how
//! they were merged.

use super::coordinator::Coordinator;
use crate::{Config, End, Input, JobBundle, Micros, Output, Reason, Session, Work};
use bytes::Bytes;
use manyhands_protocol::message::{EngineKind, MergeMode, ToCoordinator, ToWorker};
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId, Node, Tree, codec, cut_segment};
use std::collections::{BTreeMap, BTreeSet};

/// What goes wrong at a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The guest traps; whether the slot can tell at which task.
    Trap { told: bool },
    /// The task never ends.
    Endless,
    /// The process dies.
    Crash,
}

/// A command that a slot has been given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) ticket: u64,
    pub(super) job: JobId,
    pub(super) work: Work,
    pub(super) cancelled: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: u64,
    pub(super) coordinator: Coordinator,
    pub(super) open: bool,
    /// A socket is to be opened.
    pub(super) connecting: bool,
    pub(super) slots: BTreeMap<u16, Given>,
    pub(super) jobs: BTreeMap<JobId, JobBundle>,
    pub(super) to_load: Vec<JobId>,
    pub(super) put: BTreeMap<BlobHash, Bytes>,
    /// Whether modules are other bytes than their hash says.
    pub(super) unchecked: bool,
    /// Whether its driver may be able to read blobs itself, from the next connection on.
    pub(super) near: bool,
    /// What the driver is to look for itself.
    pub(super) sought: Vec<BlobHash>,
    pub(super) disconnects: Vec<Reason>,
    pub(super) finished: Option<End>,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) bad_merges: BTreeSet<Node>,
    /// Slot time a task takes, in microseconds.
    pub(super) task_us: u64,
    /// Bytes in the socket; it takes all at once unless `stuck`.
    pub(super) buffered: u64,
    pub(super) stuck: bool,
    /// Every command to run, in order: what has been begun how often.
    pub(super) runs: Vec<(u16, Work)>,
    last_ticket: u64,
}

pub(super) fn config(slots: u16) -> Config {
    Config {
        name: "test".into(),
        engine: EngineKind::Native,
        slots,
        queue: 0,
        memory: 1 << 30,
        simd: true,
        cache_bytes: 1 << 20,
        seed: 7,
    }
}

impl World {
    /// Not connected yet.
    pub(super) fn new(slots: u16, coordinator: Coordinator) -> Self {
        Self::seeded(slots, coordinator, 7)
    }

    /// The same with another session's jitter.
    pub(super) fn seeded(slots: u16, coordinator: Coordinator, seed: u64) -> Self {
        let config = Config {
            seed,
            ..config(slots)
        };
        let mut world = Self {
            session: Session::new(config, Micros(0)),
            now: 0,
            coordinator,
            open: false,
            connecting: false,
            slots: BTreeMap::new(),
            jobs: BTreeMap::new(),
            to_load: Vec::new(),
            put: BTreeMap::new(),
            near: false,
            unchecked: false,
            sought: Vec::new(),
            disconnects: Vec::new(),
            finished: None,
            faults: BTreeMap::new(),
            bad_merges: BTreeSet::new(),
            task_us: 1_000,
            buffered: 0,
            stuck: false,
            runs: Vec::new(),
            last_ticket: 0,
        };
        world.drain_outputs();
        world
    }

    /// Connected, welcomed, and silent.
    pub(super) fn welcomed(slots: u16, coordinator: Coordinator) -> Self {
        let mut world = Self::new(slots, coordinator);
        world.connect();
        world.deliver_all();
        world
    }

    /// Welcomed, with a driver that can read blobs itself.
    pub(super) fn near(slots: u16, coordinator: Coordinator) -> Self {
        let mut world = Self::new(slots, coordinator);
        world.near = true;
        world.connect();
        world.deliver_all();
        world
    }

    /// Welcomed, with a session that was set up in another way.
    pub(super) fn set_up(
        slots: u16,
        coordinator: Coordinator,
        set_up: fn(Session) -> Session,
    ) -> Self {
        let mut world = Self::new(slots, coordinator);
        world.session = set_up(Session::new(config(slots), Micros(0)));
        world.connecting = false;
        world.drain_outputs();
        world.connect();
        world.deliver_all();
        world
    }

    pub(super) fn connect(&mut self) {
        assert!(std::mem::take(&mut self.connecting), "no socket is wanted");
        self.open = true;
        self.handle(Input::Connected { near: self.near });
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.session.handle(Micros(self.now), input);
        self.drain_outputs();
    }

    /// The socket breaks.
    pub(super) fn sever(&mut self) {
        assert!(self.open);
        self.hang_up();
        self.handle(Input::Disconnected);
    }

    fn hang_up(&mut self) {
        self.open = false;
        self.buffered = 0;
        self.coordinator.connection_lost();
    }

    /// Lets time pass up to the session's next deadline.
    pub(super) fn wait(&mut self) {
        let deadline = self.session.next_deadline().expect("a deadline");
        self.now = self.now.max(deadline.0);
        self.handle(Input::Tick);
    }

    /// Gives the session the coordinator's next frame, if there is one.
    pub(super) fn deliver(&mut self) -> bool {
        let frame = if self.open {
            self.coordinator.inbox.pop_front()
        } else {
            None
        };
        let Some(frame) = frame else {
            return false;
        };
        self.handle(Input::Frame(frame));
        true
    }

    pub(super) fn deliver_all(&mut self) {
        while self.deliver() {}
    }

    /// Sends a message of the coordinator and delivers it.
    pub(super) fn tell(&mut self, message: &ToWorker) {
        self.handle(Input::Frame(codec::encode(message).into()));
    }

    pub(super) fn load_all(&mut self) {
        for job in std::mem::take(&mut self.to_load) {
            self.handle(Input::JobLoaded { job });
        }
    }

    /// Takes what the coordinator has been told and not looked at by itself.
    pub(super) fn heard(&mut self) -> Vec<ToCoordinator> {
        std::mem::take(&mut self.coordinator.heard)
    }

    /// Does all there is to do until nothing moves any more but time.
    pub(super) fn run_dry(&mut self) {
        loop {
            self.deliver_all();
            self.load_all();
            let Some(slot) = self.slots.keys().next().copied() else {
                if self.coordinator.inbox.is_empty() || !self.open {
                    return;
                }
                continue;
            };
            self.end_slot(slot);
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert_eq!(self.finished, None, "an output after the end: {output:?}");
            self.obey(output);
        }
        if !self.stuck && self.buffered > 0 && self.open && self.finished.is_none() {
            self.buffered = 0;
            self.handle(Input::Buffered { bytes: 0 });
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Connect => {
                assert!(!self.open && !self.connecting, "one connection at a time");
                self.connecting = true;
            }
            Output::Disconnect { reason } => {
                assert!(self.open || self.connecting, "nothing to disconnect");
                self.connecting = false;
                self.hang_up();
                self.disconnects.push(reason);
            }
            Output::Send(frame) => {
                assert!(self.open, "a frame without a socket");
                self.buffered += frame.len() as u64;
                self.coordinator.receive(frame.into());
            }
            Output::Fetch { hash, len } => {
                assert_eq!(self.coordinator.store[&hash].len() as u64, len);
                self.sought.push(hash);
            }
            Output::LoadJob(bundle) => {
                let job = bundle.header.job;
                assert!(self.unchecked || BlobHash::of(&bundle.module) == bundle.header.module);
                self.to_load.push(job);
                assert!(
                    self.jobs.insert(job, *bundle).is_none(),
                    "{job} is loaded twice"
                );
            }
            Output::UnloadJob { job } => {
                assert!(self.jobs.remove(&job).is_some(), "{job} was not loaded");
                self.to_load.retain(|loading| *loading != job);
            }
            Output::PutBlob { hash, bytes } => {
                assert_eq!(BlobHash::of(&bytes), hash);
                assert!(
                    self.put.insert(hash, bytes).is_none(),
                    "{hash:?} is put twice"
                );
            }
            Output::DropBlob { hash } => {
                assert!(self.put.remove(&hash).is_some(), "{hash:?} was not put");
            }
            Output::Start {
                slot,
                ticket,
                job,
                work,
            } => self.start(slot, ticket, job, work),
            Output::Cancel { slot, ticket } => {
                let given = self.slots.get_mut(&slot).expect("it runs");
                assert_eq!(given.ticket, ticket);
                given.cancelled = true;
            }
            Output::Finished(end) => self.finished = Some(end),
        }
    }

    fn start(&mut self, slot: u16, ticket: u64, job: JobId, work: Work) {
        assert!(
            slot < self.session.view().slots,
            "slot {slot} is not to be used"
        );
        assert!(ticket > self.last_ticket, "tickets grow");
        self.last_ticket = ticket;
        assert!(!self.to_load.contains(&job), "{job} is not loaded yet");
        let bundle = self.jobs.get(&job).expect("the job was loaded");
        if let Work::Run {
            node,
            tasks,
            segments,
            ..
        } = &work
        {
            let tree = Tree::new(bundle.header.tasks).unwrap();
            assert_eq!(tree.range(*node), *tasks);
            for segment in segments {
                assert!(
                    self.put.contains_key(&segment.hash),
                    "a segment was not put"
                );
                let range = segment.first_task..segment.first_task + segment.tasks;
                assert!(range.start < tasks.end && tasks.start < range.end);
            }
        }
        self.runs.push((slot, work.clone()));
        let given = Given {
            ticket,
            job,
            work,
            cancelled: false,
        };
        let before = self.slots.insert(slot, given);
        assert!(before.is_none(), "slot {slot} is busy");
    }

    /// The slot comes to an end with what it does.
    pub(super) fn end_slot(&mut self, slot: u16) {
        let given = self.slots.remove(&slot).expect("the slot is busy");
        let ticket = given.ticket;
        if given.cancelled {
            return self.handle(Input::SlotStopped { slot, ticket });
        }
        match given.work.clone() {
            Work::Merge { node, left, right } => {
                if self.bad_merges.contains(&node) {
                    return self.fail(slot, ticket, FailureKind::Trap, None);
                }
                let text = [b"(", &left[..], b" ", &right[..], b")"].concat();
                self.succeed(slot, ticket, text, 10);
            }
            Work::Run {
                node,
                tasks,
                single_step,
                ..
            } => {
                let fault = self.faults.range(tasks.clone()).next();
                let fault = fault.map(|(task, fault)| (*task, *fault));
                match fault {
                    None => {
                        let text = self.run(&given, node);
                        let busy_us = (tasks.end - tasks.start) * self.task_us;
                        self.succeed(slot, ticket, text, busy_us);
                    }
                    Some((task, Fault::Trap { told })) => {
                        self.fail(slot, ticket, FailureKind::Trap, told.then_some(task));
                    }
                    Some((task, Fault::Endless)) => {
                        let known = single_step || tasks.end - tasks.start == 1;
                        let others = std::mem::take(&mut self.slots);
                        self.fail(slot, ticket, FailureKind::Timeout, known.then_some(task));
                        for (slot, other) in others {
                            let ticket = other.ticket;
                            self.handle(Input::SlotLost { slot, ticket });
                        }
                    }
                    Some((_, Fault::Crash)) => {
                        self.slots.insert(slot, given);
                        self.crash();
                    }
                }
            }
        }
    }

    /// The process of all slots dies.
    pub(super) fn crash(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        let mut reports = slots.into_iter().map(|(slot, given)| Input::SlotCrashed {
            slot,
            ticket: given.ticket,
            message: "signal 9".into(),
        });
        // All slots are dead before the first is told of.
        let all: Vec<Input> = reports.by_ref().collect();
        for report in all {
            self.handle(report);
        }
    }

    fn succeed(&mut self, slot: u16, ticket: u64, text: Vec<u8>, busy_us: u64) {
        let partial = text.into();
        self.handle(Input::SlotDone {
            slot,
            ticket,
            partial,
            busy_us,
        });
    }

    pub(super) fn fail(&mut self, slot: u16, ticket: u64, kind: FailureKind, at: Option<u64>) {
        let failure = Failure {
            kind,
            message: "no luck".into(),
        };
        self.handle(Input::SlotFailed {
            slot,
            ticket,
            failure,
            at,
        });
    }

    /// What a guest would come to.
    fn run(&self, given: &Given, node: Node) -> Vec<u8> {
        let header = &self.jobs[&given.job].header;
        let tree = Tree::new(header.tasks).unwrap();
        let Work::Run { segments, .. } = &given.work else {
            panic!("not a run");
        };
        let task = |task: u64| {
            let Some(split) = header.split else {
                return task.to_string();
            };
            let mut holding = segments.iter();
            let segment = holding.find(|s| (s.first_task..s.first_task + s.tasks).contains(&task));
            let segment = segment.expect("a segment holds the task");
            let bytes = &self.put[&segment.hash];
            let range = cut_segment(bytes, split).range(task - segment.first_task);
            String::from_utf8(bytes[range].to_vec()).unwrap()
        };
        reference(tree, node, header.merge, &task).into_bytes()
    }
}

/// What a node comes to, by the book.
pub(super) fn reference(
    tree: Tree,
    node: Node,
    merge: MergeMode,
    task: &dyn Fn(u64) -> String,
) -> String {
    let of = |node| reference(tree, node, merge, task);
    match (tree.halves(node), merge) {
        (None, MergeMode::Reduce) => task(node.first()),
        (None, MergeMode::Concat) => task(node.first()) + ";",
        (Some((left, None)), _) => of(left),
        (Some((left, Some(right))), MergeMode::Reduce) => format!("({} {})", of(left), of(right)),
        (Some((left, Some(right))), MergeMode::Concat) => of(left) + &of(right),
    }
}

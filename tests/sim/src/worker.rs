//! Honest workers: the real session with a simulated machine around it. What its
//! slots do is in `slots`; when machines fail is decided in `faults`.

use crate::author::author_of;
use crate::network::{Item, LinkId, Route, Side};
use crate::slots::Slot;
use crate::world::{Event, Peer, PeerId, World};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId};
use manyhands_worker_core::{
    Config, ConnectionView, End, Input, JobBundle, Micros, Output, Reason, Session,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a machine is like.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) engine: EngineKind,
    pub(crate) slots: u16,
    pub(crate) memory: u64,
    pub(crate) simd: bool,
    /// Against a machine of speed 1.
    pub(crate) speed: f64,
    pub(crate) route: Route,
    /// Of a thousand pieces, how many end in which failure of the machine.
    pub(crate) fails: u64,
    pub(crate) crashes: u64,
    pub(crate) losses: u64,
    /// Of a thousand tasks, some cannot be computed on this machine.
    pub(crate) bad_tasks: bool,
    /// Modules that it cannot load, of a thousand.
    pub(crate) unusable: u64,
}

/// A module that was given to the machine.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) author: usize,
    pub(crate) ready: bool,
}

pub(crate) struct Worker {
    pub(crate) session: Session,
    pub(crate) machine: Machine,
    pub(crate) link: Option<LinkId>,
    /// What its clock is ahead of the world's.
    pub(crate) ahead_us: u64,
    pub(crate) frozen_until: u64,
    pub(crate) hidden: bool,
    pub(crate) paused: bool,
    tick_at: Option<u64>,
    pub(crate) slots: BTreeMap<u16, Slot>,
    pub(crate) jobs: BTreeMap<JobId, Loaded>,
    pub(crate) blobs: BTreeSet<BlobHash>,
    /// A middlebox had its hands in one of its connections.
    pub(crate) mangled: bool,
    pub(crate) draining: bool,
}

impl Worker {
    pub(crate) fn clock(&self, now: u64) -> Micros {
        Micros(now + self.ahead_us)
    }

    pub(crate) fn is_welcome(&self) -> bool {
        self.session.view().connection == ConnectionView::Welcome
    }
}

impl World {
    /// A new machine joins.
    pub(crate) fn add_worker(&mut self, machine: Machine) -> PeerId {
        let id = self.next_peer();
        let config = Config {
            name: format!("worker-{}", id.0),
            engine: machine.engine,
            slots: machine.slots,
            queue: 0,
            memory: machine.memory,
            simd: machine.simd,
            cache_bytes: 1 << 20,
            seed: self.rng.next(),
        };
        let ahead_us = self.rng.below(1 << 40);
        self.yardstick.joined(id, &machine, self.now);
        let worker = Worker {
            session: Session::new(config, Micros(self.now + ahead_us)),
            machine,
            link: None,
            ahead_us,
            frozen_until: 0,
            hidden: false,
            paused: false,
            tick_at: None,
            slots: BTreeMap::new(),
            jobs: BTreeMap::new(),
            blobs: BTreeSet::new(),
            mangled: false,
            draining: false,
        };
        self.trace.note(self.now, "worker joins", &[id.0]);
        self.peers.insert(id, Peer::Worker(Box::new(worker)));
        self.after_worker(id);
        id
    }

    pub(crate) fn worker(&mut self, id: PeerId) -> Option<&mut Worker> {
        match self.peers.get_mut(&id)? {
            Peer::Worker(worker) => Some(worker),
            Peer::Liar(_) => None,
        }
    }

    /// Tells a worker's session what happened and does what it says.
    pub(crate) fn tell_worker(&mut self, id: PeerId, input: Input) {
        let now = self.now;
        let Some(worker) = self.worker(id) else {
            return;
        };
        let clock = worker.clock(now);
        worker.session.handle(clock, input);
        self.after_worker(id);
    }

    fn after_worker(&mut self, id: PeerId) {
        while let Some(worker) = self.worker(id)
            && let Some(output) = worker.session.poll_output()
        {
            self.obey(id, output);
        }
        self.arm_worker(id);
    }

    /// Sets the worker's timer; a hidden page's are late.
    pub(crate) fn arm_worker(&mut self, id: PeerId) {
        let now = self.now;
        let late = self.rng.below(2_000_000);
        let Some(worker) = self.worker(id) else {
            return;
        };
        let Some(due) = worker.session.next_deadline() else {
            return;
        };
        let late = if worker.hidden { late } else { late / 1000 };
        let at = due.0.saturating_sub(worker.ahead_us).max(now + 1) + late;
        if worker.tick_at.is_none_or(|tick| tick > at || tick <= now) {
            worker.tick_at = Some(at);
            self.schedule(at, Event::WorkerTick { peer: id });
        }
    }

    pub(crate) fn worker_tick(&mut self, id: PeerId) {
        let now = self.now;
        let Some(worker) = self.worker(id) else {
            return;
        };
        if worker.frozen_until > now {
            let thaw = worker.frozen_until;
            worker.tick_at = Some(thaw);
            return self.schedule(thaw, Event::WorkerTick { peer: id });
        }
        if worker.tick_at == Some(now) {
            worker.tick_at = None;
            let clock = worker.clock(now);
            match worker.session.next_deadline() {
                Some(due) if due <= clock => self.tell_worker(id, Input::Tick),
                _ => self.arm_worker(id),
            }
        }
    }

    fn obey(&mut self, id: PeerId, output: Output) {
        match output {
            Output::Connect => {
                let worker = self.worker(id).expect("it speaks");
                assert!(worker.link.is_none(), "a second connection");
                let route = worker.machine.route.clone();
                worker.mangled |= route.mangled_until > 0;
                let link = self.open_link(id, route);
                self.worker(id).expect("it speaks").link = Some(link);
            }
            Output::Disconnect { reason } => {
                self.trace.note(self.now, "worker disconnects", &[id.0]);
                self.trace.tell(|| reason.to_string());
                self.check_disconnect(id, &reason);
                let link = self.worker(id).and_then(|worker| worker.link.take());
                if let Some(link) = link {
                    self.close_link(link, Side::Client);
                }
            }
            Output::Send(frame) => {
                let link = self.worker(id).and_then(|worker| worker.link);
                let link = link.expect("a session sends over its connection");
                self.transmit(link, Side::Server, Item::Frame(frame.into()));
                self.expect_drain(link);
            }
            Output::LoadJob(bundle) => self.load_job(id, &bundle),
            Output::UnloadJob { job } => {
                let worker = self.worker(id).expect("it speaks");
                if worker.jobs.remove(&job).is_none() {
                    self.fail(format!(
                        "worker {}: job {job} is unloaded and was not loaded",
                        id.0
                    ));
                }
            }
            Output::Fetch { .. } => unreachable!("the session is not told to fetch"),
            Output::PutBlob { hash, bytes } => {
                let worker = self.worker(id).expect("it speaks");
                if !worker.blobs.insert(hash) || BlobHash::of(&bytes) != hash {
                    self.fail(format!("worker {}: blob {hash} is put wrongly", id.0));
                }
            }
            Output::DropBlob { hash } => {
                self.worker(id).expect("it speaks").blobs.remove(&hash);
            }
            Output::Start {
                slot,
                ticket,
                job,
                work,
            } => self.start_slot(id, slot, ticket, job, work),
            Output::Cancel { slot, ticket } => self.cancel_slot(id, slot, ticket),
            Output::Finished(end) => self.worker_finished(id, &end),
        }
    }

    fn load_job(&mut self, id: PeerId, bundle: &JobBundle) {
        let job = bundle.header.job;
        if BlobHash::of(&bundle.module) != bundle.header.module {
            return self.fail(format!("worker {}: job {job} with another module", id.0));
        }
        let author = author_of(&bundle.header);
        let loaded = Loaded {
            author,
            ready: false,
        };
        let takes = self.rng.spread(1_000, 3_000_000);
        let unusable = self.rng.below(1000);
        let worker = self.worker(id).expect("it speaks");
        let usable = unusable >= worker.machine.unusable;
        if worker.jobs.insert(job, loaded).is_some() {
            return self.fail(format!("worker {}: job {job} is loaded twice", id.0));
        }
        let loads = Event::Loads {
            peer: id,
            job,
            usable,
        };
        self.schedule(self.now + takes, loads);
    }

    pub(crate) fn loads(&mut self, id: PeerId, job: JobId, usable: bool) {
        let now = self.now;
        let Some(worker) = self.worker(id) else {
            return;
        };
        if worker.frozen_until > now {
            let thaw = worker.frozen_until;
            let loads = Event::Loads {
                peer: id,
                job,
                usable,
            };
            return self.schedule(thaw, loads);
        }
        let Some(loaded) = worker.jobs.get_mut(&job) else {
            return;
        };
        if usable {
            loaded.ready = true;
            self.tell_worker(id, Input::JobLoaded { job });
        } else {
            self.tally.add("module that does not load");
            let (kind, message) = (FailureKind::Memory, "no memory to compile it".into());
            let failure = Failure { kind, message };
            self.tell_worker(id, Input::JobUnusable { job, failure });
        }
    }

    fn worker_finished(&mut self, id: PeerId, end: &End) {
        self.trace.note(self.now, "worker finished", &[id.0]);
        self.trace.tell(|| format!("{end:?}"));
        let worker = self.worker(id).expect("it speaks");
        let (link, draining, mangled) = (worker.link.take(), worker.draining, worker.mangled);
        if let Some(link) = link {
            self.close_link(link, Side::Client);
        }
        self.peers.remove(&id);
        if !draining && !mangled {
            self.fail(format!("worker {} was sent away for ever: {end:?}", id.0));
        }
    }

    /// Something came to a peer.
    pub(crate) fn client_receives(&mut self, id: PeerId, link: LinkId, item: Item) {
        let worker = match self.peers.get_mut(&id) {
            None => return,
            Some(Peer::Liar(_)) => return self.liar_receives(id, link, item),
            Some(Peer::Worker(worker)) => worker,
        };
        if worker.link != Some(link) {
            // A connection that it has given up.
            return;
        }
        match item {
            Item::Opened => self.tell_worker(id, Input::Connected { near: false }),
            Item::Frame(frame) => self.tell_worker(id, Input::Frame(frame)),
            Item::End => {
                worker.link = None;
                self.close_link(link, Side::Client);
                self.tell_worker(id, Input::Disconnected);
            }
            Item::Open => unreachable!("goes to the server"),
        }
    }

    pub(crate) fn drained(&mut self, link: LinkId) {
        let Some((id, bytes)) = self.buffered(link) else {
            return;
        };
        if bytes > 0 {
            self.expect_drain(link);
        }
        let now = self.now;
        if self
            .worker(id)
            .is_some_and(|worker| worker.link == Some(link) && worker.frozen_until <= now)
        {
            self.tell_worker(id, Input::Buffered { bytes });
        }
    }

    /// Until when the client end of a link is frozen, if it is.
    pub(crate) fn frozen_until(&mut self, link: LinkId, side: Side) -> Option<u64> {
        let (now, peer) = (self.now, self.network.links.get(&link)?.peer);
        let worker = self.worker(peer).filter(|_| side == Side::Client)?;
        (worker.frozen_until > now).then_some(worker.frozen_until)
    }

    /// The protocol was kept on both sides, or something broke TCP.
    fn check_disconnect(&mut self, id: PeerId, reason: &Reason) {
        let mangled = self.worker(id).is_some_and(|worker| worker.mangled);
        let harmless = match reason {
            Reason::Closing(_) | Reason::Silent(_) => true,
            Reason::Refused(why) => why.contains("as many workers") || why.contains("no hello"),
            _ => false,
        };
        if !harmless && !mangled {
            self.fail(format!("worker {} was told nonsense: {reason}", id.0));
        }
    }
}

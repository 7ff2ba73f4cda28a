//! The session: its calling contract, and where each input goes. What messages
//! lead to is in `messages`, what becomes of blobs in `inputs`, what slots do in
//! `work`, how results leave and how the session ends in `handing`.

mod handing;
mod inputs;
mod messages;
mod work;

#[cfg(doc)]
use crate::Ordinary;
use crate::blobs::Blobs;
use crate::connection::{Connection, Due};
use crate::jobs::Job;
use crate::leases::Lease;
use crate::results::Outbox;
use crate::slots::Slots;
use crate::sorted::SortedMap;
use crate::{Config, Input, LeaseView, Micros, Output, Reason, Rooms, View};
use manyhands_protocol::message::ToCoordinator;
use manyhands_protocol::{JobId, LeaseId, SessionToken, codec, limits};
use std::collections::VecDeque;

/// How often progress is told.
const PROGRESS_EVERY: Micros = Micros::from_millis(1000);

/// So late for a deadline is a machine that slept or a page that was frozen. The
/// timers of a hidden page are up to a minute late though it is awake.
const ASLEEP: Micros = Micros::from_millis(90_000);

/// A worker's side of one session with a coordinator.
///
/// # Calling contract
/// The driver owns it and is single-threaded about it:
/// 1. After [`new`](Self::new), and after each [`handle`](Self::handle) or several
///    in a row, call [`poll_output`](Self::poll_output) until it answers `None` and
///    do what it says, in order. The first output of a session is
///    [`Output::Connect`]. What has come at once is best handled in a row: what it
///    leads to is found out once for all of it.
/// 2. Then arm one timer at [`next_deadline`](Self::next_deadline); when it
///    fires, handle [`Input::Tick`].
/// 3. Tell it of every event as an [`Input`], with the time. Time never goes
///    back, but may leap: a machine sleeps, a page is frozen.
///
/// The rest are getters, for people.
///
/// There is one connection at a time. The session decides when to open one and
/// when to close one; the driver never reconnects by itself. Slots are named by
/// their index; each does one thing at a time, in the order given, and is given no
/// more than [`Config::queue`] before it has reported the end of what it has.
///
/// ```
/// use manyhands_protocol::message::EngineKind;
/// use manyhands_worker_core::{Config, Input, Micros, Output, Session};
///
/// let config = Config {
///     name: "lab-7".into(),
///     engine: EngineKind::Native,
///     slots: 8,
///     queue: 64,
///     memory: 4 << 30,
///     simd: true,
///     cache_bytes: 256 << 20,
///     seed: 1,
/// };
/// let mut session = Session::new(config, Micros(0));
/// assert_eq!(session.poll_output(), Some(Output::Connect));
/// assert_eq!(session.poll_output(), None);
/// session.handle(Micros(900), Input::Connected { near: false });
/// assert!(matches!(session.poll_output(), Some(Output::Send(_hello))));
/// ```
#[derive(Debug)]
pub struct Session {
    config: Config,
    /// The latest time there was.
    now: Micros,
    connection: Connection,
    jobs: SortedMap<JobId, Job>,
    /// In the order granted, which is the order of work.
    leases: VecDeque<Lease>,
    blobs: Blobs,
    slots: Slots,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    /// Whether something was taken in since it was last settled what that leads
    /// to.
    unsettled: bool,
    hidden: bool,
    /// The slots and the visibility that the coordinator was told last.
    told: ([u8; 2], bool),
    /// Goodbye by then.
    leaving: Option<Micros>,
    progress_at: Option<Micros>,
    tally: Tally,
}

/// What was done so far, for people.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    blocks: u64,
    tasks: u64,
    busy_us: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Session {
    /// A session that has not connected yet.
    ///
    /// # Panics
    /// When `config` claims more than
    /// [`MAX_SLOTS`](manyhands_protocol::limits::MAX_SLOTS) slots.
    #[must_use]
    pub fn new(config: Config, now: Micros) -> Self {
        assert!(config.slots <= limits::MAX_SLOTS, "{} slots", config.slots);
        Self {
            now,
            connection: Connection::new(&config, now),
            jobs: SortedMap::default(),
            leases: VecDeque::new(),
            blobs: Blobs::new(config.cache_bytes),
            slots: Slots::new(config.slots, config.queue),
            outbox: Outbox::default(),
            outputs: VecDeque::from([Output::Connect]),
            unsettled: false,
            hidden: false,
            told: ([0; 2], false),
            leaving: None,
            progress_at: None,
            tally: Tally::default(),
            config,
        }
    }

    /// Has blobs gather where `rooms` says, instead of in [`Ordinary`] memory.
    #[must_use]
    pub fn gathering_in(mut self, rooms: Box<dyn Rooms>) -> Self {
        self.blobs.gather_in(rooms);
        self
    }

    /// Takes in what happened. Nothing is taken in after
    /// [`Output::Finished`].
    ///
    /// # Panics
    /// When the driver claims more than
    /// [`MAX_SLOTS`](manyhands_protocol::limits::MAX_SLOTS) slots. Nothing the
    /// coordinator or a guest does leads to a panic.
    pub fn handle(&mut self, now: Micros, input: Input) {
        if self.connection.is_over() {
            return;
        }
        self.notice_sleep(now);
        self.now = self.now.max(now);
        self.take_in(input);
        self.unsettled = true;
    }

    /// The next thing to do, or `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.unsettled) && !self.connection.is_over() {
            self.settle();
        }
        self.outputs.pop_front()
    }

    /// When to handle [`Input::Tick`], if nothing else happens before. To be asked
    /// once no output is left.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.connection.is_over() {
            return None;
        }
        let lines = self.jobs.values().filter_map(|job| job.lines.deadline());
        let others = [
            self.connection.next_deadline(),
            self.progress_at,
            self.leaving,
        ];
        others.into_iter().flatten().chain(lines).min()
    }

    /// The secret that resumes this session, once there is one: a page needs it
    /// for the beacon it sends as it closes.
    #[must_use]
    pub fn token(&self) -> Option<SessionToken> {
        self.connection.token
    }

    /// The session at a glance.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            connection: self.connection.view(),
            worker: self.connection.worker,
            leases: self
                .leases
                .iter()
                .map(|lease| self.view_lease(lease))
                .collect(),
            busy_slots: self.slots.busy(),
            slots: self.slots.capacity(),
            blocks_done: self.tally.blocks,
            tasks_done: self.tally.tasks,
            busy_us: self.tally.busy_us,
            retained_bytes: self.outbox.kept_bytes(),
            bytes_in: self.tally.bytes_in,
            bytes_out: self.tally.bytes_out,
        }
    }

    fn view_lease(&self, lease: &Lease) -> LeaseView {
        LeaseView {
            job: lease.job,
            name: self.job(lease.job).header.name.clone(),
            tasks: lease.tasks(),
            done: self.tasks_done(lease),
            begun: lease.begun,
        }
    }

    /// A driver that comes much too late for a deadline was asleep, and what it
    /// did not do meanwhile is no fault of the coordinator's.
    fn notice_sleep(&mut self, now: Micros) {
        if let Some(deadline) = self.next_deadline()
            && now.since(deadline) >= ASLEEP
        {
            self.connection.woke(now);
            self.slots.woke();
        }
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Connected { near } => {
                self.blobs.seek(near);
                self.say_hello();
            }
            Input::Disconnected => {
                if self.connection.has_socket() {
                    self.connection.lost(self.now, None);
                    self.connection_gone();
                }
            }
            Input::Frame(frame) => self.receive(frame),
            Input::Fetched { hash, found } => self.fetched(hash, found),
            Input::Buffered { bytes } => {
                if self.outbox.buffered(self.now, bytes) {
                    self.connection.heard(self.now);
                }
            }
            Input::JobLoaded { job } => self.set_loaded(job),
            Input::JobUnusable { job, failure } => self.set_unusable(job, failure),
            Input::Log { job, text } => self.log(job, text),
            Input::Capacity { slots, hidden } => self.set_capacity(slots, hidden),
            Input::Drain { by } => self.leave(by),
            report => self.take_report(report),
        }
    }

    /// Does what has become possible or due.
    fn settle(&mut self) {
        self.load_jobs();
        self.give_back();
        self.settle_leases();
        self.start_work();
        self.ask_for_blobs();
        self.send_results();
        self.tell_progress();
        self.tell_dropped_lines();
        self.keep_connection();
        self.finish();
    }

    fn job(&self, job: JobId) -> &Job {
        self.jobs.get(&job).expect("a lease's job is known")
    }

    fn find(&self, lease: LeaseId) -> Option<usize> {
        self.leases.iter().position(|held| held.id == lease)
    }

    /// Nothing new is to be begun.
    fn holds_back(&self) -> bool {
        self.leaving.is_some() || self.slots.capacity() == 0
    }

    fn send(&mut self, message: &ToCoordinator) {
        if self.connection.is_welcome() {
            self.send_frame(codec::encode(message));
        }
    }

    fn send_frame(&mut self, frame: Vec<u8>) {
        self.connection.sent(self.now);
        self.tally.bytes_out += frame.len() as u64;
        self.outbox.gave_out(self.now, frame.len());
        self.outputs.push_back(Output::Send(frame));
    }

    /// Ends the connection from this side.
    fn disconnect(&mut self, reason: Reason) {
        assert!(self.connection.has_socket(), "there is a connection to end");
        let text = limits::clip(reason.to_string());
        match &reason {
            Reason::Refused(_) => self.connection.refused(self.now, text),
            _ => self.connection.lost(self.now, Some(text)),
        }
        self.outputs.push_back(Output::Disconnect { reason });
        self.connection_gone();
    }

    fn connection_gone(&mut self) {
        self.blobs.connection_lost();
        self.outbox.connection_lost();
        // The coordinator has others do the merges.
        self.drop_leases(Lease::is_merge);
        self.progress_at = None;
    }

    fn keep_connection(&mut self) {
        match self.connection.due(self.now) {
            None => {}
            Some(Due::Connect) => self.outputs.push_back(Output::Connect),
            Some(Due::Alive) => {
                self.send(&ToCoordinator::Alive);
                self.connection.asked(self.now);
            }
            Some(Due::Silent(seconds)) => self.disconnect(Reason::Silent(seconds)),
        }
    }

    /// How many tasks of a lease are done, counting those of pieces that run.
    fn tasks_done(&self, lease: &Lease) -> u64 {
        let runs = self.slots.runs().filter(|run| run.lease == lease.id);
        let running: u64 = runs.map(|run| run.done).sum();
        let tasks = lease.tasks();
        (lease.done + running).min(tasks.end - tasks.start)
    }

    fn tell_progress(&mut self) {
        if self.progress_at.is_some_and(|at| self.now >= at) {
            self.progress_at = None;
            for index in 0..self.leases.len() {
                let done = self.tasks_done(&self.leases[index]);
                let lease = &mut self.leases[index];
                if std::mem::replace(&mut lease.told, done) != done {
                    let lease = lease.id;
                    self.send(&ToCoordinator::Progress { lease, done });
                }
            }
        }
        let any = self.leases.iter().any(|lease| lease.begun);
        if any && self.connection.is_welcome() {
            let next = self.now.after(PROGRESS_EVERY);
            self.progress_at.get_or_insert(next);
        }
    }

    fn log(&mut self, job: JobId, text: String) {
        let Some(known) = self.jobs.get_mut(&job) else {
            return;
        };
        if known.lines.pass(self.now) {
            let text = limits::clip(text);
            self.send(&ToCoordinator::Log { job, text });
        }
    }

    fn tell_dropped_lines(&mut self) {
        let now = self.now;
        let dropped = self.jobs.iter_mut().filter_map(|(job, known)| {
            let lines = known.lines.take_dropped(now)?;
            Some((*job, lines))
        });
        for (job, lines) in dropped.collect::<Vec<_>>() {
            let text = format!("… {lines} lines dropped");
            self.send(&ToCoordinator::Log { job, text });
        }
    }

    fn set_capacity(&mut self, slots: u16, hidden: bool) {
        assert!(slots <= limits::MAX_SLOTS, "{slots} slots");
        self.slots.set_capacity(slots);
        self.hidden = hidden;
        self.tell_capacity();
    }

    /// Slots the coordinator may count on, and whether the page is hidden.
    fn capacity(&self) -> ([u8; 2], bool) {
        let slots = if self.leaving.is_some() {
            0
        } else {
            self.slots.capacity()
        };
        (slots.to_le_bytes(), self.hidden)
    }

    /// Tells the capacity, if it is another than what was told last.
    fn tell_capacity(&mut self) {
        let (slots, hidden) = self.capacity();
        if self.connection.is_welcome() && self.told != (slots, hidden) {
            self.told = (slots, hidden);
            self.send(&ToCoordinator::Capacity { slots, hidden });
        }
    }
}

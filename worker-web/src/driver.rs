//! The driver: a thin loop between the session and the browser. What happens
//! comes in as an [`Event`]; what the session wants done is done at once: here
//! what concerns the socket and the clock, in `jobs` and `slots` the rest.

mod jobs;
mod slots;

use crate::jobs::{Job, Segment};
use crate::machine::has_simd;
use crate::orders::Order;
use crate::report::Reporter;
use crate::slot::{Slot, SlotEvent};
use crate::socket::{Socket, SocketEvent};
use crate::table::Table;
use crate::timer::Timer;
use crate::watch::Watch;
use crate::{Settings, clock};
use js_sys::Function;
use js_sys::WebAssembly::Module;
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{BlobHash, JobId, limits};
use manyhands_worker_core::{Config, Input, Micros, Output, Session};
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// Bytes of modules, files and segments to keep.
const CACHE: u64 = 256 << 20;

/// How often to look at what a socket has yet to send: browsers do not tell.
const LOOK_AT_SOCKET: Micros = Micros::from_millis(20);

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The timer fired.
    Timer,
    /// The socket says something.
    Socket(SocketEvent),
    /// A slot says something.
    Slot(u16, SlotEvent),
    /// A job's module was compiled, or was not and why.
    Compiled(JobId, Result<Module, String>),
    /// The page wants so many slots.
    Slots(u16),
    /// The page wants this part of their time used.
    Share(f64),
    /// The page wants to pause or to go on.
    Paused(bool),
    /// The page was hidden or shown.
    Hidden(bool),
    /// The page wants to leave.
    Leave {
        /// In this time.
        within: Micros,
    },
}

/// What a person chose.
#[derive(Debug)]
struct Choice {
    slots: u16,
    share: f64,
    paused: bool,
    hidden: bool,
}

/// A session with its socket, slots, and clock.
#[derive(Debug)]
pub(crate) struct Driver {
    me: Weak<RefCell<Driver>>,
    url: String,
    slot_url: String,
    choice: Choice,
    session: Session,
    socket: Option<Socket>,
    /// When to look at what the socket has yet to send.
    look_at_socket: Option<Micros>,
    slots: Table<u16, Slot>,
    watch: Watch,
    jobs: Table<JobId, Job>,
    segments: Table<BlobHash, Segment>,
    timer: Timer,
    reporter: Reporter,
    over: bool,
}

impl Driver {
    /// Makes a session and opens its socket.
    pub(crate) fn start(settings: &Settings, report: Function) -> Rc<RefCell<Self>> {
        let now = clock::now();
        let driver =
            Rc::new_cyclic(|me| RefCell::new(Self::new(me.clone(), now, settings, report)));
        driver.borrow_mut().settle(now);
        driver
    }

    fn new(me: Weak<RefCell<Self>>, now: Micros, settings: &Settings, report: Function) -> Self {
        let slots = settings.slots().min(limits::MAX_SLOTS);
        let config = Config {
            name: settings.name(),
            engine: EngineKind::Browser,
            slots,
            // A slot yields to its event loop between two, and is ended to be cancelled.
            queue: 0,
            memory: settings.memory() as u64,
            simd: has_simd(),
            cache_bytes: CACHE,
            seed: clock::seed(),
        };
        let on_time = me.clone();
        let mut driver = Self {
            url: settings.url(),
            slot_url: settings.slot_url(),
            choice: Choice {
                slots,
                share: settings.share(),
                paused: false,
                hidden: settings.hidden(),
            },
            session: Session::new(config, now),
            socket: None,
            look_at_socket: None,
            slots: Table::default(),
            watch: Watch::default(),
            jobs: Table::default(),
            segments: Table::default(),
            timer: Timer::new(move || tell(&on_time, Event::Timer)),
            reporter: Reporter::new(report),
            over: false,
            me,
        };
        if driver.choice.hidden {
            driver.tell_capacity(now);
        }
        driver
    }

    /// Takes in what happened and does what follows.
    pub(crate) fn on(&mut self, event: Event) {
        if self.over {
            return;
        }
        let now = clock::now();
        match event {
            Event::Timer => self.on_timer(now),
            Event::Socket(event) => self.on_socket(now, event),
            Event::Slot(slot, SlotEvent::Told(told)) => self.on_slot(now, slot, &told),
            Event::Slot(slot, SlotEvent::Broken(text)) => self.on_broken(now, slot, text),
            Event::Compiled(job, outcome) => self.on_compiled(now, job, outcome),
            Event::Slots(slots) => {
                self.choice.slots = slots.min(limits::MAX_SLOTS);
                self.tell_capacity(now);
                self.end_spare_slots();
            }
            Event::Share(share) => {
                self.choice.share = share;
                let order = Order::share(self.choice.share);
                self.slots.values_mut().for_each(|slot| slot.post(&order));
            }
            Event::Paused(paused) => {
                self.choice.paused = paused;
                self.tell_capacity(now);
            }
            Event::Hidden(hidden) => {
                self.choice.hidden = hidden;
                self.tell_capacity(now);
            }
            Event::Leave { within } => {
                let by = now.after(within);
                self.session.handle(now, Input::Drain { by });
            }
        }
        self.settle(now);
    }

    /// Does all that the session wants, then arms the timer.
    fn settle(&mut self, now: Micros) {
        while let Some(output) = self.session.poll_output() {
            self.act(now, output);
        }
        self.reporter
            .settle(now, &self.session, self.choice.paused, self.watch.tasks());
        let deadlines = [
            self.session.next_deadline(),
            self.watch.next_deadline(),
            self.look_at_socket,
            self.reporter.next_deadline(),
        ];
        let next = deadlines.into_iter().flatten().min();
        self.timer.arm(now, next.filter(|_| !self.over));
    }

    fn act(&mut self, now: Micros, output: Output) {
        match output {
            Output::Connect => self.connect(now),
            Output::Disconnect { reason } => {
                web_sys::console::warn_1(&format!("the connection ends: {reason}").into());
                self.drop_socket();
            }
            Output::Send(frame) => {
                if let Some(socket) = &self.socket {
                    socket.send(&frame);
                    self.look_at_socket.get_or_insert(now.after(LOOK_AT_SOCKET));
                }
            }
            Output::LoadJob(bundle) => self.load(*bundle),
            Output::UnloadJob { job } => {
                self.jobs.remove(&job);
                self.slots.values_mut().for_each(|slot| slot.forget(job));
            }
            Output::Fetch { .. } => unreachable!("the session is not told to fetch"),
            Output::PutBlob { hash, bytes } => {
                self.segments.insert(hash, Segment::new(bytes));
            }
            Output::DropBlob { hash } => {
                self.segments.remove(&hash);
            }
            Output::Start {
                slot,
                ticket,
                job,
                work,
            } => self.start_work(now, slot, ticket, job, work),
            Output::Cancel { slot, ticket } => self.cancel(now, slot, ticket),
            Output::Finished(end) => {
                self.over = true;
                self.reporter.finish(end);
                self.slots.clear();
                self.drop_socket();
            }
        }
    }

    fn on_timer(&mut self, now: Micros) {
        let due = self.timer.armed_for().unwrap_or(now);
        self.timer.fired();
        if self.look_at_socket.is_some_and(|at| at <= now) {
            self.look_at_socket(now);
        }
        for slot in self.watch.overdue(now, due) {
            self.time_out(now, slot);
        }
        self.session.handle(now, Input::Tick);
    }

    // The socket.

    fn connect(&mut self, now: Micros) {
        let me = self.me.clone();
        let tell = move |event| tell(&me, Event::Socket(event));
        match Socket::open(&self.url, tell) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                web_sys::console::error_1(&error);
                self.session.handle(now, Input::Disconnected);
            }
        }
    }

    fn drop_socket(&mut self) {
        self.socket = None;
        self.look_at_socket = None;
    }

    fn on_socket(&mut self, now: Micros, event: SocketEvent) {
        let input = match event {
            SocketEvent::Open => Input::Connected { near: false },
            SocketEvent::Frame(frame) => Input::Frame(frame),
            SocketEvent::Closed => {
                self.drop_socket();
                Input::Disconnected
            }
        };
        self.session.handle(now, input);
    }

    fn look_at_socket(&mut self, now: Micros) {
        let bytes = self.socket.as_ref().map_or(0, Socket::buffered);
        self.look_at_socket = (bytes > 0).then(|| now.after(LOOK_AT_SOCKET));
        self.session.handle(now, Input::Buffered { bytes });
    }
}

/// Hands an event to a driver that may be gone.
fn tell(driver: &Weak<RefCell<Driver>>, event: Event) {
    if let Some(driver) = driver.upgrade() {
        driver.borrow_mut().on(event);
    }
}

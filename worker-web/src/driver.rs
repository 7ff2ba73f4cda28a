//! The driver: a thin loop between the session and the browser. What happens
//! comes in as an [`Event`]; what the session wants done is done at once.

use crate::failure::{self, failure};
use crate::jobs::{Job, Segment};
use crate::orders::Order;
use crate::report::Reporter;
use crate::slot::{Slot, SlotEvent, Told};
use crate::socket::{Socket, SocketEvent};
use crate::table::Table;
use crate::timer::Timer;
use crate::watch::Watch;
use crate::{Settings, clock};
use bytes::Bytes;
use js_sys::WebAssembly::Module;
use js_sys::{Function, Uint8Array, WebAssembly};
use manyhands_protocol::message::{EngineKind, SegmentRef};
use manyhands_protocol::{BlobHash, FailureKind, JobId, Split, limits};
use manyhands_worker_core::{Config, Input, JobBundle, Micros, Output, Session, Work};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::{Rc, Weak};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

/// Bytes of modules, files and segments to keep.
const CACHE: u64 = 256 << 20;

/// How often to look at what a socket has yet to send: browsers do not tell.
const LOOK_AT_SOCKET: Micros = Micros::from_millis(20);

/// How long a cancelled slice may go on before its slot is ended.
const PATIENCE: Micros = Micros::from_millis(1_500);

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
            Output::Cancel { slot, ticket } => {
                if let Some(slot) = self.slots.get(&slot) {
                    slot.post(&Order::cancel(ticket));
                }
                self.watch.cancel(slot, now.after(PATIENCE));
            }
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
            SocketEvent::Open => Input::Connected,
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

    // Jobs.

    fn load(&mut self, bundle: JobBundle) {
        let job = bundle.header.job;
        self.jobs.insert(job, Job::new(bundle.header, bundle.files));
        let compiling = JsFuture::from(WebAssembly::compile(&Uint8Array::from(&bundle.module[..])));
        let me = self.me.clone();
        spawn_local(async move {
            let outcome = compiling.await.map(JsCast::unchecked_into);
            let outcome = outcome.map_err(|error| text_of(&error));
            tell(&me, Event::Compiled(job, outcome));
        });
    }

    fn on_compiled(&mut self, now: Micros, job: JobId, outcome: Result<Module, String>) {
        // It may have been unloaded, or be loaded already.
        let Some(entry) = self
            .jobs
            .get_mut(&job)
            .filter(|entry| entry.module.is_none())
        else {
            return;
        };
        let input = match outcome {
            Ok(module) => {
                entry.module = Some(module);
                Input::JobLoaded { job }
            }
            Err(text) => {
                let text = format!("this browser cannot compile the module: {text}");
                let failure = failure(FailureKind::Crash, text);
                Input::JobUnusable { job, failure }
            }
        };
        self.session.handle(now, input);
    }

    // Slots.

    fn tell_capacity(&mut self, now: Micros) {
        let slots = if self.choice.paused {
            0
        } else {
            self.choice.slots
        };
        let hidden = self.choice.hidden;
        self.session.handle(now, Input::Capacity { slots, hidden });
    }

    /// Ends the slots that will get no more work.
    fn end_spare_slots(&mut self) {
        let (watch, wanted) = (&self.watch, self.choice.slots);
        self.slots
            .retain(|slot| *slot < wanted || watch.get(*slot).is_some());
    }

    fn start_work(&mut self, now: Micros, slot: u16, ticket: u64, job: JobId, work: Work) {
        let entry = self.jobs.get(&job).expect("the session has loaded the job");
        let limit = Micros::from_millis(entry.header.task_timeout_ms);
        let (order, tasks) = match work {
            Work::Run {
                tasks,
                single_step,
                segments,
                ..
            } => match inputs(&self.segments, entry.header.split, &segments, &tasks) {
                Some(parts) => (Order::run(ticket, job, &tasks, single_step, parts), tasks),
                None => {
                    let text = "an input's segment holds other tasks than the coordinator says";
                    let failure = failure(FailureKind::Crash, text);
                    return self.fail(now, slot, ticket, failure, None);
                }
            },
            Work::Merge { left, right, .. } => (Order::merge(ticket, job, &left, &right), 0..0),
        };
        let worker = match self.slots.remove(&slot) {
            Some(worker) => Ok(worker),
            None => self.spawn(slot),
        };
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                let failure = failure(FailureKind::Crash, text_of(&error));
                return self.fail(now, slot, ticket, failure, None);
            }
        };
        if !worker.knows(job) {
            worker.teach(job, &entry.order());
        }
        worker.post(&order);
        self.slots.insert(slot, worker);
        self.watch.begin(now, slot, ticket, job, tasks, limit);
    }

    fn spawn(&self, slot: u16) -> Result<Slot, JsValue> {
        let me = self.me.clone();
        let tell = move |event| tell(&me, Event::Slot(slot, event));
        Slot::start(&self.slot_url, self.choice.share, tell)
    }

    fn on_slot(&mut self, now: Micros, slot: u16, told: &Told) {
        let ticket = told.id() as u64;
        let Some(watched) = self
            .watch
            .get(slot)
            .filter(|watched| watched.ticket == ticket)
        else {
            return;
        };
        let job = watched.job;
        match told.op().as_str() {
            "slice" => {
                let rest = Micros::from_millis(told.rest() as u64);
                self.watch.slice(now, slot, told.tasks() as u64, rest);
                let tasks = self.watch.get(slot).expect("just seen").done;
                let input = Input::SlotProgress {
                    slot,
                    ticket,
                    tasks,
                };
                return self.session.handle(now, input);
            }
            "log" => {
                let text = told.text();
                return self.session.handle(now, Input::Log { job, text });
            }
            _ => {}
        }
        let watched = self.watch.end(slot).expect("just seen");
        match told.op().as_str() {
            "done" => {
                let input = Input::SlotDone {
                    slot,
                    ticket,
                    partial: Bytes::from(told.partial().to_vec()),
                    busy_us: (told.busy() * 1000.0) as u64,
                };
                self.session.handle(now, input);
            }
            "cancelled" => self
                .session
                .handle(now, Input::SlotStopped { slot, ticket }),
            "failed" => {
                let memory = self.jobs.get(&job).map_or(0, |entry| entry.header.memory);
                let failure = failure::of_told(told, memory);
                self.fail(now, slot, ticket, failure, watched.at());
            }
            op => unreachable!("slot.js posts no {op:?}"),
        }
        self.end_spare_slots();
    }

    fn on_broken(&mut self, now: Micros, slot: u16, message: String) {
        self.slots.remove(&slot);
        web_sys::console::error_1(&format!("slot {slot}: {message}").into());
        if let Some(watched) = self.watch.end(slot) {
            let ticket = watched.ticket;
            let input = Input::SlotCrashed {
                slot,
                ticket,
                message,
            };
            self.session.handle(now, input);
        }
    }

    /// Ends a slot that has said nothing for too long; another takes its place
    /// with its next order.
    fn time_out(&mut self, now: Micros, slot: u16) {
        self.slots.remove(&slot);
        let watched = self.watch.end(slot).expect("an overdue slot is at work");
        let ticket = watched.ticket;
        if watched.cancelled {
            return self
                .session
                .handle(now, Input::SlotStopped { slot, ticket });
        }
        let limit = self
            .jobs
            .get(&watched.job)
            .map_or(0, |entry| entry.header.task_timeout_ms);
        let failure = failure(
            FailureKind::Timeout,
            format!("ran longer than the time limit of {limit} ms"),
        );
        self.fail(now, slot, ticket, failure, watched.at());
    }

    fn fail(
        &mut self,
        now: Micros,
        slot: u16,
        ticket: u64,
        failure: manyhands_protocol::Failure,
        at: Option<u64>,
    ) {
        let input = Input::SlotFailed {
            slot,
            ticket,
            failure,
            at,
        };
        self.session.handle(now, input);
    }
}

/// Hands an event to a driver that may be gone.
fn tell(driver: &Weak<RefCell<Driver>>, event: Event) {
    if let Some(driver) = driver.upgrade() {
        driver.borrow_mut().on(event);
    }
}

/// What `tasks` read; `None` if a segment does not hold what was said of it.
fn inputs<'a>(
    segments: &'a Table<BlobHash, Segment>,
    split: Option<Split>,
    places: &[SegmentRef],
    tasks: &Range<u64>,
) -> Option<Vec<crate::jobs::Part<'a>>> {
    let Some(split) = split else {
        return Some(Vec::new());
    };
    let parts = places.iter().map(|place| {
        let segment = segments.get(&place.hash).expect("segments are put before");
        segment.part(place, split, tasks)
    });
    parts.collect()
}

/// What a thrown value says.
fn text_of(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}

/// Whether the engine has SIMD128: it takes a function that returns a vector.
fn has_simd() -> bool {
    const HEAD: [u8; 21] = [
        0, b'a', b's', b'm', 1, 0, 0, 0, // version 1
        1, 5, 1, 0x60, 0, 1, 0x7b, // types: () -> v128
        3, 2, 1, 0, // functions: of type 0
        10, 22, // code, 22 bytes
    ];
    let mut module = HEAD.to_vec();
    module.extend([1, 20, 0, 0xfd, 0x0c]); // one body: v128.const
    module.extend([0; 16]);
    module.push(0x0b);
    WebAssembly::validate(&Uint8Array::from(&module[..])).unwrap_or(false)
}

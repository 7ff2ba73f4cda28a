//! Workers whose computing is a nap: the real session over a real connection from a
//! host of its own, with slots that sleep for as long as a machine of some speed
//! would compute.

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use manyhands_protocol::limits::MAX_FRAME;
use manyhands_protocol::message::{EngineKind, ToWorker};
use manyhands_protocol::{Tree, codec};
use manyhands_tests::alarm::Alarm;
use manyhands_tests::far::Host;
use manyhands_tests::random::Random;
use manyhands_tests::yardstick::{Notes, Piece, Presence, Said};
use manyhands_worker_core::{Config, Input, Micros, Output, Session, Work};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What a piece costs beside its tasks: see `costs`.
const PIECE: Duration = Duration::from_micros(21);

/// How long a slot goes on at most after it was told to stop.
const SLICE: Duration = Duration::from_millis(50);

/// As small as a job's partial can be.
const PARTIAL: Bytes = Bytes::from_static(&[0; 8]);

/// What is noted while a job runs.
pub(crate) struct Diary {
    start: Instant,
    notes: Mutex<Notes>,
    /// How long connections took to be made.
    connects: Mutex<Vec<Duration>>,
}

impl Diary {
    pub(crate) fn begin() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            notes: Mutex::default(),
            connects: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics with it")
    }

    pub(crate) fn connects(&self) -> Vec<Duration> {
        self.connects.lock().expect("nobody panics with it").clone()
    }
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) slots: u16,
    /// Against one of speed 1,
    pub(crate) speed: f64,
    /// which takes so long for a task.
    pub(crate) task: Duration,
    /// What a packet takes to it.
    pub(crate) half: Duration,
}

impl Machine {
    /// Begins to work for a coordinator; which machine it is in the notes.
    pub(crate) fn start(
        self: &Arc<Self>,
        coordinator: SocketAddr,
        diary: &Arc<Diary>,
    ) -> (usize, JoinHandle<()>) {
        let presence = Presence {
            since: diary.now(),
            until: None,
            slots: self.slots,
            speed: self.speed,
        };
        let mut notes = diary.notes();
        let index = notes.machines.len();
        notes.machines.push(presence);
        let config = Config {
            name: format!("machine {index}"),
            engine: EngineKind::Native,
            slots: self.slots,
            queue: 0,
            memory: 8 << 30,
            simd: true,
            cache_bytes: 1 << 20,
            seed: index as u64,
        };
        let paced = Paced {
            machine: Arc::clone(self),
            coordinator,
            diary: Arc::clone(diary),
            index,
            session: Session::new(config, Micros(0)),
            start: Instant::now(),
            random: Random::new(index as u64),
            alarm: Alarm::new().expect("a timer"),
            connecting: None,
            socket: None,
            slots: BTreeMap::new(),
            freed: BTreeMap::new(),
            tree: None,
        };
        (index, tokio::spawn(paced.run()))
    }
}

type Socket = Box<WebSocketStream<TcpStream>>;

/// A slot that naps.
struct AtWork {
    ticket: u64,
    tasks: Range<u64>,
    begun: Instant,
    ends: Instant,
    cancelled: bool,
}

struct Paced {
    machine: Arc<Machine>,
    coordinator: SocketAddr,
    diary: Arc<Diary>,
    index: usize,
    session: Session,
    /// The session's time zero.
    start: Instant,
    random: Random,
    alarm: Alarm,
    connecting: Option<JoinHandle<io::Result<Socket>>>,
    socket: Option<Socket>,
    slots: BTreeMap<u16, AtWork>,
    /// Slots whose end is being told, and when that was: before it was noticed.
    freed: BTreeMap<u16, Instant>,
    /// Of the one job that there is.
    tree: Option<Tree>,
}

enum Wake {
    Connected(Option<Socket>),
    Frame(Option<Bytes>),
    Timer,
}

impl Paced {
    async fn run(mut self) {
        loop {
            self.follow().await;
            self.freed.clear();
            let wake = self.wake().await;
            // One moment for all that it leads to: a slot that goes on was never idle.
            let now = Instant::now();
            match wake {
                Wake::Connected(socket) => {
                    self.connecting = None;
                    let input = socket
                        .as_ref()
                        .map_or(Input::Disconnected, |_| Input::Connected { near: false });
                    self.socket = socket;
                    self.tell(now, input);
                }
                Wake::Frame(frame) => {
                    let mut next = Some(frame);
                    while let Some(frame) = next.take() {
                        self.frame(now, frame);
                        let ready = self.socket.as_mut().and_then(|at| at.next().now_or_never());
                        next = ready.map(binary);
                    }
                }
                Wake::Timer => self.timer(now),
            }
        }
    }

    fn micros(&self, at: Instant) -> Micros {
        Micros((at - self.start).as_micros() as u64)
    }

    fn tell(&mut self, now: Instant, input: Input) {
        let now = self.micros(now);
        self.session.handle(now, input);
    }

    async fn wake(&mut self) -> Wake {
        let session = self.session.next_deadline();
        let session = session.map(|at| self.start + Duration::from_micros(at.0));
        let slots = self.slots.values().map(|slot| slot.ends);
        let due = slots.chain(session).min();
        let timer = async {
            match due {
                Some(due) => self.alarm.wait_until(due).await.expect("a timer rings"),
                None => std::future::pending().await,
            }
        };
        let frame = async {
            match &mut self.socket {
                Some(socket) => binary(socket.next().await),
                None => std::future::pending().await,
            }
        };
        let connecting = async {
            match &mut self.connecting {
                Some(connecting) => connecting.await.expect("it does not panic").ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = frame => Wake::Frame(frame),
            socket = connecting => Wake::Connected(socket),
            () = timer => Wake::Timer,
        }
    }

    /// Slots that have slept enough, then the session's own time.
    fn timer(&mut self, now: Instant) {
        let due = self.slots.iter().filter(|(_, slot)| slot.ends <= now);
        let due: Vec<u16> = due.map(|(slot, _)| *slot).collect();
        for slot in due {
            let AtWork {
                ticket,
                tasks,
                begun,
                ends,
                cancelled,
            } = self.slots.remove(&slot).expect("just seen");
            let at = |moment: Instant| moment - self.diary.start;
            self.diary.notes().pieces.push(Piece {
                machine: self.index,
                tasks,
                begun: at(begun),
                ended: at(ends),
                cancelled,
            });
            self.freed.insert(slot, ends);
            let input = match cancelled {
                true => Input::SlotStopped { slot, ticket },
                // What the nap should have taken: that it took longer is no work.
                false => Input::SlotDone {
                    slot,
                    ticket,
                    partial: PARTIAL,
                    busy_us: (ends - begun).as_micros() as u64,
                },
            };
            self.tell(now, input);
        }
        self.tell(now, Input::Tick);
    }

    fn frame(&mut self, now: Instant, frame: Option<Bytes>) {
        let Some(frame) = frame else {
            self.socket = None;
            return self.tell(now, Input::Disconnected);
        };
        // Said when it was sent.
        let said = (now - self.diary.start).saturating_sub(self.machine.half);
        match codec::decode(frame.clone()).expect("a message").0 {
            ToWorker::Job(header) => self.tree = Tree::new(header.tasks),
            ToWorker::Grant { node, .. } => {
                let tasks = self.tree.expect("a header before").range(node);
                self.diary.notes().granted.push(Said { tasks, at: said });
            }
            ToWorker::Accepted { node, .. } => {
                let tasks = self.tree.expect("a header before").range(node);
                self.diary.notes().accepted.push(Said { tasks, at: said });
            }
            _ => {}
        }
        self.tell(now, Input::Frame(frame));
    }

    /// Does what the session says.
    async fn follow(&mut self) {
        let mut sent = false;
        loop {
            let now = Instant::now();
            while let Some(output) = self.session.poll_output() {
                sent |= matches!(output, Output::Send(_));
                self.obey(now, output).await;
            }
            if !std::mem::take(&mut sent) {
                return;
            }
            if let Some(socket) = &mut self.socket
                && socket.flush().await.is_ok()
            {
                self.tell(now, Input::Buffered { bytes: 0 });
            }
        }
    }

    async fn obey(&mut self, now: Instant, output: Output) {
        match output {
            Output::Connect => {
                let machine = Arc::clone(&self.machine);
                let diary = Arc::clone(&self.diary);
                let connecting = connect(machine, self.coordinator, diary);
                self.connecting = Some(tokio::spawn(connecting));
            }
            Output::Disconnect { .. } => (self.socket, self.connecting) = (None, None),
            Output::Send(frame) => {
                if let Some(socket) = &mut self.socket {
                    // A connection that has ended says so when it is read.
                    let _ = socket.feed(Message::binary(frame)).await;
                }
            }
            Output::LoadJob(bundle) => {
                let job = bundle.header.job;
                self.tell(now, Input::JobLoaded { job });
            }
            Output::Start {
                slot, ticket, work, ..
            } => self.begin(now, slot, ticket, work),
            Output::Cancel { slot, ticket } => {
                if let Some(at_work) = self.slots.get_mut(&slot)
                    && at_work.ticket == ticket
                {
                    at_work.cancelled = true;
                    at_work.ends = at_work.ends.min(now + SLICE / 2);
                }
            }
            Output::UnloadJob { .. } | Output::PutBlob { .. } | Output::DropBlob { .. } => {}
            Output::Fetch { .. } => unreachable!("the session is not told to fetch"),
            Output::Finished(end) => panic!("a machine was sent away: {end:?}"),
        }
    }

    fn begin(&mut self, now: Instant, slot: u16, ticket: u64, work: Work) {
        let Work::Run { tasks, .. } = work else {
            let done = Input::SlotDone {
                slot,
                ticket,
                partial: PARTIAL,
                busy_us: 0,
            };
            return self.tell(now, done);
        };
        // As in the simulation: up to a fifth more or less than usual.
        let jitter = 0.8 + self.random.below(401) as f64 / 1000.0;
        let work = (tasks.end - tasks.start) as f64 * jitter / self.machine.speed;
        // What its machine had at hand it began at once, however late that is noticed here.
        let begun = self.freed.remove(&slot).unwrap_or(now);
        let at_work = AtWork {
            ticket,
            tasks,
            begun,
            ends: begun + PIECE + self.machine.task.mul_f64(work),
            cancelled: false,
        };
        self.slots.insert(slot, at_work);
    }
}

/// From the machine's own host.
async fn connect(
    machine: Arc<Machine>,
    coordinator: SocketAddr,
    diary: Arc<Diary>,
) -> io::Result<Socket> {
    let connecting = move || {
        let (stream, took) = machine.host.within(|| {
            let begun = Instant::now();
            let stream = std::net::TcpStream::connect(coordinator);
            (stream, begun.elapsed())
        });
        let mut connects = diary.connects.lock().expect("nobody panics with it");
        connects.push(took);
        let stream = stream?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    let stream = tokio::task::spawn_blocking(connecting).await;
    let stream = TcpStream::from_std(stream.expect("it does not panic")?)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let url = format!("ws://{coordinator}/ws");
    let upgraded = client_async_with_config(url, stream, Some(config)).await;
    upgraded
        .map(|(socket, _)| Box::new(socket))
        .map_err(io::Error::other)
}

type Frame = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

/// A frame; none where the connection has ended.
fn binary(frame: Frame) -> Option<Bytes> {
    match frame {
        Some(Ok(Message::Binary(frame))) => Some(frame),
        _ => None,
    }
}

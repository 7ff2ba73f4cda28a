//! The loop around the session: socket, compute child, timer and commands in;
//! what the session says out. Decides nothing and computes nothing.

use crate::nearby::{At, Fetcher, Found};
use crate::rooms::{Lend, Shelf};
use crate::socket::{News, Socket};
use crate::wording::{report, spec, translate};
use crate::{Config, Inputs, RunError, StartError, url};
use bytes::Bytes;
use manyhands_engine::compute::{self, Compute, Event, Events};
use manyhands_engine::neighbour::Neighbour;
use manyhands_protocol::BlobHash;
use manyhands_protocol::message::EngineKind;
use manyhands_worker_core::{self as core, End, Input, Micros, Output, Session, View};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How often a new view is shown at most.
const VIEW_EVERY: Duration = Duration::from_millis(100);

/// Commands that a slot may have waiting: as many as cover a round trip of a
/// command and its answer, where each takes some microseconds.
const QUEUE: usize = 255;

/// What has come at once is taken in together, so much of it at most.
const ROUND: usize = 256;

/// What people ask of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Leave, after this long at the latest.
    Drain { grace: Duration },
}

pub(crate) struct Driver {
    session: Session,
    /// The session's time zero.
    start: Instant,
    url: String,
    socket: Option<Socket>,
    /// Bytes given to the socket and not yet written.
    unwritten: u64,
    compute: Compute,
    events: Events,
    shelf: Shelf,
    /// Whether a coordinator of this machine is asked for its files.
    sharing: bool,
    /// For blobs that need not be sent.
    fetcher: Option<Fetcher>,
    commands: mpsc::UnboundedReceiver<Command>,
    view: watch::Sender<View>,
    shown: Instant,
    /// Whether something has happened since then.
    stale: bool,
    ended: Option<End>,
    /// Why the compute child is gone for good.
    broken: Option<String>,
}

/// Whatever wakes the driver.
enum Wake {
    Socket(News),
    Compute(Option<Event>),
    Found(Found),
    Command(Option<Command>),
    Timer,
    Show,
}

impl Driver {
    /// Starts the compute child; nothing is connected yet.
    pub(crate) fn new(
        config: Config,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<(Self, watch::Receiver<View>), StartError> {
        let url = url::socket_url(&config.url)?;
        let (compute, events) = Compute::spawn(compute::Config {
            program: config.child_program,
            args: config.child_args,
            slots: usize::from(config.threads),
            cache: config.cache,
        })
        .map_err(StartError::Child)?;
        let start = Instant::now();
        let shelf = Shelf::default();
        let sharing = matches!(config.inputs, Inputs::Shared);
        let fetcher = match config.inputs {
            Inputs::Nearby(nearby) => Some(Fetcher::here(nearby).map_err(StartError::Thread)?),
            Inputs::Shared | Inputs::Sent => None,
        };
        let session = Session::new(
            session_config(
                config.name,
                config.threads,
                config.memory,
                fetcher.is_some(),
            ),
            Micros(0),
        );
        let session = session.gathering_in(Box::new(shelf.clone()));
        let (view, views) = watch::channel(session.view());
        let driver = Self {
            session,
            start,
            url,
            socket: None,
            unwritten: 0,
            compute,
            events,
            shelf,
            sharing,
            fetcher,
            commands,
            view,
            shown: start,
            stale: false,
            ended: None,
            broken: None,
        };
        Ok((driver, views))
    }

    /// Runs until the session is over.
    pub(crate) async fn run(mut self) -> Result<End, RunError> {
        loop {
            self.follow_session();
            if let Some(end) = self.ended.take() {
                self.show();
                self.part(&end).await;
                return self
                    .broken
                    .map_or(Ok(end), |reason| Err(RunError::Child(reason)));
            }
            let wake = self.wake().await;
            let now = self.now();
            self.take(now, wake);
            for _ in 1..ROUND {
                let Some(wake) = self.ready() else { break };
                self.take(now, wake);
            }
        }
    }

    fn take(&mut self, now: Micros, wake: Wake) {
        let input = match wake {
            Wake::Socket(news) => self.on_news(news),
            Wake::Compute(event) => self.on_event(event),
            Wake::Found((hash, at)) => Some(self.on_found(hash, at)),
            Wake::Command(command) => self.on_command(command),
            Wake::Timer => Some(Input::Tick),
            Wake::Show => {
                self.show();
                None
            }
        };
        if let Some(input) = input {
            self.session.handle(now, input);
            self.stale = true;
        }
    }

    /// What has come already.
    fn ready(&mut self) -> Option<Wake> {
        if let Some(event) = self.events.ready() {
            return Some(Wake::Compute(Some(event)));
        }
        if let Some(found) = self.fetcher.as_mut().and_then(Fetcher::ready) {
            return Some(Wake::Found(found));
        }
        let news = self.socket.as_mut()?.ready()?;
        Some(Wake::Socket(news))
    }

    fn now(&self) -> Micros {
        Micros(self.start.elapsed().as_micros() as u64)
    }

    async fn wake(&mut self) -> Wake {
        let deadline = self
            .session
            .next_deadline()
            .map(|at| self.start + Duration::from_micros(at.0));
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let socket = async {
            match &mut self.socket {
                Some(socket) => socket.next().await,
                None => std::future::pending().await,
            }
        };
        let fetched = async {
            match &mut self.fetcher {
                Some(fetcher) => fetcher.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = socket => Wake::Socket(news),
            event = self.events.next(), if self.broken.is_none() => Wake::Compute(event),
            found = fetched => Wake::Found(found),
            command = self.commands.recv() => Wake::Command(command),
            () = timer => Wake::Timer,
            () = tokio::time::sleep_until(self.shown + VIEW_EVERY), if self.stale => Wake::Show,
        }
    }

    /// Does what the session says, in order.
    fn follow_session(&mut self) {
        for hash in self.shelf.gone() {
            self.compute.drop_segment(hash);
        }
        while let Some(output) = self.session.poll_output() {
            assert!(self.ended.is_none(), "nothing follows the end of a session");
            match output {
                Output::Connect => {
                    self.unwritten = 0;
                    self.socket = Some(Socket::open(self.url.clone(), self.sharing));
                }
                Output::Disconnect { reason } => {
                    tracing::info!(%reason, "disconnecting");
                    if let Some(socket) = self.socket.take() {
                        tokio::spawn(socket.close(reason.to_string()));
                    }
                }
                Output::Send(frame) => self.send(frame),
                Output::Fetch { hash, len } => {
                    let fetcher = self.fetcher.as_ref();
                    fetcher
                        .expect("the session was told of it")
                        .fetch(hash, len);
                }
                Output::LoadJob(bundle) => self.compute.load(bundle.header.job, spec(*bundle)),
                Output::UnloadJob { job } => self.compute.unload(job),
                Output::PutBlob { hash, bytes } => self.put(hash, bytes),
                Output::DropBlob { hash } if self.shelf.is_lent(hash) => {}
                Output::DropBlob { hash } => self.compute.drop_segment(hash),
                Output::Start {
                    slot,
                    ticket,
                    job,
                    work,
                } => {
                    self.compute
                        .submit(usize::from(slot), ticket, job, translate(work));
                }
                Output::Cancel { slot, ticket: _ } => self.compute.cancel(usize::from(slot)),
                Output::Finished(end) => self.ended = Some(end),
            }
        }
    }

    /// Gives the child a segment that it does not have: as it lies, if that can be.
    fn put(&self, hash: BlobHash, bytes: Bytes) {
        match self.shelf.lend(hash) {
            Lend::Memory(memory) => self.compute.share_segment(hash, memory),
            Lend::Lent => {}
            Lend::Bytes => self.compute.put_segment(hash, bytes),
        }
    }

    fn send(&mut self, frame: Vec<u8>) {
        // Between its loss and the session's knowledge of it there may be no socket.
        if let Some(socket) = &self.socket {
            self.unwritten += frame.len() as u64;
            socket.send(frame);
        }
    }

    /// What lies in a file is given to the child at once: it reads what it comes to.
    fn on_found(&self, hash: BlobHash, at: At) -> Input {
        let found = match at {
            At::Memory(bytes) => core::Found::Bytes(bytes),
            At::File(part) => {
                self.compute.share_segment(hash, part);
                core::Found::Put
            }
            At::Nowhere => core::Found::Nothing,
        };
        Input::Fetched { hash, found }
    }

    fn on_connected(&mut self, neighbour: Option<Neighbour>) -> Input {
        if self.sharing {
            // Without its thread, inputs are sent.
            let fetcher = neighbour.map(Fetcher::neighbour).transpose();
            self.fetcher = fetcher.unwrap_or_default();
        }
        let near = self.fetcher.is_some();
        Input::Connected { near }
    }

    fn on_news(&mut self, news: News) -> Option<Input> {
        Some(match news {
            News::Connected { neighbour } => self.on_connected(neighbour),
            News::Frame(bytes) => Input::Frame(bytes),
            News::Written(bytes) => {
                self.unwritten -= bytes as u64;
                Input::Buffered {
                    bytes: self.unwritten,
                }
            }
            News::Disconnected(reason) => {
                tracing::info!(%reason, url = self.url, "not connected");
                self.socket = None;
                Input::Disconnected
            }
        })
    }

    fn on_event(&mut self, event: Option<Event>) -> Option<Input> {
        let event = event.unwrap_or(Event::Unavailable {
            reason: "its handle is gone".to_owned(),
        });
        match event {
            Event::Restarted { reason } => {
                // The engine has warned of it.
                tracing::debug!(%reason, "a new compute process stands in for one that ended");
                None
            }
            Event::Unavailable { reason } => {
                tracing::error!(%reason, "the compute process cannot be started");
                self.broken = Some(reason);
                Some(Input::Drain { by: self.now() })
            }
            other => Some(report(other)),
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Option<Input> {
        // Without a handle left, this task is being aborted.
        let Command::Drain { grace } = command?;
        let grace = Micros(u64::try_from(grace.as_micros()).unwrap_or(u64::MAX));
        Some(Input::Drain {
            by: self.now().after(grace),
        })
    }

    /// Shows how things stand.
    fn show(&mut self) {
        self.view.send_replace(self.session.view());
        self.shown = Instant::now();
        self.stale = false;
    }

    /// Sends what is left to send, and closes.
    async fn part(&mut self, end: &End) {
        let reason = match end {
            End::Drained => "drained".to_owned(),
            End::Closed { reason } => reason.clone(),
        };
        if let Some(socket) = self.socket.take() {
            socket.close(reason).await;
        }
    }
}

/// What is kept of inputs that need not be sent: next to nothing, since the system has
/// them too, and memory given back while slots compute delays nobody's end.
const NEARBY_CACHE: u64 = 16 << 20;

fn session_config(name: String, slots: u16, memory: u64, nearby: bool) -> core::Config {
    let cache_bytes = match nearby {
        true => NEARBY_CACHE,
        false => (memory / 8).clamp(64 << 20, 1 << 30),
    };
    core::Config {
        name,
        engine: EngineKind::Native,
        slots,
        queue: QUEUE,
        memory,
        // wasmtime has it on every machine that it supports.
        simd: true,
        cache_bytes,
        // Without a source of random numbers workers reconnect at the same
        // moments, which is no reason not to work.
        seed: getrandom::u64().unwrap_or(0),
    }
}

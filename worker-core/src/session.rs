//! The session: the calling contract, and what each input leads to.

use crate::{Config, ConnectionView, Input, Micros, Output, View};
use manyhands_protocol::{SessionToken, limits};
use std::collections::VecDeque;

/// A worker's side of one session with a coordinator.
///
/// # Calling contract
/// The driver owns it and is single-threaded about it:
/// 1. After [`new`](Self::new), and after every [`handle`](Self::handle), call
///    [`poll_output`](Self::poll_output) until it answers `None` and do what it
///    says, in order. The first output of a session is
///    [`Output::Connect`].
/// 2. Then arm one timer at [`next_deadline`](Self::next_deadline); when it
///    fires, handle [`Input::Tick`].
/// 3. Tell it of every event as an [`Input`], with the time. Time never goes
///    back.
///
/// The rest are getters, for people.
///
/// There is one connection at a time. The session decides when to open one and
/// when to close one; the driver never reconnects by itself. Slots are named by
/// their index; each does one thing at a time and is given nothing before it has
/// reported the end of what it has.
///
/// ```
/// use manyhands_protocol::message::EngineKind;
/// use manyhands_worker_core::{Config, Input, Micros, Output, Session};
///
/// let config = Config {
///     name: "lab-7".into(),
///     engine: EngineKind::Native,
///     slots: 8,
///     memory: 4 << 30,
///     simd: true,
///     cache_bytes: 256 << 20,
///     seed: 1,
/// };
/// let mut session = Session::new(config, Micros(0));
/// assert_eq!(session.poll_output(), Some(Output::Connect));
/// assert_eq!(session.poll_output(), None);
/// session.handle(Micros(900), Input::Connected);
/// assert!(matches!(session.poll_output(), Some(Output::Send(_hello))));
/// ```
#[derive(Debug)]
pub struct Session {
    config: Config,
    outputs: VecDeque<Output>,
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
        let _ = now;
        Self {
            config,
            outputs: VecDeque::from([Output::Connect]),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Micros, input: Input) {
        let _ = (now, input);
    }

    /// The next thing to do, or `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to handle [`Input::Tick`], if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        None
    }

    /// The secret that resumes this session, once there is one: a page needs it
    /// for the beacon it sends as it closes.
    #[must_use]
    pub fn token(&self) -> Option<SessionToken> {
        None
    }

    /// The session at a glance.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            connection: ConnectionView::Connecting,
            worker: None,
            leases: Vec::new(),
            busy_slots: 0,
            slots: self.config.slots,
            blocks_done: 0,
            tasks_done: 0,
            busy_us: 0,
            retained_bytes: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

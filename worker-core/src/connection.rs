//! The life of the one connection: opening, hello, welcome, the back-off before
//! the next try. Which messages are exchanged over it is not decided here.

use crate::{Config, ConnectionView, Micros};
use manyhands_protocol::{SessionToken, WorkerId};

/// The longest first wait before reconnecting; doubled with each failure.
const BACK_OFF_FIRST: Micros = Micros::from_millis(250);
/// While an outage is this young, waits are at most [`BACK_OFF_EARLY`]: most are
/// restarts and lost Wi-Fi, over in seconds, and a coordinator that is back is
/// to have its workers back in about another second. Tries of a second are no
/// burden to anybody for so long.
const EARLY: Micros = Micros::from_millis(10_000);
const BACK_OFF_EARLY: Micros = Micros::from_millis(1_000);
/// The longest wait of all.
const BACK_OFF_LAST: Micros = Micros::from_millis(30_000);
/// A connection that lasted this long was a good one: the next wait is short.
const GOOD: Micros = Micros::from_millis(5_000);
/// How long opening a socket may take.
const OPENING: Micros = Micros::from_millis(60_000);
/// How long a `Welcome` may take.
const GREETING: Micros = Micros::from_millis(20_000);
/// How long the coordinator may be silent after a sign of life was asked of it:
/// three times what it wants to be told of this side's, between these. It is
/// asked for one after it was silent as long as that, so that a connection that
/// leads nowhere is noticed within about half a minute.
const SILENCE_LEAST: Micros = Micros::from_millis(5_000);
const SILENCE_MOST: Micros = Micros::from_millis(20_000);
/// What `Welcome` may ask for, in milliseconds: neither a flood nor never.
const ALIVE_RANGE_MS: (u64, u64) = (100, 3_600_000);

#[derive(Clone, Debug)]
enum State {
    /// The driver opens a socket.
    Opening { since: Micros },
    /// The hello is sent.
    Greeting { since: Micros },
    /// Messages flow.
    Welcome { since: Micros, pulse: Pulse },
    /// The next try comes then.
    Waiting {
        until: Micros,
        reason: Option<String>,
    },
    /// There will be none any more.
    Over,
}

/// Who was heard when, over a connection with messages.
#[derive(Clone, Debug)]
struct Pulse {
    /// This side says something so often.
    alive_every: Micros,
    last_sent: Micros,
    last_heard: Micros,
    /// When `Alive` was said last, or the connection began.
    last_alive: Micros,
    /// The first `Alive` since the coordinator was heard.
    asked: Option<Micros>,
    /// To be asked at once, whatever was heard before the sleep.
    woke: bool,
}

impl Pulse {
    fn new(now: Micros, alive_every: Micros) -> Self {
        Self {
            alive_every,
            last_sent: now,
            last_heard: now,
            last_alive: now,
            asked: None,
            woke: false,
        }
    }

    /// When to say `Alive`: one side was silent for long, and it was not said
    /// just now.
    fn alive_at(&self) -> Micros {
        if self.woke {
            return Micros(0);
        }
        let quiet = self.last_sent.min(self.last_heard);
        quiet.max(self.last_alive).after(self.alive_every)
    }

    fn silence(&self) -> Micros {
        let span = Micros(self.alive_every.0.saturating_mul(3));
        span.clamp(SILENCE_LEAST, SILENCE_MOST)
    }

    /// When the silence of a coordinator that was asked is too long.
    fn silent_at(&self) -> Option<Micros> {
        Some(self.asked?.after(self.silence()))
    }
}

/// What the connection's timer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Open a socket.
    Connect,
    /// Say `Alive`, which the coordinator answers.
    Alive,
    /// Give the connection up: no answer for so many seconds.
    Silent(u64),
}

#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    /// What resumes the session.
    pub(crate) token: Option<SessionToken>,
    pub(crate) worker: Option<WorkerId>,
    /// Since when there has been no good connection.
    outage: Micros,
    /// How often the wait has doubled in this outage.
    doublings: u32,
    jitter: Jitter,
}

impl Connection {
    /// Opening its first socket.
    pub(crate) fn new(config: &Config, now: Micros) -> Self {
        Self {
            state: State::Opening { since: now },
            token: None,
            worker: None,
            outage: now,
            doublings: 0,
            jitter: Jitter(config.seed),
        }
    }

    /// The socket is open; whether it was being waited for.
    pub(crate) fn opened(&mut self, now: Micros) -> bool {
        let expected = matches!(self.state, State::Opening { .. });
        if expected {
            self.state = State::Greeting { since: now };
        }
        expected
    }

    /// The coordinator took this worker in; whether it was its turn to.
    pub(crate) fn welcomed(&mut self, now: Micros, alive_every_ms: u64) -> bool {
        let expected = matches!(self.state, State::Greeting { .. });
        if expected {
            let (least, most) = ALIVE_RANGE_MS;
            let alive_every = Micros::from_millis(alive_every_ms.clamp(least, most));
            self.state = State::Welcome {
                since: now,
                pulse: Pulse::new(now, alive_every),
            };
        }
        expected
    }

    pub(crate) fn is_welcome(&self) -> bool {
        matches!(self.state, State::Welcome { .. })
    }

    /// Whether frames are expected: a hello has gone out.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Welcome { .. })
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether a socket is there or being opened.
    pub(crate) fn has_socket(&self) -> bool {
        self.is_open() || matches!(self.state, State::Opening { .. })
    }

    /// The connection is gone: waits, with full jitter, before the next.
    pub(crate) fn lost(&mut self, now: Micros, reason: Option<String>) {
        if let State::Welcome { since, .. } = self.state
            && now.since(since) >= GOOD
        {
            self.new_outage(now);
        }
        let most = BACK_OFF_FIRST.0 << self.doublings;
        let wait = self.jitter.up_to(most.min(BACK_OFF_LAST.0));
        let early = now.since(self.outage) < EARLY;
        let cap = if early { BACK_OFF_EARLY } else { BACK_OFF_LAST };
        self.doublings += u32::from(most < cap.0);
        self.state = State::Waiting {
            until: now.after(Micros(wait)),
            reason,
        };
    }

    fn new_outage(&mut self, since: Micros) {
        self.outage = since;
        self.doublings = 0;
    }

    /// The coordinator asked to stay away for so long: a little longer, so that
    /// not all workers come at once.
    pub(crate) fn stay_away(&mut self, now: Micros, after: Micros, reason: String) {
        let jitter = Micros(self.jitter.up_to(BACK_OFF_FIRST.0 * 4));
        let until = now.after(after).after(jitter);
        self.new_outage(until);
        self.state = State::Waiting {
            until,
            reason: Some(reason),
        };
    }

    /// Refused: trying again soon would change nothing.
    pub(crate) fn refused(&mut self, now: Micros, reason: String) {
        let wait = BACK_OFF_LAST.0 / 2 + self.jitter.up_to(BACK_OFF_LAST.0 / 2);
        self.state = State::Waiting {
            until: now.after(Micros(wait)),
            reason: Some(reason),
        };
    }

    pub(crate) fn over(&mut self) {
        self.state = State::Over;
    }

    pub(crate) fn sent(&mut self, now: Micros) {
        if let State::Welcome { pulse, .. } = &mut self.state {
            pulse.last_sent = now;
        }
    }

    /// `Alive` was said: it is to be answered.
    pub(crate) fn asked(&mut self, now: Micros) {
        if let State::Welcome { pulse, .. } = &mut self.state {
            pulse.last_alive = now;
            pulse.asked.get_or_insert(now);
            pulse.woke = false;
        }
    }

    /// A sign of life of the other side.
    pub(crate) fn heard(&mut self, now: Micros) {
        if let State::Welcome { pulse, .. } = &mut self.state {
            pulse.last_heard = now;
            pulse.asked = None;
        }
    }

    /// The driver slept. What was to come meanwhile has its time from now on,
    /// and an old outage says nothing of a network that was just left or found.
    pub(crate) fn woke(&mut self, now: Micros) {
        match &mut self.state {
            State::Opening { since } | State::Greeting { since } => {
                *since = now;
                self.new_outage(now);
            }
            State::Welcome { pulse, .. } => {
                pulse.asked = None;
                pulse.woke = true;
            }
            State::Waiting { .. } => self.new_outage(now),
            State::Over => {}
        }
    }

    /// When [`due`](Self::due) is to be asked next.
    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        match &self.state {
            State::Opening { since } => Some(since.after(OPENING)),
            State::Greeting { since } => Some(since.after(GREETING)),
            State::Welcome { pulse, .. } => {
                let alive = pulse.alive_at();
                Some(pulse.silent_at().map_or(alive, |silent| alive.min(silent)))
            }
            State::Waiting { until, .. } => Some(*until),
            State::Over => None,
        }
    }

    /// What time asks for.
    pub(crate) fn due(&mut self, now: Micros) -> Option<Due> {
        let silent = |span: Micros| Some(Due::Silent(span.0 / 1_000_000));
        match &self.state {
            State::Opening { since } if now.since(*since) >= OPENING => silent(OPENING),
            State::Greeting { since } if now.since(*since) >= GREETING => silent(GREETING),
            State::Welcome { pulse, .. } if pulse.silent_at().is_some_and(|at| now >= at) => {
                silent(pulse.silence())
            }
            State::Welcome { pulse, .. } if now >= pulse.alive_at() => Some(Due::Alive),
            State::Waiting { until, .. } if now >= *until => {
                self.state = State::Opening { since: now };
                Some(Due::Connect)
            }
            _ => None,
        }
    }

    pub(crate) fn view(&self) -> ConnectionView {
        match &self.state {
            State::Opening { .. } | State::Greeting { .. } => ConnectionView::Connecting,
            State::Welcome { .. } => ConnectionView::Welcome,
            State::Waiting { until, reason } => ConnectionView::Waiting {
                until: *until,
                reason: reason.clone(),
            },
            State::Over => ConnectionView::Finished,
        }
    }
}

/// SplitMix64, to spread reconnects; nothing else depends on it.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// Any number of `0..=most`.
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * (u128::from(most) + 1)) >> 64) as u64
    }
}

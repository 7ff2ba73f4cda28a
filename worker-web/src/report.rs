//! What the page is told, some four times a second at most: a small plain
//! object.

use crate::orders::set;
use js_sys::{Function, Object};
use manyhands_protocol::SessionToken;
use manyhands_worker_core::{ConnectionView, End, Micros, Session, View};
use std::fmt::Write;
use wasm_bindgen::JsValue;

/// The time between two reports.
const EVERY: Micros = Micros::from_millis(250);

/// A pause between two blocks that is shorter is no "waiting".
const LULL: Micros = Micros::from_millis(1_500);

/// Says what has changed, neither too often nor for nothing.
#[derive(Debug)]
pub(crate) struct Reporter {
    report: Function,
    /// The last report and when it was.
    last: Option<(Micros, Shown)>,
    next: Option<Micros>,
    busy_at: Option<Micros>,
    end: Option<End>,
}

/// What a report says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    state: &'static str,
    reason: String,
    retry_at: Option<Micros>,
    worker: Option<u64>,
    token: Option<SessionToken>,
    job: Option<(u64, String)>,
    blocks: u64,
    tasks: u64,
    ran: u64,
    busy_slots: u16,
    slots: u16,
}

impl Reporter {
    pub(crate) fn new(report: Function) -> Self {
        Self {
            report,
            last: None,
            next: None,
            busy_at: None,
            end: None,
        }
    }

    /// The session is over.
    pub(crate) fn finish(&mut self, end: End) {
        self.end = Some(end);
    }

    /// When to be called again.
    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        self.next
    }

    /// Reports if it is time, or else notes when it will be. `ran` is the number
    /// of tasks run, accepted or not.
    pub(crate) fn settle(&mut self, now: Micros, session: &Session, paused: bool, ran: u64) {
        let due = self.last.as_ref().map_or(now, |(at, _)| at.after(EVERY));
        if due > now && self.end.is_none() {
            self.next = Some(due);
            return;
        }
        let shown = self.look(now, session, paused, ran);
        // While busy, look again: a lull has to be noticed too.
        self.next = (self.end.is_none() && shown.state == "computing").then(|| now.after(EVERY));
        if self.last.as_ref().is_some_and(|(_, last)| *last == shown) {
            return;
        }
        let message = shown.message(now);
        self.last = Some((now, shown));
        if let Err(error) = self.report.call1(&JsValue::NULL, &message) {
            web_sys::console::error_1(&error);
        }
    }

    fn look(&mut self, now: Micros, session: &Session, paused: bool, ran: u64) -> Shown {
        let view = session.view();
        if view.busy_slots > 0 {
            self.busy_at = Some(now);
        }
        let busy = self.busy_at.is_some_and(|at| now.since(at) < LULL);
        let (state, reason) = self.state(&view, paused, busy);
        let current = view.leases.iter().find(|lease| lease.begun);
        let current = current.or(view.leases.first());
        Shown {
            state,
            reason,
            retry_at: match view.connection {
                ConnectionView::Waiting { until, .. } => Some(until),
                _ => None,
            },
            worker: view.worker.map(|worker| worker.0),
            token: session.token(),
            job: current.map(|lease| (lease.job.0, lease.name.clone())),
            blocks: view.blocks_done,
            tasks: view.tasks_done,
            ran,
            busy_slots: view.busy_slots,
            slots: view.slots,
        }
    }

    fn state(&self, view: &View, paused: bool, busy: bool) -> (&'static str, String) {
        if let Some(end) = &self.end {
            return match end {
                End::Drained => ("stopped", String::new()),
                End::Closed { reason } => ("closed", reason.clone()),
            };
        }
        let state = match &view.connection {
            ConnectionView::Connecting if view.worker.is_some() => "offline",
            ConnectionView::Connecting => "connecting",
            ConnectionView::Waiting { reason, .. } => {
                return ("offline", reason.clone().unwrap_or_default());
            }
            ConnectionView::Welcome if paused => "paused",
            ConnectionView::Welcome if busy => "computing",
            ConnectionView::Welcome => "waiting",
            ConnectionView::Finished => "stopped",
        };
        (state, String::new())
    }
}

impl Shown {
    fn message(&self, now: Micros) -> Object {
        let message = Object::new();
        let optional = |text: Option<String>| text.map_or(JsValue::NULL, JsValue::from);
        set(&message, "op", "status");
        set(&message, "state", self.state);
        set(&message, "reason", self.reason.as_str());
        let retry = self.retry_at.map(|at| (at.since(now).0 / 1000) as f64);
        set(
            &message,
            "retryMs",
            retry.map_or(JsValue::NULL, JsValue::from),
        );
        set(
            &message,
            "worker",
            optional(self.worker.map(|id| id.to_string())),
        );
        set(&message, "token", optional(self.token.map(hexadecimal)));
        let (id, name) = self.job.clone().unzip();
        set(&message, "job", optional(id.map(|id| id.to_string())));
        set(&message, "jobName", optional(name));
        set(&message, "blocks", self.blocks as f64);
        set(&message, "tasks", self.tasks as f64);
        set(&message, "ran", self.ran as f64);
        set(&message, "busySlots", self.busy_slots);
        set(&message, "slots", self.slots);
        message
    }
}

/// The secret for the beacon of a page that closes.
fn hexadecimal(token: SessionToken) -> String {
    token.0.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

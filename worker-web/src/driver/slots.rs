//! The slots: starting them, giving them work, taking in what they say, ending
//! those that say nothing.

use super::jobs::inputs;
use super::{Driver, Event, tell};
use crate::failure::{self, failure, text_of};
use crate::orders::Order;
use crate::slot::{Slot, Told};
use bytes::Bytes;
use manyhands_protocol::{Failure, FailureKind, JobId, limits};
use manyhands_worker_core::{Input, Micros, Work};
use wasm_bindgen::JsValue;

/// How long a cancelled slice may go on before its slot is ended.
const PATIENCE: Micros = Micros::from_millis(1_500);

impl Driver {
    pub(super) fn tell_capacity(&mut self, now: Micros) {
        let slots = if self.choice.paused {
            0
        } else {
            self.choice.slots
        };
        let hidden = self.choice.hidden;
        self.session.handle(now, Input::Capacity { slots, hidden });
    }

    /// Ends the slots that will get no more work.
    pub(super) fn end_spare_slots(&mut self) {
        let (watch, wanted) = (&self.watch, self.choice.slots);
        self.slots
            .retain(|slot| *slot < wanted || watch.get(*slot).is_some());
    }

    pub(super) fn start_work(
        &mut self,
        now: Micros,
        slot: u16,
        ticket: u64,
        job: JobId,
        work: Work,
    ) {
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

    pub(super) fn on_slot(&mut self, now: Micros, slot: u16, told: &Told) {
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
            "done" => match partial(told) {
                Ok(partial) => {
                    let busy_us = (told.busy() * 1000.0) as u64;
                    let input = Input::SlotDone {
                        slot,
                        ticket,
                        partial,
                        busy_us,
                    };
                    self.session.handle(now, input);
                }
                Err(failure) => self.fail(now, slot, ticket, failure, watched.at()),
            },
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

    pub(super) fn on_broken(&mut self, now: Micros, slot: u16, message: String) {
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

    /// Has a slot stop at the end of its slice.
    pub(super) fn cancel(&mut self, now: Micros, slot: u16, ticket: u64) {
        if let Some(slot) = self.slots.get(&slot) {
            slot.post(&Order::cancel(ticket));
        }
        self.watch.cancel(slot, now.after(PATIENCE));
    }

    /// Ends a slot that has said nothing for too long; another takes its place
    /// with its next order.
    pub(super) fn time_out(&mut self, now: Micros, slot: u16) {
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

    fn fail(&mut self, now: Micros, slot: u16, ticket: u64, failure: Failure, at: Option<u64>) {
        let input = Input::SlotFailed {
            slot,
            ticket,
            failure,
            at,
        };
        self.session.handle(now, input);
    }
}

/// Takes a partial over from its slot. A hub that runs out of memory is lost with
/// all its slots, so whether there is room is asked first.
fn partial(told: &Told) -> Result<Bytes, Failure> {
    let from = told.partial();
    let len = from.length();
    if u64::from(len) > limits::MAX_PARTIAL {
        let most = limits::MAX_PARTIAL >> 20;
        let text = format!("a partial of {len} bytes; at most {most} MiB");
        return Err(failure(FailureKind::Error, text));
    }
    let mut partial = Vec::new();
    if partial.try_reserve_exact(len as usize).is_err() {
        let text = format!("this tab has no room for a partial of {len} bytes");
        return Err(failure(FailureKind::Memory, text));
    }
    partial.resize(len as usize, 0);
    from.copy_to(&mut partial);
    Ok(partial.into())
}

//! What becomes of a death: who is suspected, what is lost, and the child that
//! takes the dead one's place.

use super::modules::Modules;
use super::{Actor, Owner};
use crate::compute::Event;
use crate::compute::process::Process;
use crate::runtime::failure;
use manyhands_protocol::FailureKind;
use std::time::Duration;

/// So many deaths in a row are enough, if the last child never was ready.
const MAX_DEATHS: u32 = 5;

/// The wait before another start when a child has died before it answered
/// anything; it doubles, a few times.
const BACK_OFF: Duration = Duration::from_millis(100);

impl Actor {
    /// Puts a new child in the place of one that has ended; `None` when none
    /// can be started.
    pub(super) async fn replace(mut self) -> Option<Self> {
        let mut was_ready = std::mem::take(&mut self.ready);
        // Its watchdog has ended it, as it should: whoever asked for the work that
        // was overdue is told so.
        let expected = self.named_overdue;
        let mut suspect = was_ready && !expected;
        let mut reason = self.process.end().await;
        loop {
            self.deaths += 1;
            self.disown(suspect, &reason);
            if self.deaths >= MAX_DEATHS && !was_ready {
                tracing::error!(%reason, "no compute child can be started");
                self.tell(Event::Unavailable { reason });
                return None;
            }
            if self.deaths > 1 {
                tokio::time::sleep(BACK_OFF * (1 << (self.deaths - 2).min(6))).await;
            }
            match Process::start(&self.config) {
                Ok(process) => self.process = process,
                Err(error) => {
                    (was_ready, suspect, reason) = (false, false, error.to_string());
                    continue;
                }
            }
            if expected {
                tracing::debug!(%reason, "the compute child has ended; a new one takes its place");
            } else {
                tracing::warn!(%reason, "the compute child has ended; a new one takes its place");
            }
            self.reload();
            self.tell(Event::Restarted { reason });
            return Some(self);
        }
    }

    /// Loads everything into a new child, and what calls wait for.
    fn reload(&mut self) {
        self.named_overdue = false;
        self.modules = Modules::default();
        // Taken out and put back: sending notes what the child has.
        let jobs = std::mem::take(&mut self.jobs);
        for (job, spec) in &jobs {
            self.send_load(*job, spec);
        }
        self.jobs = jobs;
        for (hash, segment) in &self.segments {
            self.send_segment(*hash, segment);
        }
        for (slot, owner, job, work) in std::mem::take(&mut self.held) {
            self.send_work(slot, owner, job, work);
        }
    }

    /// Settles what a dead child had in flight. Where it did not name the
    /// cause, whatever ran is suspect.
    fn disown(&mut self, suspect: bool, reason: &str) {
        for slot in 0..self.in_flight.len() {
            let pieces = std::mem::take(&mut self.in_flight[slot]);
            for (at, piece) in pieces.into_iter().enumerate() {
                match (piece.owner, piece.again) {
                    (owner, _) if suspect && at == 0 => self.crashed(slot, owner, reason),
                    (Owner::Caller { piece }, _) => self.tell(Event::Lost { slot, piece }),
                    (owner, again) => {
                        let work = again.expect("a call keeps its work");
                        self.held.push((slot, owner, piece.job, work));
                    }
                }
            }
        }
    }

    fn crashed(&self, slot: usize, owner: Owner, reason: &str) {
        match owner {
            Owner::Caller { piece } => self.tell(Event::Crashed {
                slot,
                piece,
                reason: reason.to_owned(),
            }),
            owner @ Owner::Call { .. } => {
                let message = format!("the process that ran the guest ended: {reason}");
                self.answer(
                    slot,
                    owner,
                    Err((failure(FailureKind::Crash, message), None)),
                );
            }
        }
    }
}

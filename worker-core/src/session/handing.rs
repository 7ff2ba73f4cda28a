//! How leases end: complete, with failures, or given back because the worker
//! pauses or leaves; how their results are sent; how the session ends.

use super::Session;
use crate::leases::Standing;
use crate::{End, Micros, Output};
use manyhands_protocol::message::ToCoordinator;

impl Session {
    /// Hands in the leases that are over.
    pub(super) fn settle_leases(&mut self) {
        let mut at = 0;
        while at < self.leases.len() {
            match self.leases[at].standing() {
                Standing::Open => at += 1,
                Standing::Over {
                    partials,
                    incomplete,
                } => {
                    let lease = self.leases.remove(at).expect("it is there");
                    self.unpin_inputs(&lease);
                    let tree = self.job(lease.job).tree;
                    // Those of a merge were computed, and counted, before.
                    let tasks = |node| if lease.is_merge() { 0 } else { tree.len(node) };
                    let partials = partials.into_iter();
                    let partials = partials.map(|(node, partial)| (node, partial, tasks(node)));
                    let partials = partials.collect();
                    let named = (lease.id, lease.job, lease.claim());
                    self.outbox.end(named, partials, lease.failed, incomplete);
                }
            }
        }
    }

    /// Gives up what has not begun while nothing new is to be begun.
    pub(super) fn give_back(&mut self) {
        if !self.holds_back() {
            return;
        }
        let no_slots = self.slots.capacity() == 0;
        for lease in &mut self.leases {
            lease.give_up();
            if no_slots {
                lease.give_up_merges();
            }
        }
    }

    /// Sends results as far as the socket takes them.
    pub(super) fn send_results(&mut self) {
        while self.connection.is_welcome()
            && let Some(frame) = self.outbox.next_frame()
        {
            self.send_frame(frame);
        }
    }

    pub(super) fn leave(&mut self, by: Micros) {
        let first = self.leaving.is_none();
        self.leaving = Some(self.leaving.map_or(by, |before| before.min(by)));
        if first {
            self.tell_capacity();
        }
    }

    /// Says goodbye once all is handed in, or time is up.
    pub(super) fn finish(&mut self) {
        let Some(by) = self.leaving else {
            return;
        };
        let done = self.leases.is_empty() && self.outbox.is_empty();
        if (done || self.now >= by) && !self.connection.is_over() {
            self.send(&ToCoordinator::Goodbye);
            self.end(End::Drained);
        }
    }

    /// The session is over.
    pub(super) fn end(&mut self, end: End) {
        self.connection.over();
        self.drop_leases(|_| true);
        self.outputs.push_back(Output::Finished(end));
    }
}

//! Carrying out what the core asks for, in its order.

use super::{Accepted, Driver, Input, Trouble, Waiting};
use crate::app::App;
use crate::guests;
use axum::body::Bytes;
use manyhands_coordinator_core::{ConnectionId, Group, Input as Event, Output};
use manyhands_engine::compute::Merge;
use manyhands_scheduler::Micros;
use std::sync::Arc;

impl Driver {
    pub(super) fn carry_out(&mut self, now: Micros) {
        self.core.flush(now);
        while let Some(output) = self.core.poll_output() {
            self.carry_out_one(now, output);
        }
        while let Some((job, merges)) = self.merges.next_call() {
            guests::merge(&self.app, job, merges, self.root(job));
        }
    }

    fn carry_out_one(&mut self, now: Micros, output: Output) {
        match output {
            Output::Send { connection, frame } => self.send(now, connection, frame),
            Output::Close {
                connection,
                last,
                blame,
            } => {
                if let Some(reason) = blame {
                    tracing::warn!(connection = connection.0, reason, "disconnected");
                }
                if let Some(ends) = self.connections.remove(&connection) {
                    // It may have ended by itself.
                    let _ = ends.closing.send(last);
                }
            }
            Output::Commit(group) => {
                self.app.metrics.commits.inc();
                self.app.tasks.spawn(commit(Arc::clone(&self.app), group));
            }
            Output::Merge {
                job,
                node,
                operands,
            } => self.merges.add(job, node, Merge { operands }),
            Output::Finish { job, partial } => self.finish(now, job, partial),
            Output::Append { job, partial, task } => self.output(job).append(partial, task),
            Output::Complete { job } => self.output(job).complete(),
            Output::Log { job, text } => self.log(job, &text),
            Output::Submitted { request, view } => {
                let waiting = self.waiting.remove(&request);
                if let Some(Waiting::Submitted { job, early, reply }) = waiting {
                    let early = early.filter(|_| view.id == job);
                    if view.id != job {
                        self.withdraw(job);
                    }
                    // Whoever does not wait any more does not mind.
                    let _ = reply.send(Accepted { view, early });
                }
            }
            Output::Cancelled { request, view } => {
                if let Some(Waiting::Cancelled(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(view);
                }
            }
            Output::Result { view, bytes } => self.came_to(view, bytes),
            Output::Over { view } => self.over(now, view),
        }
    }

    /// Queues a frame for a worker; one that does not read is disconnected.
    fn send(&mut self, now: Micros, connection: ConnectionId, frame: Bytes) {
        let Some(ends) = self.connections.get(&connection) else {
            return;
        };
        if ends.frames.try_send(frame).is_err() {
            let connection_number = connection.0;
            tracing::warn!(
                connection_number,
                "disconnected: it does not take what it is sent"
            );
            self.connections.remove(&connection);
            self.core.handle(now, Event::Closed { connection });
        }
    }
}

/// Commits a group, however long that takes. Where the disk is to blame, it is
/// tried again until it works, or until the coordinator closes.
async fn commit(app: Arc<App>, group: Group) {
    let (number, group) = (group.number, Arc::new(group));
    let source = Trouble::Journal;
    let mut troubled = false;
    while let Err(error) = app.journal.commit(Arc::clone(&group)).await {
        let why = error.to_string();
        if !error.may_pass() {
            tracing::error!(why, "closing: nothing can be promised any more");
            return tell(&app, Input::Broken).await;
        }
        troubled = true;
        if app.wait_for_disk(source, why).await.is_none() {
            return;
        }
    }
    tell(&app, Input::Committed { group: number }).await;
    if troubled {
        tell(&app, Input::Trouble { source, why: None }).await;
    }
}

async fn tell(app: &App, input: Input) {
    // Without a driver nobody waits for it.
    let _ = app.driver.send(input).await;
}

//! Carrying out what the core asks for, in its order: frames, commits, answers.
//! Guests and results are in `results`.

use crate::coordinator::{Source, Waiting};
use crate::faults::Boundary;
use crate::network::{Item, LinkId, Side};
use crate::world::{Event, World};
use manyhands_coordinator_core::{ConnectionId, FromWorker, Group, Input, Output, Request};

/// How long a disk that takes nothing is left alone.
pub(crate) const RETRY_US: u64 = 500_000;

/// Overdue deadlines in a row that no driver would survive.
const SPINNING: u32 = 10_000;

impl World {
    /// Tells the core what happened; what it answers is dealt with soon.
    pub(crate) fn tell_core(&mut self, input: Input) {
        let now = self.coordinator.now(self.now);
        if let Some(core) = &mut self.coordinator.core {
            core.handle(now, input);
            self.pump();
        }
    }

    /// A worker's message, which is noted before it is handled.
    pub(crate) fn worker_says(&mut self, link: LinkId, message: FromWorker) {
        let now = self.coordinator.now(self.now);
        let noted = self.note_message(link, &message);
        let Some(core) = &mut self.coordinator.core else {
            return;
        };
        let before = core.counts();
        core.handle(
            now,
            Input::Message {
                connection: ConnectionId(link),
                message,
            },
        );
        let used = core.counts().partials > before.partials;
        if let Some(noted) = noted.filter(|_| used) {
            self.note_used(noted);
        }
        self.pump();
    }

    pub(crate) fn pump(&mut self) {
        if !self.coordinator.pump_scheduled {
            self.coordinator.pump_scheduled = true;
            let epoch = self.coordinator.epoch;
            // What comes meanwhile is of the same round.
            let slow = self.setup.fleet.is_none() && self.rng.permille(10);
            let most = if slow { 50_000 } else { 60 };
            let at = self.now + self.rng.below(most);
            self.schedule(at, Event::Pump { epoch });
        }
    }

    /// The end of a round of the driver's.
    pub(crate) fn end_round(&mut self) {
        self.coordinator.pump_scheduled = false;
        let now = self.coordinator.now(self.now);
        let epoch = self.coordinator.epoch;
        let core = self.coordinator.core.as_mut().expect("a pump is of a core");
        core.flush(now);
        while let Some(core) = &mut self.coordinator.core
            && let Some(output) = core.poll_output()
        {
            self.carry_out(output);
        }
        if self.coordinator.epoch == epoch {
            self.arm_core();
        }
    }

    fn arm_core(&mut self) {
        let core = self.coordinator.core.as_ref().expect("it runs");
        let due = core
            .next_deadline()
            .map(|due| due.0 + self.coordinator.start);
        let settled = core.is_settled();
        if let Some(by) = self.coordinator.end_by
            && (settled || self.now >= by)
        {
            self.tally.add("SIGTERM");
            return self.stop_coordinator(false);
        }
        let Some(due) = due else {
            return;
        };
        let overdue = due <= self.now;
        self.coordinator.overdue = if overdue {
            self.coordinator.overdue + 1
        } else {
            0
        };
        if self.coordinator.overdue > SPINNING {
            return self.fail("the core's deadline never passes: its driver spins".into());
        }
        let at = due.max(self.now + 1);
        if self
            .coordinator
            .tick_at
            .is_none_or(|tick| tick > at || tick <= self.now)
        {
            self.coordinator.tick_at = Some(at);
            let epoch = self.coordinator.epoch;
            self.schedule(at, Event::CoreTick { epoch });
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { connection, frame } => {
                let link = connection.0;
                if !self.has_connection(link) {
                    return;
                }
                self.check_frame(link, &frame);
                self.transmit(link, Side::Client, Item::Frame(frame));
                if self.is_flooded(link) {
                    self.tally.add("worker that does not read");
                    self.hang_up(link, None);
                    self.tell_core(Input::Closed { connection });
                }
            }
            Output::Close {
                connection,
                last,
                blame,
            } => {
                self.trace.note(self.now, "core closes", &[connection.0]);
                self.trace.tell(|| format!("{blame:?}"));
                self.check_closing(connection.0, &last);
                self.hang_up(connection.0, Some(last));
            }
            Output::Commit(group) => self.begin_commit(group),
            Output::Merge {
                job,
                node,
                operands,
            } => self.merge(job, node, operands),
            Output::Finish { job, partial } => {
                self.yardstick.has_result(self.now);
                self.finish(job, &partial);
            }
            Output::Append { job, partial, task } => self.append(job, &partial, task),
            Output::Complete { job } => self.complete(job),
            Output::Log { job, .. } => self.trace.note(self.now, "log", &[job.0]),
            Output::Submitted { request, view } => self.submitted(request, &view),
            Output::Cancelled { request, view } => self.cancelled(request, view.as_deref()),
            Output::Result { view, bytes } => self.check_early(&view, &bytes),
            Output::Over { view } => {
                self.check_over(&view);
                self.let_go(view.id);
                self.trouble(Source::Result(view.id), None);
            }
        }
    }

    fn begin_commit(&mut self, group: Group) {
        self.trace.note(
            self.now,
            "commit",
            &[group.number, group.records.len() as u64],
        );
        self.trace.tell(|| format!("{:?}", Shown(&group)));
        if self.coordinator.committing.is_some() {
            return self.fail("two groups at a time".into());
        }
        if self.crashes_at(Boundary::Before) {
            return;
        }
        self.coordinator.committing = Some(group);
        let takes = self.disk_time();
        let epoch = self.coordinator.epoch;
        self.schedule(self.now + takes, Event::CommitEnds { epoch });
    }

    pub(crate) fn end_commit(&mut self) {
        let epoch = self.coordinator.epoch;
        if self.disk_fails() {
            if !self.coordinator.commit_failed {
                self.coordinator.commit_failed = true;
                self.trouble(Source::Journal, Some("no space is left".into()));
            }
            return self.schedule(self.now + RETRY_US, Event::CommitEnds { epoch });
        }
        let group = self
            .coordinator
            .committing
            .take()
            .expect("one is under way");
        self.commit_to_disk(&group);
        if self.crashes_at(Boundary::Untold) {
            return;
        }
        self.trace.note(self.now, "committed", &[group.number]);
        self.tell_core(Input::Committed {
            group: group.number,
        });
        if std::mem::take(&mut self.coordinator.commit_failed) {
            self.trouble(Source::Journal, None);
        }
    }

    pub(crate) fn commit_to_disk(&mut self, group: &Group) {
        if let Err(fault) = self.disk.commit(group) {
            self.fail(fault);
        }
        self.check_disk(group);
    }

    /// Notes what cannot be kept; the core is told of the first such thing.
    pub(crate) fn trouble(&mut self, source: Source, why: Option<String>) {
        let troubles = &mut self.coordinator.troubles;
        let news = match why {
            Some(why) => troubles.insert(source, why).is_none(),
            None => troubles.remove(&source).is_some(),
        };
        let why = troubles.values().next().cloned();
        if news {
            self.tell_core(Input::Trouble(why));
        }
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) -> Request {
        self.coordinator.next_request += 1;
        let request = Request(self.coordinator.next_request);
        self.coordinator.waiting.insert(request, waiting);
        request
    }
}

/// A group in few words.
struct Shown<'a>(&'a Group);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use manyhands_coordinator_core::Record;
        for record in self.0.records.iter().take(8) {
            match record {
                Record::Ids { next } => write!(f, "ids before {next}, ")?,
                Record::Submitted { view, .. } => write!(f, "submitted {}, ", view.id)?,
                Record::Partial {
                    job, first, end, ..
                } => write!(f, "{job}: {first}..{end}, ")?,
                Record::Prefix { job, task, len } => write!(f, "{job}: prefix {task} at {len}, ")?,
                Record::Over { view, .. } => write!(f, "over {} {:?}, ", view.id, view.state)?,
            }
        }
        Ok(())
    }
}

//! What the session says in the words of the compute child's handle, and what that
//! says in the words of the session.

use bytes::Bytes;
use manyhands_engine::compute::{self, Event, JobSpec};
use manyhands_protocol::{Failure, FailureKind, limits};
use manyhands_worker_core::{self as core, Input, JobBundle};
use std::time::Duration;

pub(crate) fn spec(bundle: JobBundle) -> JobSpec {
    let JobBundle {
        header,
        module,
        files,
    } = bundle;
    let names = header.files.into_iter().map(|file| file.name);
    JobSpec {
        wasm: module,
        module: header.module,
        params: Bytes::from(header.params),
        memory_limit: header.memory,
        task_timeout: Duration::from_millis(header.task_timeout_ms),
        split: header.split,
        files: names.zip(files).collect(),
    }
}

pub(crate) fn translate(work: core::Work) -> compute::Work {
    match work {
        core::Work::Run {
            node: _,
            tasks,
            single_step,
            segments,
        } => {
            let segments = segments
                .into_iter()
                .map(|segment| (segment.first_task, segment.hash));
            compute::Work::Run {
                tasks,
                single_step,
                segments: segments.collect(),
            }
        }
        core::Work::Merge {
            node: _,
            left,
            right,
        } => compute::Work::Merge(compute::Merge::two(left, right)),
    }
}

/// What a piece's end, or news of it, mean to the session. Slots are as many as
/// the session asked for, so their numbers fit.
pub(crate) fn report(event: Event) -> Input {
    let narrow = |slot: usize| u16::try_from(slot).expect("slots are at most MAX_SLOTS");
    match event {
        Event::Loaded { job } => Input::JobLoaded { job },
        Event::LoadFailed { job, reason } => {
            let failure = Failure {
                kind: FailureKind::Crash,
                message: limits::clip(reason),
            };
            Input::JobUnusable { job, failure }
        }
        Event::Done {
            slot,
            piece,
            bytes,
            busy,
        } => Input::SlotDone {
            slot: narrow(slot),
            ticket: piece,
            partial: bytes,
            busy_us: busy.as_micros() as u64,
        },
        Event::Failed {
            slot,
            piece,
            mut failure,
            at,
        } => {
            failure.message = limits::clip(failure.message);
            Input::SlotFailed {
                slot: narrow(slot),
                ticket: piece,
                failure,
                at,
            }
        }
        Event::Overdue { slot, piece, tasks } => {
            let message = format!(
                "tasks {}..{} took too long together",
                tasks.start, tasks.end
            );
            let failure = Failure {
                kind: FailureKind::Timeout,
                message,
            };
            Input::SlotFailed {
                slot: narrow(slot),
                ticket: piece,
                failure,
                at: None,
            }
        }
        Event::Stopped { slot, piece } => Input::SlotStopped {
            slot: narrow(slot),
            ticket: piece,
        },
        Event::Lost { slot, piece } => Input::SlotLost {
            slot: narrow(slot),
            ticket: piece,
        },
        Event::Unread { slot, piece, hash } => Input::SlotUnread {
            slot: narrow(slot),
            ticket: piece,
            hash,
        },
        Event::Crashed {
            slot,
            piece,
            reason,
        } => Input::SlotCrashed {
            slot: narrow(slot),
            ticket: piece,
            message: reason,
        },
        Event::Log { job, slot: _, line } => Input::Log { job, text: line },
        Event::Progress { slot, piece, tasks } => Input::SlotProgress {
            slot: narrow(slot),
            ticket: piece,
            tasks: tasks as u64,
        },
        Event::Restarted { .. } | Event::Unavailable { .. } => {
            unreachable!("these concern the child, not a piece")
        }
    }
}

//! The compute child: a process that runs guests and nothing else, so that it
//! may be killed at any time. Its standard input brings commands, and on Linux
//! memory and files that it can read and not write, its standard output takes reports; it
//! ends when its input does, even while guests spin.
//!
//! Its threads: the main thread reads commands and never waits for a guest; one
//! rayon thread a slot runs them; a watchdog knows when each slice began; a
//! module is compiled on a thread of its own.

mod input;
mod jobs;
mod output;
mod segments;
mod slot;
mod watch;
pub(crate) mod wire;

use crate::runtime::{Runtime, SLOT_STACK, Settings};
use bytes::Bytes;
use input::Input;
use jobs::Jobs;
use output::Output;
use segments::Part;
use slot::Piece;
use std::io::{self, BufReader};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use watch::Watch;
use wire::{Command, Report, read_frame};

/// The exit code of a child that ended itself because a task was overdue.
pub(crate) const EXIT_OVERDUE: i32 = 75;

/// Why a child cannot work.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error(
        "this command is for manyhands' own use: its input does not come from a manyhands process ({0})"
    )]
    Input(#[from] io::Error),
    #[error(transparent)]
    Start(#[from] crate::runtime::StartError),
    #[error("threads cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Everything the threads share.
pub(crate) struct Shared {
    runtime: Runtime,
    output: Output,
    watch: Watch,
}

/// Runs the compute child until its input ends: the entry point of a hidden
/// subcommand. Takes over the process's standard input and output.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), ChildError> {
    let mut input = BufReader::with_capacity(64 << 10, Input::stdin()?);
    let Some((Command::Start { slots, cache }, _)) = read_frame(&mut input)? else {
        return Err(io::Error::other("no start command").into());
    };
    let slots = slots.max(1) as usize;
    let settings = Settings {
        slots,
        cache: cache.map(Into::into),
    };
    let shared = Arc::new(Shared {
        runtime: Runtime::new(&settings)?,
        output: Output::stdout()?,
        watch: Watch::new(slots),
    });
    let queues = start_slots(&shared, slots)?;
    start_watchdog(&shared)?;
    shared.output.report(&Report::Ready);
    let mut jobs = Jobs::new(Arc::clone(&shared));
    while let Some((command, bulk)) = read_frame(&mut input)? {
        match command {
            Command::ShareSegment { hash, len } => {
                jobs.put_segment(hash, input.get_mut().memory(len)?);
            }
            Command::ReadSegment { hash, offset, len } => jobs.put_part(Part {
                file: input.get_mut().file()?,
                offset,
                len,
                hash,
            }),
            command => dispatch(&shared, &mut jobs, &queues, command, bulk),
        }
    }
    // The slots may be inside guests that never return: do not join them.
    std::process::exit(0)
}

/// One thread of a rayon pool a slot, each with its queue of pieces.
fn start_slots(shared: &Arc<Shared>, slots: usize) -> Result<Vec<Sender<Piece>>, ChildError> {
    let (queues, ends): (Vec<_>, Vec<_>) = (0..slots)
        .map(|_| {
            let (queue, end) = mpsc::channel();
            (queue, Mutex::new(Some(end)))
        })
        .unzip();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(slots)
        .stack_size(SLOT_STACK)
        .thread_name(|slot| format!("slot-{slot}"))
        .start_handler(|_| Runtime::prepare_thread())
        .build()?;
    let shared = Arc::clone(shared);
    pool.spawn_broadcast(move |thread| {
        let slot = thread.index();
        let end = ends[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        slot::serve(&shared, slot, &end.expect("each slot starts once"));
    });
    // The slots live until the process ends; dropping the pool does not stop them.
    Ok(queues)
}

fn start_watchdog(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
    watchdog.spawn(move || {
        let overdue = shared.watch.until_overdue();
        for slice in overdue {
            shared.output.report(&slice.report());
        }
        std::process::exit(EXIT_OVERDUE);
    })?;
    Ok(())
}

fn dispatch(
    shared: &Shared,
    jobs: &mut Jobs,
    queues: &[Sender<Piece>],
    command: Command,
    bulk: Bytes,
) {
    match command {
        Command::Start { .. } => panic!("the parent starts a child once"),
        Command::PutModule { module, memory } => jobs.put_module(module, memory, bulk),
        Command::DropModule { module, memory } => jobs.drop_module(module, memory),
        Command::Load {
            job,
            module,
            limits,
            split,
            lengths,
        } => {
            jobs.load(job, module, limits, split, &lengths, bulk);
        }
        Command::Unload { job } => jobs.unload(job),
        Command::PutSegment { hash } => jobs.put_segment(hash, bulk),
        Command::ShareSegment { .. } | Command::ReadSegment { .. } => {
            unreachable!("taken in with its file")
        }
        Command::DropSegment { hash } => jobs.drop_segment(hash),
        Command::Cancel { slot, ticket } => shared.watch.cancel(slot as usize, ticket),
        Command::Work {
            slot,
            ticket,
            job,
            work,
        } => {
            let piece = jobs.piece(ticket, job, work, bulk);
            // A slot stops taking pieces once the child is about to end.
            let _ = queues[slot as usize].send(piece);
        }
    }
}

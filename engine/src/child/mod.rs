//! The compute child: a process that runs guests and nothing else, so that it
//! may be killed at any time. Its standard input brings commands, and on Linux
//! memory and files that it can read and not write, its standard output takes reports; it
//! ends when its input does, even while guests spin.
//!
//! Its threads: one for each slot, and one more than that which read commands in turn. A
//! call for a slot that has nothing to do is carried out by whoever read it, who leaves the
//! reading to the next: no thread is woken between a command and its work. Other pieces,
//! which are long as a rule, are the slot's own thread's, which wakes where it was: on a
//! processor that nobody else is at work on. A watchdog knows when each slice began; a
//! module is compiled on a thread of its own; the main thread waits for the end.

mod input;
mod jobs;
mod output;
mod segments;
mod slot;
mod watch;
pub(crate) mod wire;

use crate::runtime::{Runtime, SLOT_STACK, Settings};
use input::Input;
use jobs::Jobs;
use output::Output;
use segments::Part;
use slot::{Piece, Slot};
use std::io::{self, BufReader};
use std::process::ExitCode;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
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
    start_watchdog(&shared)?;
    let reader = Reader {
        input,
        jobs: Jobs::new(Arc::clone(&shared)),
        slots: Slot::each(&shared, slots),
        shared: Arc::clone(&shared),
    };
    let outcome = start_threads(reader)?;
    // A slot ends no more than one of those, so that one reads on till the end.
    outcome.recv().expect("a thread that reads")?;
    // The slots may be inside guests that never return: do not join them.
    std::process::exit(0)
}

/// The threads of a rayon pool, of slots first and then of readers; how the input ends.
fn start_threads(reader: Reader) -> Result<mpsc::Receiver<io::Result<()>>, ChildError> {
    let slots = reader.slots.clone();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2 * slots.len() + 1)
        .stack_size(SLOT_STACK)
        .thread_name(|thread| format!("slots-{thread}"))
        .start_handler(|_| Runtime::prepare_thread())
        .build()?;
    reader.shared.output.report(&Report::Ready);
    let (ended, outcome) = mpsc::channel();
    let reader = Mutex::new(reader);
    pool.spawn_broadcast(move |thread| {
        if let Some(slot) = slots.get(thread.index()) {
            // The child is about to end then.
            let _ = slot.serve();
            return;
        }
        loop {
            // The next one reads from here on.
            let next = reader.lock().expect("no reader panics").next();
            match next {
                Ok(Some((slot, piece))) => {
                    if slot.work(piece).is_err() {
                        return;
                    }
                }
                Ok(None) => return drop(ended.send(Ok(()))),
                Err(error) => return drop(ended.send(Err(error))),
            }
        }
    });
    // They live until the process ends; dropping the pool does not stop them.
    Ok(outcome)
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

/// What the thread has that reads commands.
struct Reader {
    input: BufReader<Input>,
    jobs: Jobs,
    slots: Vec<Arc<Slot>>,
    shared: Arc<Shared>,
}

impl Reader {
    /// Carries commands out, up to a call for a slot that has nothing to do: its piece.
    /// `None` when the input has ended.
    fn next(&mut self) -> io::Result<Option<(Arc<Slot>, Piece)>> {
        let jobs = &mut self.jobs;
        while let Some((command, bulk)) = read_frame(&mut self.input)? {
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
                } => jobs.load(job, module, limits, split, &lengths, bulk),
                Command::Unload { job } => jobs.unload(job),
                Command::PutSegment { hash } => jobs.put_segment(hash, bulk),
                Command::ShareSegment { hash, len } => {
                    let memory = self.input.get_mut().memory(len)?;
                    jobs.put_segment(hash, memory);
                }
                Command::ReadSegment { hash, offset, len } => jobs.put_part(Part {
                    file: self.input.get_mut().file()?,
                    offset,
                    len,
                    hash,
                }),
                Command::DropSegment { hash } => jobs.drop_segment(hash),
                Command::Cancel { slot, ticket } => {
                    self.shared.watch.cancel(slot as usize, ticket);
                }
                Command::Work {
                    slot,
                    ticket,
                    job,
                    call,
                    work,
                } => {
                    let slot = &self.slots[slot as usize];
                    let piece = jobs.piece(ticket, job, work, bulk);
                    if let Some(piece) = slot.take(piece, call) {
                        return Ok(Some((Arc::clone(slot), piece)));
                    }
                }
            }
        }
        Ok(None)
    }
}

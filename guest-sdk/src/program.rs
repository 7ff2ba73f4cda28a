//! How a host drives a job: the calls of ABI.md over byte strings. Memory and exports are in `abi`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{self, Layout};
use crate::job::{Concat, Outcome, Reduce};
use crate::rng::job_seed;
use crate::{Error, Media, Result, Task, canonical};

/// The version of ABI.md that this crate speaks.
pub const ABI_VERSION: u16 = 1;

/// The most tasks a job may have: 2^62.
const MAX_TASKS: u64 = 1 << 62;

/// The first byte of every answer that is not an error; the value follows.
const OK: u8 = 0;

/// The custom section of a job.
pub const fn section<P: Program>(input: bool) -> [u8; 4] {
    let [low, high] = ABI_VERSION.to_le_bytes();
    [low, high, P::MERGE_MODE, input as u8]
}

/// An instance of a guest. Answers begin with the status byte and are otherwise the ABI's values.
pub trait Program: Sized {
    /// 0 = reduce, 1 = concat.
    const MERGE_MODE: u8;
    /// Reads the parameters; gives the program and what `open` answers.
    fn open(params: &[u8]) -> Result<(Self, Vec<u8>)>;
    /// Runs tasks `first .. first + count`.
    fn run(&mut self, first: u64, count: u64) -> Result<()>;
    /// Ends the block and gives its partial.
    fn take(&mut self) -> Result<Vec<u8>>;
    /// Merges the partials of a left and a right sibling.
    fn merge(&mut self, left: &[u8], right: &[u8]) -> Result<Vec<u8>>;
    /// Makes the result of the root's partial.
    fn finish(&mut self, partial: &[u8]) -> Result<Vec<u8>>;
}

/// What `open` answers.
#[derive(Serialize)]
struct Opened {
    tasks: u64,
    #[serde(flatten)]
    media: Media,
}

impl Opened {
    fn answer(tasks: u64, media: Media) -> Result<Vec<u8>> {
        if tasks > MAX_TASKS {
            return Err(Error::new(format_args!(
                "{tasks} tasks are more than a job may have, 2^62"
            )));
        }
        let mut answer = vec![OK];
        serde_json::to_writer(&mut answer, &Self { tasks, media })?;
        Ok(answer)
    }
}

/// Reads the parameters. No parameters, or none but `{}`, also make a unit struct.
fn parse<T: DeserializeOwned>(params: &[u8]) -> Result<T> {
    let params = if params.is_empty() { b"{}" } else { params };
    serde_json::from_slice(params)
        .or_else(|error| match params {
            b"{}" => serde_json::from_slice(b"null").map_err(|_| error),
            _ => Err(error),
        })
        .map_err(|error| Error::new(format_args!("parameters: {error}")))
}

/// The slices of a block come in order and without gaps.
#[derive(Default)]
struct Slices {
    /// The task after those of this block that have run.
    next: Option<u64>,
}

impl Slices {
    fn enter(&mut self, first: u64, count: u64) -> Result<std::ops::Range<u64>> {
        let in_order = self.next.is_none_or(|next| next == first);
        let end = first.checked_add(count).filter(|end| *end <= MAX_TASKS);
        match end {
            Some(end) if in_order => {
                self.next = Some(end);
                Ok(first..end)
            }
            _ => Err(Error::new(format_args!(
                "the host ran {count} tasks from {first} out of order"
            ))),
        }
    }
}

/// Drives a [`Reduce`] job.
pub struct ReduceProgram<J: Reduce> {
    job: J,
    task: Task,
    slices: Slices,
    /// The partials of this block's finished nodes, left to right: a binary counter.
    stack: Vec<J::Partial>,
}

/// One task, out of line: V8 compiles a function anew between calls, never during one, so a task
/// must not be folded into the loop over all of them.
#[inline(never)]
fn reduce_task<J: Reduce>(job: &J, task: &Task) -> Result<J::Partial> {
    job.run(task).into_result()
}

impl<J: Reduce> Program for ReduceProgram<J> {
    const MERGE_MODE: u8 = 0;

    fn open(params: &[u8]) -> Result<(Self, Vec<u8>)> {
        let job: J = parse(params)?;
        job.check()?;
        let answer = Opened::answer(job.tasks(), job.media())?;
        let program = Self {
            job,
            task: Task::new(job_seed(params)),
            slices: Slices::default(),
            // Deep enough for every block, so that a push never allocates.
            stack: Vec::with_capacity(64),
        };
        Ok((program, answer))
    }

    fn run(&mut self, first: u64, count: u64) -> Result<()> {
        for index in self.slices.enter(first, count)? {
            self.task.begin(index);
            let mut partial = reduce_task(&self.job, &self.task)?;
            // A block is aligned, so below its level the bits of the index say how many siblings
            // wait, and above it the stack is empty.
            let mut siblings = index.trailing_ones();
            while siblings > 0 {
                let Some(left) = self.stack.pop() else { break };
                partial = self.job.merge(left, partial);
                siblings -= 1;
            }
            self.stack.push(partial);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        self.slices = Slices::default();
        let Some(mut partial) = self.stack.pop() else {
            return Err(Error::new("the host took a block of which nothing was run"));
        };
        while let Some(left) = self.stack.pop() {
            partial = self.job.merge(left, partial);
        }
        canonical::encode(&partial, vec![OK])
    }

    fn merge(&mut self, left: &[u8], right: &[u8]) -> Result<Vec<u8>> {
        let left = canonical::decode(left)?;
        let right = canonical::decode(right)?;
        canonical::encode(&self.job.merge(left, right), vec![OK])
    }

    fn finish(&mut self, partial: &[u8]) -> Result<Vec<u8>> {
        let mut answer = vec![OK];
        let partial = if partial.is_empty() && self.job.tasks() == 0 {
            match self.job.empty() {
                Some(partial) => partial,
                None => return Ok(answer),
            }
        } else {
            canonical::decode(partial)?
        };
        let output = self.job.finish(partial).into_result()?;
        answer::write(&output, Layout::Pretty, &mut answer)?;
        Ok(answer)
    }
}

/// Drives a [`Concat`] job.
pub struct ConcatProgram<J: Concat> {
    job: J,
    task: Task,
    slices: Slices,
    promised_bytes: Option<u64>,
    /// The status byte and the bytes of this block's tasks.
    out: Vec<u8>,
}

/// One task, out of line as above.
#[inline(never)]
fn concat_task<J: Concat>(job: &J, task: &Task, out: &mut Vec<u8>) -> Result<()> {
    job.run(task, out).into_result()
}

impl<J: Concat> Program for ConcatProgram<J> {
    const MERGE_MODE: u8 = 1;

    fn open(params: &[u8]) -> Result<(Self, Vec<u8>)> {
        let job: J = parse(params)?;
        job.check()?;
        let media = job.media();
        let program = Self {
            task: Task::new(job_seed(params)),
            slices: Slices::default(),
            promised_bytes: media.promised_bytes(),
            out: vec![OK],
            job,
        };
        let answer = Opened::answer(program.job.tasks(), media)?;
        Ok((program, answer))
    }

    fn run(&mut self, first: u64, count: u64) -> Result<()> {
        for index in self.slices.enter(first, count)? {
            self.task.begin(index);
            let before = self.out.len();
            concat_task(&self.job, &self.task, &mut self.out)?;
            let Some(written) = self.out.len().checked_sub(before) else {
                return Err(Error::new("the task removed bytes of the tasks before it"));
            };
            if self.promised_bytes.is_some_and(|n| n != written as u64) {
                return Err(Error::new(format_args!(
                    "the task gave {written} bytes, not as many as `media` promised"
                )));
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        self.slices = Slices::default();
        Ok(std::mem::replace(&mut self.out, vec![OK]))
    }

    fn merge(&mut self, _left: &[u8], _right: &[u8]) -> Result<Vec<u8>> {
        Err(Error::new("a concat job merges nothing"))
    }

    fn finish(&mut self, _partial: &[u8]) -> Result<Vec<u8>> {
        Err(Error::new("a concat job finishes nothing"))
    }
}

//! The traits an author implements. How a host drives them is in `program`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Media, Result, Task};

/// What a method may return: the value itself, or a [`Result`] with any printable error.
///
/// So `fn run(&self, task: &Task) -> u64` and `fn run(&self, task: &Task) -> Result<u64>` are both
/// good.
#[diagnostic::on_unimplemented(
    message = "this method gives a `{T}`, or a `Result` of one, not a `{Self}`",
    label = "neither `{T}` nor a `Result<{T}, _>`"
)]
pub trait Outcome<T> {
    /// The value, or the error as text.
    fn into_result(self) -> Result<T>;
}

impl<T> Outcome<T> for T {
    #[inline(always)]
    fn into_result(self) -> Result<T> {
        Ok(self)
    }
}

impl<T, E: std::fmt::Display> Outcome<T> for Result<T, E> {
    #[inline(always)]
    fn into_result(self) -> Result<T> {
        self.map_err(Error::new)
    }
}

/// A job whose tasks' partials are merged to one result. Mark the `impl` with
/// [`#[job]`](macro@crate::job).
///
/// The type is the job's parameters: it is deserialised from their JSON each time an instance
/// opens. (For derived state, use `#[serde(from = "…")]` or a skipped field.)
///
/// Merging follows one fixed binary tree over the task index, so it need not be associative or
/// commutative; `left` always comes from lower tasks than `right`.
pub trait Reduce: DeserializeOwned {
    /// What a task comes to. It stays typed inside the guest and is encoded only to travel: every
    /// NaN in one form, the entries of maps sorted by key. A `HashSet` travels in its own order
    /// and hence is not allowed: use a `BTreeSet`, or a `HashMap<_, ()>`.
    type Partial: Serialize + DeserializeOwned;

    /// What the user gets: a string is written as it is, [`Bytes`](crate::Bytes) are raw, all else
    /// is JSON, indented, keys sorted, NaN and infinities as `null`.
    type Output: Serialize;

    /// Refuses bad parameters: called once before anything else, and at submission.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The number of tasks, 0 to 2^62. Leave it out in a job over the records of an input,
    /// `#[job(input)]`: there the input decides.
    fn tasks(&self) -> u64 {
        0
    }

    /// Computes one task, a pure function of the parameters, the inputs and `task`'s index.
    fn run(&self, task: &Task) -> impl Outcome<Self::Partial>;

    /// Merges two neighbours.
    fn merge(&self, left: Self::Partial, right: Self::Partial) -> Self::Partial;

    /// Makes the result of the merge of all tasks.
    fn finish(&self, partial: Self::Partial) -> impl Outcome<Self::Output>;

    /// The partial of a job without tasks. By default there is none, and such a job's result is
    /// the empty string.
    fn empty(&self) -> Option<Self::Partial> {
        None
    }

    /// What the result is.
    fn media(&self) -> Media {
        Media::default()
    }
}

/// A job whose tasks' bytes are joined in the order of the tasks. Mark the `impl` with
/// [`#[job]`](macro@crate::job).
///
/// The type is the job's parameters, as for [`Reduce`].
///
/// ```
/// use manyhands_guest_sdk::prelude::*;
///
/// /// A grey ramp, a row a task.
/// #[derive(Deserialize)]
/// struct Ramp { width: u32, height: u32 }
///
/// #[job]
/// impl Concat for Ramp {
///     fn tasks(&self) -> u64 { self.height.into() }
///     fn run(&self, task: &Task, out: &mut Vec<u8>) {
///         let grey = (task.index() * 255 / u64::from(self.height)) as u8;
///         for _ in 0..self.width {
///             out.extend([grey, grey, grey, 255]);
///         }
///     }
///     fn media(&self) -> Media { Media::rgba(self.width, self.height) }
/// }
/// # fn main() {}
/// ```
pub trait Concat: DeserializeOwned {
    /// Refuses bad parameters: called once before anything else, and at submission.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The number of tasks, 0 to 2^62. Leave it out in `#[job(input)]`.
    fn tasks(&self) -> u64 {
        0
    }

    /// Computes one task and appends its bytes to `out`, which already holds those of the tasks
    /// before it: append only.
    fn run(&self, task: &Task, out: &mut Vec<u8>) -> impl Outcome<()>;

    /// What the result is.
    fn media(&self) -> Media {
        Media::default()
    }
}

/// What [`#[job]`](macro@crate::job) and [`#[map]`](macro@crate::map) implement: it ties a type to
/// the program that a host drives.
#[doc(hidden)]
pub trait Job {
    /// The state of an instance.
    type Program: crate::program::Program;
    /// Whether the tasks are records of an input.
    const INPUT: bool;
}

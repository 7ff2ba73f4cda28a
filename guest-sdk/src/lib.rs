//! What authors of Manyhands jobs import: the two job traits, the attributes that make a type or
//! a function the job of its crate, and what a task may use. Hosts are unknown here.
//!
//! A **reduce** job merges partials. The type is the job's parameters, read from the JSON of
//! `--params`:
//!
//! ```
//! use manyhands_guest_sdk::prelude::*;
//!
//! /// The sum of the first `n` squares.
//! #[derive(Deserialize)]
//! struct Squares { n: u64 }
//!
//! #[job]
//! impl Reduce for Squares {
//!     type Partial = u64;
//!     type Output = u64;
//!     fn tasks(&self) -> u64 { self.n }
//!     fn run(&self, task: &Task) -> u64 { task.index() * task.index() }
//!     fn merge(&self, left: u64, right: u64) -> u64 { left + right }
//!     fn finish(&self, sum: u64) -> u64 { sum }
//! }
//! # fn main() {
//! let sum = manyhands_guest_sdk::testing::Harness::<Squares>::new(r#"{"n": 5}"#).run_whole();
//! assert_eq!(sum.unwrap(), b"30");
//! # }
//! ```
//!
//! A **concat** job joins the tasks' bytes in order ([`Concat`]); the shortest is a function over
//! the records of an input:
//!
//! ```
//! use manyhands_guest_sdk::prelude::*;
//!
//! #[map]
//! fn shout(line: &str) -> String { line.to_uppercase() }
//! # fn main() {}
//! ```
//!
//! # The author's contract
//! A task is a pure function of the parameters, the inputs and its index: nothing is carried from
//! one task to the next in a static, no order is taken from a hash map or a hash set, no bits of a
//! NaN are looked at. Then the result is the same bytes however the work was cut.

// The attributes' expansions name this crate, in its own tests too.
#[cfg(test)]
extern crate self as manyhands_guest_sdk;

mod answer;
mod bytes;
mod canonical;
mod error;
mod host;
mod job;
mod media;
mod program;
mod record;
mod rng;
mod task;

#[cfg(target_arch = "wasm32")]
mod abi;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bytes::Bytes;
pub use error::{Error, Result};
pub use host::{file, log_line, progress};
pub use job::{Concat, Outcome, Reduce};
pub use manyhands_guest_sdk_macros::{job, map};
pub use media::Media;
pub use rng::Rng;
pub use task::Task;

/// Everything a job needs: `use manyhands_guest_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Bytes, Concat, Error, Media, Reduce, Result, Rng, Task, bail, file, job, log, map, progress,
    };
    pub use serde::{Deserialize, Serialize};
}

/// What the attributes' expansions name; no part of the public interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::abi::{Guest, alloc};
    pub use crate::job::Job;
    pub use crate::program::{ABI_VERSION, ConcatProgram, Program, ReduceProgram, section};
    pub use crate::record::{NoParams, map_lines, map_task};
    pub use serde;
}

/// Sends the author a line of text, formatted as by [`format!`].
///
/// The host limits their rate, so a line may be dropped; results never depend on it.
///
/// ```
/// # use manyhands_guest_sdk::prelude::*;
/// log!("{} candidates left", 17);
/// ```
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log_line(&::std::format!($($argument)*))
    };
}

/// Returns an [`Error`](crate::Error) from the function, formatted as by [`format!`].
///
/// ```
/// # use manyhands_guest_sdk::prelude::*;
/// fn half(n: u64) -> Result<u64> {
///     if n % 2 == 1 {
///         bail!("{n} is odd");
///     }
///     Ok(n / 2)
/// }
/// assert_eq!(half(3).unwrap_err().to_string(), "3 is odd");
/// ```
#[macro_export]
macro_rules! bail {
    ($($argument:tt)*) => {
        return ::std::result::Result::Err($crate::Error::new(::std::format!($($argument)*)).into())
    };
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

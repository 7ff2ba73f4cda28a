//! The job macros of manyhands-guest-sdk: they tie an author's type or function to the exports of
//! ABI.md. What those exports do is in the SDK; here is only the syntax.

mod expand;
mod job;
mod map;

use proc_macro::TokenStream;

/// Makes an `impl Reduce for …` or `impl Concat for …` the job of this crate.
///
/// `#[job]` for a job that says how many tasks it has, `#[job(input)]` for one whose tasks are the
/// records of an input. One job a crate.
#[proc_macro_attribute]
pub fn job(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::or_error(job::expand, arguments.into(), item.into()).into()
}

/// Makes a function over records the job of this crate; results are joined in the records' order.
///
/// `#[map]` calls it with every line of the input, without its line feed; `#[map(task)]` with the
/// whole of each task's input (with `--split file`, a file). Its argument is a `&str`, a `&[u8]`,
/// or any other type to deserialise, from JSON. What it returns is written on a line of its own: a
/// string as it is, `None` not at all, anything else as JSON; `Bytes` are written raw, without a
/// line feed. It may return a `Result`, and may take the job's parameters by reference as a second
/// argument.
#[proc_macro_attribute]
pub fn map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::or_error(map::expand, arguments.into(), item.into()).into()
}

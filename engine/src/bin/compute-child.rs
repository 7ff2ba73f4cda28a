//! The compute child as a program of its own, for this crate's tests and for
//! measurements. `manyhands` has it as a hidden subcommand instead.

fn main() -> std::process::ExitCode {
    manyhands_engine::child::main()
}

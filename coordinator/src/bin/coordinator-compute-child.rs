//! The compute child by itself, for this crate's tests; the `manyhands` binary
//! has it as a hidden subcommand.

fn main() -> std::process::ExitCode {
    manyhands_engine::child::main()
}

use manyhands_guest_sdk::prelude::*;

#[map]
fn nothing() -> String {
    String::new()
}

#[map]
async fn later(line: &str) -> String {
    line.to_uppercase()
}

#[map]
fn generic<T>(_line: T) -> u32 {
    1
}

#[map]
fn owned(line: &str, times: usize) -> String {
    line.repeat(times)
}

#[map]
struct Shout;

fn main() {}

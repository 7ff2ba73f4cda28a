use manyhands_guest_sdk::prelude::*;

struct Line(String);

#[map]
fn shout(line: Line) -> String {
    line.0.to_uppercase()
}

fn main() {}

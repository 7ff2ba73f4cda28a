use manyhands_guest_sdk::prelude::*;

#[derive(Deserialize)]
struct Job {}

#[job(records = true)]
impl Concat for Job {
    fn run(&self, _task: &Task, _out: &mut Vec<u8>) {}
}

#[map(lines)]
fn shout(line: &str) -> String {
    line.to_uppercase()
}

fn main() {}

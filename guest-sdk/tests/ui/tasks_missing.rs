use manyhands_guest_sdk::prelude::*;

#[derive(Deserialize)]
struct Job {}

#[job]
impl Concat for Job {
    fn run(&self, _task: &Task, _out: &mut Vec<u8>) {}
}

fn main() {}

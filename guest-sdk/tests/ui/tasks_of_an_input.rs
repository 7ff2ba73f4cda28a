use manyhands_guest_sdk::prelude::*;

#[derive(Deserialize)]
struct Job {}

#[job(input)]
impl Concat for Job {
    fn tasks(&self) -> u64 {
        1
    }

    fn run(&self, _task: &Task, _out: &mut Vec<u8>) {}
}

fn main() {}

use manyhands_guest_sdk::prelude::*;

#[derive(Deserialize)]
struct Job {}

#[job]
impl Reduce for Job {
    type Partial = u64;
    type Output = u64;

    fn tasks(&self) -> u64 {
        1
    }

    fn run(&self, _task: &Task) -> String {
        String::new()
    }

    fn merge(&self, left: u64, right: u64) -> u64 {
        left + right
    }

    fn finish(&self, sum: u64) -> u64 {
        sum
    }
}

fn main() {}

use manyhands_guest_sdk::prelude::*;

struct Job;

#[job]
impl Job {
    fn tasks(&self) -> u64 {
        1
    }
}

#[job]
fn work() {}

#[job]
impl Clone for Job {
    fn clone(&self) -> Self {
        Self
    }
}

fn main() {}

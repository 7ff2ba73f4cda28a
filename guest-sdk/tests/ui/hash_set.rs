use manyhands_guest_sdk::prelude::*;
use std::collections::HashSet;

#[derive(Deserialize)]
struct Job {}

#[job]
impl Reduce for Job {
    type Partial = Vec<HashSet<u64>>;
    type Output = usize;

    fn tasks(&self) -> u64 {
        1
    }

    fn run(&self, _task: &Task) -> Vec<HashSet<u64>> {
        Vec::new()
    }

    fn merge(&self, left: Vec<HashSet<u64>>, _right: Vec<HashSet<u64>>) -> Vec<HashSet<u64>> {
        left
    }

    fn finish(&self, sets: Vec<HashSet<u64>>) -> usize {
        sets.len()
    }
}

fn main() {}

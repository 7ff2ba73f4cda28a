use manyhands_guest_sdk::prelude::*;

#[derive(Deserialize)]
struct Job<T> {
    value: T,
}

#[job]
impl<T> Concat for Job<T> {
    fn tasks(&self) -> u64 {
        1
    }

    fn run(&self, _task: &Task, _out: &mut Vec<u8>) {}
}

#[job]
impl Concat for Vec<u8> {
    fn tasks(&self) -> u64 {
        1
    }

    fn run(&self, _task: &Task, _out: &mut Vec<u8>) {}
}

fn main() {}

//! The limit of files that may be open, in a process of its own: it is one for all
//! threads.
#![cfg(target_os = "linux")]

use manyhands_engine::{part::Part, sealed::Growing};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;

#[test]
fn memory_and_parts_are_half_of_the_files_that_may_be_open() {
    let limit = Rlimit {
        current: Some(64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.set_len(8).unwrap();
    let part = || Part::new(Arc::clone(&file), 0, 8);
    let memory: Vec<Growing> = (0..10).map(|_| Growing::new().unwrap()).collect();
    let mut parts: Vec<Part> = (0..22).map(|_| part().unwrap()).collect();
    let refused = part().unwrap_err().to_string();
    assert!(refused.starts_with("half of the 64 files"), "{refused}");
    assert!(Growing::new().is_err());
    let same = parts[0].clone();
    drop(parts.swap_remove(0));
    assert!(part().is_err(), "its clone is the same");
    drop(same);
    parts.push(part().unwrap());
    drop(memory);
    parts.extend((0..10).map(|_| part().unwrap()));
    assert!(part().is_err());
}

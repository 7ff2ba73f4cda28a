//! What the system says of a process and of a disk. Linux's `/proc`.

use manyhands_tests::processes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// `USER_HZ`, in which `/proc` counts processor time: 100 wherever Linux runs
/// that Rust's standard library also does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that a process has used, in seconds; not its children's.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = read(process, "stat");
    // The second field is the program's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = |at: usize| -> f64 {
        let field = fields.split_whitespace().nth(at);
        field.and_then(|text| text.parse().ok()).expect("a number")
    };
    // proc(5): utime and stime are fields 14 and 15, the state is field 3.
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Resident memory of a process, in 10^6 bytes.
pub(crate) fn resident_mb(process: u32) -> f64 {
    status_mb(process, "VmRSS:")
}

/// The most resident memory that a process has had so far, in 10^6 bytes.
pub(crate) fn peak_mb(process: u32) -> f64 {
    status_mb(process, "VmHWM:")
}

fn status_mb(process: u32, field: &str) -> f64 {
    let status = read(process, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    let kib: f64 = kib.and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024.0 / 1e6
}

/// Resident memory of the processes that a process has started, in 10^6 bytes.
pub(crate) fn children_mb(process: u32) -> f64 {
    processes::children(process)
        .into_iter()
        .map(resident_mb)
        .sum()
}

/// Lets this process open as many files as the system allows it to; how many.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the most that is allowed");
    limit.maximum.unwrap_or(u64::MAX)
}

fn read(process: u32, file: &str) -> String {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// How long the disk under a folder takes to make 4 KiB durable that were
/// appended to a file, in milliseconds, so many times.
pub(crate) fn sync_ms(folder: &Path, times: usize) -> Vec<f64> {
    let mut file = File::create(folder.join("synced")).expect("a file is created");
    let once = |_| {
        let start = Instant::now();
        file.write_all(&[0; 4096]).expect("bytes are written");
        file.sync_data().expect("the disk syncs");
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..times).map(once).collect()
}

/// The machine in one line.
pub(crate) fn described() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} threads of {model}, Linux {}", kernel.trim())
}

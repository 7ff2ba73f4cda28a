//! The compute child through its parent's handle, with its real executable:
//! results, failures, deaths and what survives them.

#[path = "guests/mod.rs"]
mod guests;

use bytes::Bytes;
use guests::{bad_at_5, concat, plain, reduce};
use manyhands_engine::admit::admit;
use manyhands_engine::compute::{Compute, Config, Event, Events, JobSpec, Merge, Work, outcomes};
#[cfg(target_os = "linux")]
use manyhands_engine::{part::Part, sealed::Growing};
use manyhands_protocol::{BlobHash, FailureKind, JobId, Operand, Split};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::{io::Write, sync::Arc};

const MEMORY: u64 = 1 << 20;
const JOB: JobId = JobId(7);

fn config(slots: usize, cache: Option<&Path>) -> Config {
    Config {
        program: PathBuf::from(env!("CARGO_BIN_EXE_compute-child")),
        args: Vec::new(),
        slots,
        cache: cache.map(Path::to_owned),
    }
}

fn spec(wasm: &[u8], timeout: Duration) -> JobSpec {
    let admitted = admit(wasm, MEMORY).expect("the test's guest is admitted");
    JobSpec {
        wasm: admitted.wasm,
        module: admitted.hash,
        params: Bytes::from_static(br#"{"tasks":64}"#),
        memory_limit: MEMORY,
        task_timeout: timeout,
        split: Some(Split::Lines),
        files: BTreeMap::new(),
    }
}

fn start(slots: usize, wasm: &[u8], timeout: Duration) -> (Compute, Events) {
    let (compute, events) = Compute::spawn(config(slots, None)).expect("the child starts");
    compute.load(JOB, spec(wasm, timeout));
    (compute, events)
}

const HANG: &str = "(loop $for_ever (br $for_ever))";
const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn run(tasks: Range<u64>) -> Work {
    Work::Run {
        tasks,
        single_step: false,
        segments: Vec::new(),
    }
}

fn step(tasks: Range<u64>) -> Work {
    Work::Run {
        tasks,
        single_step: true,
        segments: Vec::new(),
    }
}

/// The next event that says how a piece or a load ended.
async fn next(events: &mut Events) -> Event {
    loop {
        let event = tokio::time::timeout(MINUTE, events.next())
            .await
            .expect("an event in time");
        match event.expect("the child's handle lives") {
            Event::Progress { .. } | Event::Loaded { .. } | Event::Restarted { .. } => {}
            event => return event,
        }
    }
}

async fn restarted(events: &mut Events) {
    loop {
        let event = tokio::time::timeout(MINUTE, events.next())
            .await
            .expect("an event in time");
        if let Event::Restarted { .. } = event.expect("the child's handle lives") {
            return;
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}

fn block(tasks: Range<u64>) -> u64 {
    match tasks.end - tasks.start {
        1 => guests::value(tasks.start),
        len => {
            let middle = tasks.start + len.next_power_of_two() / 2;
            guests::merge(block(tasks.start..middle), block(middle..tasks.end))
        }
    }
}

#[tokio::test]
async fn pieces_on_slots_come_to_the_blocks_partials() {
    let (compute, mut events) = start(2, &plain(), MINUTE);
    let blocks = [0..32, 32..48, 48..64, 8..9, 0..11];
    for (piece, tasks) in blocks.iter().enumerate() {
        compute.submit(piece % 2, piece as u64, JOB, run(tasks.clone()));
    }
    let mut partials = [0; 5];
    for _ in &blocks {
        match next(&mut events).await {
            Event::Done {
                slot, piece, bytes, ..
            } => {
                assert_eq!(slot, piece as usize % 2);
                partials[piece as usize] = number(&bytes);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(partials, blocks.map(block));
}

#[tokio::test]
async fn calls_answer_open_merge_and_finish() {
    let (compute, _events) = start(1, &plain(), MINUTE);
    assert_eq!(
        compute.call(JOB, Work::Open).await.unwrap(),
        r#"{"tasks":64}"#
    );
    let partial = |value: u64| Bytes::copy_from_slice(&value.to_le_bytes());
    let merge = |left, right| Merge::two(partial(left), partial(right));
    let two = Work::Merge(merge(5, 9));
    assert_eq!(
        number(&compute.call(JOB, two).await.unwrap()),
        guests::merge(5, 9)
    );
    let operands = [(2, 0), (5, 0), (9, 2), (7, 0), (8, 2)];
    let operands = operands.map(|(value, merges)| Operand::new(partial(value), merges));
    let many = Merge {
        operands: operands.into(),
    };
    let left = guests::merge(2, guests::merge(5, 9));
    let chained = guests::merge(left, guests::merge(7, 8));
    let work = Work::Merge(many.clone());
    assert_eq!(number(&compute.call(JOB, work).await.unwrap()), chained);
    let several = vec![merge(1, 2), many.clone(), merge(3, 4)];
    let several = compute.call(JOB, Work::Merges(several)).await.unwrap();
    let each = outcomes(several, 3).unwrap();
    let each: Vec<_> = each.iter().map(|one| number(one)).collect();
    assert_eq!(each, [guests::merge(1, 2), chained, guests::merge(3, 4)]);
    let whole = Work::Whole(many);
    let whole = outcomes(compute.call(JOB, whole).await.unwrap(), 2).unwrap();
    // This guest's `finish` hands out what it is given.
    assert_eq!([&whole[0], &whole[1]].map(|one| number(one)), [chained; 2]);
    let finish = Work::Finish {
        partial: Bytes::from_static(b"root"),
    };
    assert_eq!(compute.call(JOB, finish).await.unwrap(), "root");
    let unknown = compute.call(JobId(8), Work::Open).await.unwrap_err();
    assert_eq!(unknown.message, "job 8 is not loaded");
}

/// A guest whose tasks come to the lengths of their inputs, 8 bytes each.
fn lengths_of_inputs() -> Vec<u8> {
    let imports = r#"(import "manyhands" "input_len" (func $input_len (param i64) (result i64)))"#;
    let body = "(i64.store (global.get $out) (call $input_len (local.get $i)))
        (global.set $out (i32.add (global.get $out) (i32.const 8)))";
    concat(true, imports, body)
}

#[tokio::test]
async fn inputs_reach_their_tasks_and_may_be_large() {
    let (compute, mut events) = start(1, &lengths_of_inputs(), MINUTE);
    let first = Bytes::from(["x".repeat(3_000_000), "\nab\n".to_owned()].concat());
    let second = Bytes::from_static(b"c\n");
    let (a, b) = (BlobHash::of(&first), BlobHash::of(&second));
    compute.put_segment(a, first);
    compute.put_segment(b, second);
    let work = || Work::Run {
        tasks: 0..3,
        single_step: false,
        segments: vec![(0, a), (2, b)],
    };
    let lengths: Vec<u8> = [3_000_001u64, 3, 2]
        .iter()
        .flat_map(|len| len.to_le_bytes())
        .collect();
    assert_eq!(compute.call(JOB, work()).await.unwrap(), lengths);
    compute.drop_segment(b);
    compute.submit(0, 1, JOB, work());
    match next(&mut events).await {
        Event::Failed { failure, .. } => {
            assert_eq!(failure.message, format!("the segment {b} is not loaded"))
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn shared_segments_come_in_order_and_outlive_a_child() {
    let (compute, mut events) = start(1, &lengths_of_inputs(), MINUTE);
    let hanging = JobId(8);
    let sealed = |bytes: &[u8]| {
        let mut growing = Growing::new().expect("Linux has such memory");
        growing.push(bytes).expect("there is room");
        growing.seal().expect("it can be sealed")
    };
    // So many that several are on their way at the same time, between copies.
    let lines: Vec<Vec<u8>> = (1..=200)
        .map(|len| [b"x".repeat(len), b"\n".to_vec()].concat())
        .collect();
    let hashes: Vec<BlobHash> = lines.iter().map(|line| BlobHash::of(line)).collect();
    let file = Arc::new(tempfile::tempfile().unwrap());
    (&*file).write_all(&lines.concat()).unwrap();
    let mut offset = 0;
    for (at, (hash, line)) in hashes.iter().zip(&lines).enumerate() {
        let len = line.len() as u64;
        match at % 4 {
            0 => compute.put_segment(*hash, Bytes::from(line.clone())),
            1 => compute.share_segment(*hash, Part::new(Arc::clone(&file), offset, len).unwrap()),
            _ => compute.share_segment(*hash, sealed(line)),
        }
        offset += len;
    }
    let segments = (0..).zip(hashes.iter().copied()).collect();
    let work = Work::Run {
        tasks: 0..200,
        single_step: false,
        segments,
    };
    let lengths: Vec<u8> = (2..=201_u64).flat_map(u64::to_le_bytes).collect();
    assert_eq!(compute.call(JOB, work.clone()).await.unwrap(), lengths);
    compute.load(hanging, spec(&bad_at_5("", HANG), SHORT));
    compute.submit(0, 1, hanging, step(0..8));
    assert!(matches!(next(&mut events).await, Event::Failed { .. }));
    assert_eq!(
        compute.call(JOB, work).await.unwrap(),
        lengths,
        "a new child"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_has_other_bytes_is_told_of_and_its_piece_run_again() {
    let (compute, mut events) = start(1, &lengths_of_inputs(), MINUTE);
    let file = Arc::new(tempfile::tempfile().unwrap());
    (&*file).write_all(b"not this\n").unwrap();
    let text = Bytes::from_static(b"some text\n");
    let hash = BlobHash::of(&text);
    let too_long = Part::new(Arc::clone(&file), 0, text.len() as u64);
    assert!(too_long.is_err());
    (&*file).write_all(b"or that\n").unwrap();
    compute.share_segment(hash, Part::new(file, 0, text.len() as u64).unwrap());
    let work = || Work::Run {
        tasks: 0..1,
        single_step: false,
        segments: vec![(0, hash)],
    };
    compute.submit(0, 7, JOB, work());
    let unread = Event::Unread {
        slot: 0,
        piece: 7,
        hash,
    };
    assert_eq!(next(&mut events).await, unread);
    let failure = compute.call(JOB, work()).await.unwrap_err();
    assert!(failure.message.contains("has changed"), "{failure:?}");
    compute.put_segment(hash, text);
    let length = 10_u64.to_le_bytes();
    assert_eq!(compute.call(JOB, work()).await.unwrap(), length[..]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_that_may_have_few_files_open_reads_parts_at_once() {
    let few = Config {
        program: "/bin/sh".into(),
        args: vec![
            "-c".into(),
            r#"ulimit -n 24; exec "$0""#.into(),
            config(1, None).program.into(),
        ],
        ..config(1, None)
    };
    let (compute, mut events) = Compute::spawn(few).expect("the shell starts");
    compute.load(JOB, spec(&lengths_of_inputs(), MINUTE));
    let lines: Vec<String> = (1..=100).map(|len| "x".repeat(len) + "\n").collect();
    let file = Arc::new(tempfile::tempfile().unwrap());
    (&*file).write_all(lines.concat().as_bytes()).unwrap();
    let part = |offset, len| Part::new(Arc::clone(&file), offset, len).unwrap();
    let (mut offset, mut segments) = (0, Vec::new());
    for (task, line) in (0..).zip(&lines) {
        let (hash, len) = (BlobHash::of(line.as_bytes()), line.len() as u64);
        compute.share_segment(hash, part(offset, len));
        segments.push((task, hash));
        offset += len;
    }
    let work = |tasks, segments| Work::Run {
        tasks,
        single_step: false,
        segments,
    };
    let lengths: Vec<u8> = (2..=101_u64).flat_map(u64::to_le_bytes).collect();
    let came = compute.call(JOB, work(0..100, segments)).await;
    assert_eq!(came.unwrap(), lengths);
    let hash = BlobHash::of(b"not there\n");
    compute.share_segment(hash, part(0, 10));
    compute.submit(0, 7, JOB, work(0..1, vec![(0, hash)]));
    let unread = Event::Unread {
        slot: 0,
        piece: 7,
        hash,
    };
    assert_eq!(next(&mut events).await, unread);
}

#[tokio::test]
async fn failures_name_their_kind_and_in_single_steps_the_task() {
    let cases = [
        ("(unreachable)", FailureKind::Trap),
        (guests::RECURSE, FailureKind::Stack),
        (guests::HOG, FailureKind::Memory),
        (guests::ERROR, FailureKind::Error),
    ];
    let (compute, mut events) = Compute::spawn(config(1, None)).unwrap();
    for (n, (what, kind)) in cases.into_iter().enumerate() {
        let job = JobId(n as u64);
        compute.load(job, spec(&bad_at_5("", what), MINUTE));
        compute.submit(0, 1, job, step(0..8));
        match next(&mut events).await {
            Event::Failed {
                slot: 0,
                piece: 1,
                failure,
                at,
            } => assert_eq!((failure.kind, at), (kind, Some(5))),
            other => panic!("{other:?}"),
        }
        compute.submit(0, 2, job, run(0..4));
        assert!(matches!(
            next(&mut events).await,
            Event::Done { piece: 2, .. }
        ));
    }
}

#[tokio::test]
async fn a_module_that_was_not_admitted_fails_its_job_only() {
    let (compute, mut events) = start(1, &plain(), MINUTE);
    let bad = JobSpec {
        memory_limit: MEMORY / 2,
        ..spec(&plain(), MINUTE)
    };
    compute.load(JobId(1), bad);
    match next(&mut events).await {
        Event::LoadFailed {
            job: JobId(1),
            reason,
        } => assert!(reason.contains("was not admitted"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let failure = compute.call(JobId(1), Work::Open).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Crash);
    assert!(compute.call(JOB, Work::Open).await.is_ok());
}

#[tokio::test]
async fn an_overdue_slice_is_run_again_before_a_task_is_blamed() {
    let (compute, mut events) = start(2, &bad_at_5("", HANG), SHORT);
    assert!(compute.call(JOB, Work::Open).await.is_ok());
    compute.submit(0, 1, JOB, run(0..64));
    compute.submit(0, 2, JOB, run(8..16));
    compute.submit(1, 3, JOB, run(32..64));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(next(&mut events).await);
    }
    let overdue = seen.iter().find_map(|event| match event {
        Event::Overdue {
            slot: 0,
            piece: 1,
            tasks,
        } => Some(tasks.clone()),
        _ => None,
    });
    let overdue = overdue.unwrap_or_else(|| panic!("{seen:?}"));
    assert!(
        overdue.contains(&5) && overdue.end - overdue.start > 1,
        "{overdue:?}"
    );
    assert!(
        seen.contains(&Event::Lost { slot: 0, piece: 2 }),
        "{seen:?}"
    );
    let other = seen.iter().any(|event| {
        matches!(
            event,
            Event::Done {
                slot: 1,
                piece: 3,
                ..
            }
        )
    });
    assert!(other, "the other slot finished its piece: {seen:?}");

    compute.submit(0, 4, JOB, step(0..64));
    match next(&mut events).await {
        Event::Failed {
            piece: 4,
            failure,
            at,
            ..
        } => {
            assert_eq!((failure.kind, at), (FailureKind::Timeout, Some(5)));
            assert_eq!(failure.message, "took longer than 200ms");
        }
        other => panic!("{other:?}"),
    }
    let bytes = compute
        .call(JOB, run(8..16))
        .await
        .expect("the third child works");
    assert_eq!(number(&bytes), block(8..16));
}

#[tokio::test]
async fn open_merge_and_finish_have_a_time_limit_too() {
    let wasm = guests::assemble(&format!(
        r#"(module (memory (export "memory") 2)
          (func (export "alloc") (param i32) (result i32) (i32.const 65536))
          (func (export "open") (param i32 i32) (result i64) {} (unreachable))
          (func (export "run") (param i64 i64) (result i64) (unreachable))
          (func (export "take") (result i64) (unreachable))
          (@custom "manyhands" "\01\00\01\00"))"#,
        HANG
    ));
    let (compute, mut events) = start(1, &wasm, SHORT);
    let failure = compute.call(JOB, Work::Open).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    compute.submit(0, 1, JOB, run(3..4));
    match next(&mut events).await {
        Event::Failed { failure, at, .. } => {
            assert_eq!((failure.kind, at), (FailureKind::Timeout, Some(3)))
        }
        other => panic!("{other:?}"),
    }
    compute.submit(0, 2, JOB, step(0..4));
    match next(&mut events).await {
        Event::Failed { failure, at, .. } => {
            assert_eq!((failure.kind, at), (FailureKind::Timeout, None))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn cancelled_pieces_stop_between_slices() {
    // Each task is slow, so that the block would take minutes.
    let slow = format!(
        "(local $n i64) (loop $more (local.set $n (i64.add (local.get $n) (i64.const 1)))
          (br_if $more (i64.lt_u (local.get $n) (i64.const 10000000)))) {}",
        guests::VALUE
    );
    let (compute, mut events) = start(1, &reduce("", &slow), MINUTE);
    compute.submit(0, 1, JOB, run(0..1 << 20));
    compute.submit(0, 2, JOB, run(0..8));
    let told = loop {
        match events.next().await.unwrap() {
            Event::Progress { piece, tasks, .. } => break (piece, tasks),
            Event::Loaded { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(told.0 == 1 && told.1 >= 1.0, "{told:?}");
    compute.cancel(0);
    assert_eq!(
        next(&mut events).await,
        Event::Stopped { slot: 0, piece: 1 }
    );
    assert_eq!(
        next(&mut events).await,
        Event::Stopped { slot: 0, piece: 2 }
    );
    compute.submit(0, 3, JOB, run(0..1));
    assert!(matches!(
        next(&mut events).await,
        Event::Done { piece: 3, .. }
    ));
}

#[tokio::test]
async fn log_lines_come_with_their_job_and_not_too_many() {
    let log = format!(
        "(call $log (i32.const 513) (i32.const 7)) {}",
        guests::VALUE
    );
    let (compute, mut events) = start(1, &reduce(guests::LOG, &log), MINUTE);
    compute.submit(0, 1, JOB, run(0..1024));
    let mut lines = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Log {
                job: JOB,
                slot: 0,
                line,
            } => lines.push(line),
            Event::Done { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lines[0], "no luck");
    assert_eq!(
        lines.last().unwrap(),
        "(more than 100 lines a second are dropped)"
    );
    assert_eq!(lines.len(), 101);
}

#[cfg(target_os = "linux")]
mod deaths {
    use super::*;
    use std::fs;

    /// As [`start`], with a word on the child's command line to find it by.
    fn start_named(word: &str, slots: usize, wasm: &[u8]) -> (Compute, Events) {
        let config = Config {
            args: vec![mark(word).into()],
            ..config(slots, None)
        };
        let (compute, events) = Compute::spawn(config).expect("the child starts");
        compute.load(JOB, spec(wasm, MINUTE));
        (compute, events)
    }

    /// The command line's word for the children of this very process.
    fn mark(word: &str) -> String {
        format!("{word}-of-{}", std::process::id())
    }

    /// The child with this word on its command line.
    fn child(word: &str) -> i32 {
        let mark = mark(word);
        let is_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut arguments = line.split(|byte| *byte == 0);
            let is_child = arguments
                .next()
                .is_some_and(|exe| exe.ends_with(b"compute-child"));
            is_child && arguments.any(|argument| argument == mark.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap();
        let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.find(is_it).expect("a child of this name")
    }

    fn kill(pid: i32) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_killed_child_is_replaced_and_work_goes_on() {
        let (compute, mut events) = start_named("killed", 2, &bad_at_5("", HANG));
        assert!(compute.call(JOB, Work::Open).await.is_ok());
        let before = child("killed");
        compute.submit(0, 1, JOB, run(0..8));
        compute.submit(0, 2, JOB, run(8..16));
        // Both slots are busy for sure when the second one's piece is done.
        compute.submit(1, 3, JOB, run(8..9));
        assert!(matches!(
            next(&mut events).await,
            Event::Done { piece: 3, .. }
        ));
        let spinning = compute.clone();
        let call = tokio::spawn(async move { spinning.call(JOB, run(16..32)).await });
        assert_eq!(
            number(&call.await.unwrap().unwrap()),
            block(16..32),
            "on the free slot"
        );
        kill(before);
        match next(&mut events).await {
            Event::Crashed {
                slot: 0,
                piece: 1,
                reason,
            } => assert_eq!(reason, "signal: 9 (SIGKILL)"),
            other => panic!("{other:?}"),
        }
        assert_eq!(next(&mut events).await, Event::Lost { slot: 0, piece: 2 });
        compute.submit(0, 2, JOB, run(8..16));
        match next(&mut events).await {
            Event::Done {
                piece: 2, bytes, ..
            } => assert_eq!(number(&bytes), block(8..16)),
            other => panic!("{other:?}"),
        }
        assert_ne!(before, child("killed"));
    }

    #[tokio::test]
    async fn an_idle_child_that_dies_blames_nobody() {
        let (compute, mut events) = start_named("idle", 1, &plain());
        assert!(compute.call(JOB, Work::Open).await.is_ok());
        for _ in 0..2 {
            kill(child("idle"));
            restarted(&mut events).await;
            let bytes = compute
                .call(JOB, run(0..8))
                .await
                .expect("jobs are loaded again");
            assert_eq!(number(&bytes), block(0..8));
        }
    }

    #[tokio::test]
    async fn the_child_ends_with_its_input_even_while_a_guest_spins() {
        // A shell in between takes the kill that comes with the handle's end.
        let script = r#"exec 3<&0; "$0" "$1" <&3 3<&- & exec 3<&- <&-; wait"#;
        let config = Config {
            program: "/bin/sh".into(),
            args: vec![
                "-c".into(),
                script.into(),
                super::config(1, None).program.into(),
                mark("orphan").into(),
            ],
            ..super::config(1, None)
        };
        let (compute, mut events) = Compute::spawn(config).expect("the shell starts");
        let spin = format!("(call $log (i32.const 513) (i32.const 7)) {HANG}");
        compute.load(JOB, spec(&bad_at_5(guests::LOG, &spin), MINUTE));
        compute.submit(0, 1, JOB, run(5..6));
        assert!(
            matches!(next(&mut events).await, Event::Log { .. }),
            "it spins now"
        );
        let orphan = child("orphan");
        drop(compute);
        // What compiled the module may say so after the guest has spoken.
        while let Some(event) = events.next().await {
            assert_eq!(event, Event::Loaded { job: JOB });
        }
        let gone = async {
            // An exited process has no open files, whether it was waited for or not.
            while Path::new(&format!("/proc/{orphan}/fd/0")).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(10), gone).await;
        outcome.expect("the child ends");
    }
}

#[test]
fn the_child_refuses_a_stranger() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_compute-child"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("this command is for manyhands' own use"),
        "{text}"
    );
}

#[tokio::test]
async fn a_program_that_is_no_child_makes_the_handle_unavailable() {
    let config = Config {
        program: PathBuf::from("/bin/true"),
        ..config(1, None)
    };
    let (compute, mut events) = Compute::spawn(config).unwrap();
    compute.load(JOB, spec(&plain(), MINUTE));
    let failure = compute.call(JOB, Work::Open).await.unwrap_err();
    assert_eq!(failure.message, "the compute child cannot be started");
    assert!(matches!(next(&mut events).await, Event::Unavailable { .. }));
    let missing = Config {
        program: PathBuf::from("/nowhere/child"),
        ..self::config(1, None)
    };
    assert!(Compute::spawn(missing).is_err());
}

#[tokio::test]
async fn two_children_share_the_cache_of_compiled_code() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    let both = [0, 1].map(|_| {
        let (compute, events) = Compute::spawn(config(1, Some(&cache))).unwrap();
        compute.load(JOB, spec(&plain(), MINUTE));
        (compute, events)
    });
    for (compute, _) in &both {
        let bytes = compute.call(JOB, run(0..64)).await.unwrap();
        assert_eq!(number(&bytes), block(0..64));
    }
    let files: Vec<_> = std::fs::read_dir(&cache)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

//! One load, for callgrind: `manyhands-loads NAME`. Without a name: all names,
//! one a line. What is counted is what [`counted_work`] calls, so that making
//! the load ready is not.

use manyhands_loads::{core, protocol, scheduler};
use manyhands_protocol::MergeMode;
use std::process::ExitCode;

/// A name, and what makes the work ready.
type Load = (&'static str, fn() -> Box<dyn FnMut()>);

const LOADS: [Load; 13] = [
    ("scheduler-reduce", || {
        blocks(scheduler::Scale::workers(100, MergeMode::Reduce))
    }),
    ("scheduler-concat", || {
        blocks(scheduler::Scale::workers(100, MergeMode::Concat))
    }),
    ("scheduler-jobs", || {
        blocks(scheduler::Scale {
            jobs: 100,
            ..scheduler::Scale::workers(100, MergeMode::Reduce)
        })
    }),
    ("scheduler-heard", || {
        let mut rig = scheduler::Rig::new(scheduler::Scale::workers(100, MergeMode::Reduce));
        Box::new(move || (0..2000).for_each(|_| rig.heard()))
    }),
    ("scheduler-come-and-go", || {
        let mut rig = scheduler::Rig::new(scheduler::Scale::workers(100, MergeMode::Reduce));
        Box::new(move || (0..500).for_each(|_| rig.come_and_go()))
    }),
    ("codec-encode-grant", || times(protocol::encode_grant())),
    ("codec-decode-grant", || times(protocol::decode_grant())),
    ("codec-encode-partial", || {
        times(protocol::encode_partial(8192))
    }),
    ("codec-decode-partial", || {
        times(protocol::decode_partial(8192))
    }),
    ("merge-tree", || {
        Box::new(|| drop(protocol::merge_tree(10_000)))
    }),
    ("sequence", || {
        Box::new(|| assert_eq!(protocol::sequence(10_000), 10_000))
    }),
    ("core-recorded-block", || {
        let mut rig = core::Rig::new(100);
        Box::new(move || {
            (0..1000).for_each(|_| rig.block());
            rig.sync();
        })
    }),
    ("core-many-workers", || {
        let mut rig = core::Rig::new(1000);
        Box::new(move || {
            (0..1000).for_each(|_| rig.block());
            rig.sync();
        })
    }),
];

fn blocks(scale: scheduler::Scale) -> Box<dyn FnMut()> {
    let mut rig = scheduler::Rig::new(scale);
    Box::new(move || (0..2000).for_each(|_| rig.block()))
}

fn times(mut work: impl FnMut() + 'static) -> Box<dyn FnMut()> {
    Box::new(move || (0..1000).for_each(|_| work()))
}

/// Callgrind counts while this runs: xtask knows it by its name.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) {
    work();
}

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        LOADS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, ready)) = LOADS.iter().find(|(known, _)| *known == name) else {
        eprintln!("there is no load named {name}");
        return ExitCode::FAILURE;
    };
    counted_work(&mut *ready());
    ExitCode::SUCCESS
}

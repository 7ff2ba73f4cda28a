//! The random generator gives the published numbers, and other ones to every task.

use std::collections::BTreeSet;

use crate::rng::{Rng, job_seed};

/// The first numbers of the authors' xoshiro256plusplus.c from the state 1, 2, 3, 4.
#[test]
fn numbers_are_those_of_the_reference_code() {
    let mut rng = Rng::of_state([1, 2, 3, 4]);
    let numbers: Vec<u64> = (0..6).map(|_| rng.next_u64()).collect();
    let expected = [
        41_943_041,
        58_720_359,
        3_588_806_011_781_223,
        3_591_011_842_654_386,
        9_228_616_714_210_784_205,
        9_973_669_472_204_895_162,
    ];
    assert_eq!(numbers, expected);
}

/// From the test vectors that come with the FNV reference code.
#[test]
fn job_seeds_are_fnv_1a() {
    assert_eq!(job_seed(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(job_seed(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(job_seed(b"foobar"), 0x8594_4171_f739_67e8);
}

/// Results depend on these: a change of the seeding changes every random job.
#[test]
fn seeding_does_not_change() {
    let first = |seed, task| Rng::of_task(seed, task).next_u64();
    assert_eq!(
        [first(0, 0), first(0, 1), first(1, 0)],
        [
            0x84f0_9bf3_07c1_073a,
            0x83a8_7f32_7992_4a7c,
            0x7045_60ce_d7cc_0501,
        ]
    );
}

#[test]
fn tasks_and_jobs_share_no_numbers() {
    let mut seen = BTreeSet::new();
    for job in 0..10 {
        for task in 0..100 {
            let mut rng = Rng::of_task(job, task);
            for _ in 0..10 {
                assert!(seen.insert(rng.next_u64()), "job {job}, task {task}");
            }
        }
    }
}

#[test]
fn fractions_and_integers_are_uniform() {
    let mut rng = Rng::of_task(1, 2);
    let mut faces = [0_u32; 6];
    let mut sum = 0.0;
    for _ in 0..60_000 {
        faces[rng.below(6) as usize] += 1;
        let fraction = rng.next_f64();
        assert!((0.0..1.0).contains(&fraction));
        sum += fraction;
    }
    // Five standard deviations.
    assert!(
        faces.iter().all(|face| face.abs_diff(10_000) < 457),
        "{faces:?}"
    );
    assert!((sum - 30_000.0).abs() < 354.0, "{sum}");
    assert_eq!(rng.below(1), 0);
    assert!(rng.below(u64::MAX) < u64::MAX);
}

#[test]
fn shuffling_keeps_the_items() {
    let mut items: Vec<u32> = (0..100).collect();
    Rng::of_task(3, 4).shuffle(&mut items);
    assert!(!items.is_sorted());
    items.sort_unstable();
    assert_eq!(items, (0..100).collect::<Vec<_>>());
}

//! Jobs under all cuttings, and what the calls of the ABI answer.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::prelude::*;
use crate::program::{ConcatProgram, Program, ReduceProgram};
use crate::testing::Harness;

/// Shows the tree itself: its merge is not associative, not commutative.
#[derive(Deserialize)]
struct Tree {
    n: u64,
}

#[job]
impl Reduce for Tree {
    type Partial = String;
    type Output = String;

    fn tasks(&self) -> u64 {
        self.n
    }

    fn run(&self, task: &Task) -> String {
        task.index().to_string()
    }

    fn merge(&self, left: String, right: String) -> String {
        format!("({left} {right})")
    }

    fn finish(&self, partial: String) -> String {
        partial
    }
}

/// The tree as DESIGN says it: a half past n is absent and its sibling passes up unchanged.
fn tree(first: u64, length: u64, n: u64) -> String {
    if length == 1 {
        return first.to_string();
    }
    let half = length / 2;
    let left = tree(first, half, n);
    if first + half >= n {
        return left;
    }
    format!("({left} {})", tree(first + half, half, n))
}

proptest! {
    #[test]
    fn every_cutting_is_the_one_tree(n in 1_u64..200, seed: u64) {
        let harness = Harness::<Tree>::new(&format!("{{\"n\": {n}}}"));
        let expected = tree(0, n.next_power_of_two(), n);
        prop_assert_eq!(String::from_utf8(harness.run_cut(seed).unwrap()).unwrap(), expected);
    }
}

#[test]
fn without_tasks_or_empty_the_result_is_the_empty_string() {
    let harness = Harness::<Tree>::new(r#"{"n": 0}"#);
    assert_eq!(harness.run_all_ways().unwrap(), b"");
}

/// Counts in a hash map, from random numbers, returning a `Result`.
#[derive(Deserialize)]
struct Histogram {
    tasks: u64,
    bad: Option<u64>,
}

mod histogram {
    use super::{HashMap, Histogram};
    use crate::prelude::*;

    #[job]
    impl Reduce for Histogram {
        type Partial = HashMap<u64, f64>;
        type Output = HashMap<String, f64>;

        fn check(&self) -> Result<()> {
            if self.tasks > 1000 {
                bail!("{} tasks are too many", self.tasks);
            }
            Ok(())
        }

        fn tasks(&self) -> u64 {
            self.tasks
        }

        fn run(&self, task: &Task) -> Result<HashMap<u64, f64>> {
            if self.bad == Some(task.index()) {
                bail!("nothing to count");
            }
            let mut rng = task.rng();
            Ok((0..20).map(|_| (rng.below(500), rng.next_f64())).collect())
        }

        fn merge(
            &self,
            mut left: HashMap<u64, f64>,
            right: HashMap<u64, f64>,
        ) -> HashMap<u64, f64> {
            for (key, value) in right {
                *left.entry(key).or_default() += value;
            }
            left
        }

        fn finish(&self, counts: HashMap<u64, f64>) -> HashMap<String, f64> {
            counts
                .into_iter()
                .map(|(key, value)| (format!("{key:03}"), value))
                .collect()
        }

        fn empty(&self) -> Option<HashMap<u64, f64>> {
            Some(HashMap::new())
        }
    }
}

#[test]
fn hash_maps_and_random_numbers_do_not_depend_on_the_cut() {
    let result = Harness::<Histogram>::new(r#"{"tasks": 77}"#)
        .run_all_ways()
        .unwrap();
    assert!(result.len() > 1000);
    let other = Harness::<Histogram>::new(r#"{"tasks": 77, "seed": 1}"#).run_whole();
    assert_ne!(
        other.unwrap(),
        result,
        "another parameter, other random numbers"
    );
    let empty = Harness::<Histogram>::new(r#"{"tasks": 0}"#).run_all_ways();
    assert_eq!(empty.unwrap(), b"{}");
}

#[test]
fn errors_and_refusals_come_back_as_text() {
    let error = |params| {
        Harness::<Histogram>::new(params)
            .run_whole()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(error(r#"{"tasks": 9, "bad": 4}"#), "nothing to count");
    assert_eq!(error(r#"{"tasks": 1001}"#), "1001 tasks are too many");
    assert_eq!(
        error("{}"),
        "parameters: missing field `tasks` at line 1 column 2"
    );
}

#[test]
fn a_host_that_breaks_the_order_is_told() {
    let open = || ReduceProgram::<Tree>::open(br#"{"n": 9}"#).unwrap().0;
    assert!(open().take().is_err());
    let mut gap = open();
    gap.run(0, 2).unwrap();
    assert!(
        gap.run(3, 1)
            .unwrap_err()
            .to_string()
            .contains("out of order")
    );
    assert!(open().run(u64::MAX, 2).is_err());
    assert!(open().merge(b"\x01a", b"").is_err());
    let mut again = open();
    for _ in 0..2 {
        again.run(4, 2).unwrap();
        again.run(6, 2).unwrap();
        assert_eq!(again.take().unwrap(), b"\0\x0d((4 5) (6 7))");
    }
}

/// A task gives as many bytes as its index says, and reads a broadcast file.
#[derive(Deserialize)]
struct Stairs {
    n: u64,
    promise: Option<u64>,
}

mod stairs {
    use super::Stairs;
    use crate::prelude::*;

    #[job]
    impl Concat for Stairs {
        fn tasks(&self) -> u64 {
            self.n
        }

        fn run(&self, task: &Task, out: &mut Vec<u8>) {
            let letter = file("letter").map_or(b'-', |bytes| bytes[0]);
            out.extend((0..task.index()).map(|_| letter));
            out.push(b'\n');
        }

        fn media(&self) -> Media {
            let media = Media::new("text/plain").extension("txt");
            self.promise
                .map_or(media.clone(), |bytes| media.bytes_per_task(bytes))
        }
    }
}

#[test]
fn concat_keeps_the_order_of_the_tasks() {
    let harness = Harness::<Stairs>::new(r#"{"n": 4}"#);
    assert_eq!(harness.run_all_ways().unwrap(), b"\n-\n--\n---\n");
    let harness = harness.file("letter", "x");
    assert_eq!(harness.run_all_ways().unwrap(), b"\nx\nxx\nxxx\n");
    assert_eq!(
        Harness::<Stairs>::new(r#"{"n": 0}"#)
            .run_all_ways()
            .unwrap(),
        b""
    );
}

#[test]
fn a_broken_promise_of_bytes_is_an_error() {
    let harness = Harness::<Stairs>::new(r#"{"n": 4, "promise": 1}"#);
    let error = harness.run_whole().unwrap_err().to_string();
    assert_eq!(
        error,
        "the task gave 2 bytes, not as many as `media` promised"
    );
}

#[test]
fn opening_answers_tasks_and_media() {
    let opened = Harness::<Stairs>::new(r#"{"n": 4, "promise": 9}"#).open();
    assert_eq!(
        opened.unwrap(),
        r#"{"tasks":4,"media_type":"text/plain","extension":"txt","bytes_per_task":9}"#
    );
    assert_eq!(
        Harness::<Tree>::new(r#"{"n": 7}"#).open().unwrap(),
        r#"{"tasks":7}"#
    );
    let many = Harness::<Tree>::new(r#"{"n": 4611686018427387905}"#).open();
    assert!(many.unwrap_err().to_string().contains("2^62"));
    let most = Harness::<Tree>::new(r#"{"n": 4611686018427387904}"#).open();
    assert_eq!(most.unwrap(), r#"{"tasks":4611686018427387904}"#);
}

#[test]
fn sections_name_the_version_and_the_mode() {
    assert_eq!(Harness::<Tree>::new("{}").section(), [1, 0, 0, 0]);
    assert_eq!(Harness::<Stairs>::new("{}").section(), [1, 0, 1, 0]);
    assert_eq!(
        Harness::<super::maps::shout>::new("{}").section(),
        [1, 0, 1, 1]
    );
    assert!(ConcatProgram::<Stairs>::open(b"").is_err());
}

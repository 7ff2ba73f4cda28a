//! A guest with large partials, for the bench and the end-to-end tests: each task counts under
//! every one of many keys, so that a block's partial is as large as the whole result, however few
//! tasks it has.

use manyhands_guest_sdk::prelude::*;
use std::collections::HashMap;

/// The parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    tasks: u64,
    /// Keys that each task counts under: about 19 bytes of a partial each.
    keys: u32,
    /// Work of a task besides, in millions of hashes.
    #[serde(default)]
    work: u64,
}

/// The result.
#[derive(Serialize)]
pub struct Summary {
    keys: u64,
    total: u64,
    /// Of keys and counts together.
    digest: String,
}

#[job]
impl Reduce for Tally {
    type Partial = HashMap<String, u64>;
    type Output = Summary;

    fn tasks(&self) -> u64 {
        self.tasks
    }

    fn run(&self, task: &Task) -> HashMap<String, u64> {
        let mut state = task.index();
        for _ in 0..self.work * 1_000_000 {
            state = std::hint::black_box(hash(state));
        }
        let count = |key: u32| 1_000_000_000 + hash(u64::from(key) ^ task.index()) % 1_000;
        (0..self.keys).map(|key| (name(key), count(key))).collect()
    }

    fn merge(
        &self,
        mut left: HashMap<String, u64>,
        right: HashMap<String, u64>,
    ) -> HashMap<String, u64> {
        for (key, count) in right {
            *left.entry(key).or_default() += count;
        }
        left
    }

    fn empty(&self) -> Option<HashMap<String, u64>> {
        Some(HashMap::new())
    }

    fn finish(&self, counts: HashMap<String, u64>) -> Summary {
        // Sums do not depend on the map's order.
        let mixed = counts.iter().map(|(key, count)| {
            let bytes = key
                .bytes()
                .fold(*count, |state, byte| hash(state ^ u64::from(byte)));
            hash(bytes)
        });
        Summary {
            keys: counts.len() as u64,
            total: counts.values().sum(),
            digest: format!("{:016x}", mixed.fold(0, u64::wrapping_add)),
        }
    }
}

fn name(key: u32) -> String {
    format!("key-{key:08}")
}

/// The finaliser of SplitMix64.
fn hash(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use manyhands_guest_sdk::testing::Harness;

    #[test]
    fn every_task_counts_under_every_key() {
        let result = Harness::<Tally>::new(r#"{"tasks": 5, "keys": 7}"#).run_all_ways();
        let text = String::from_utf8(result.unwrap()).unwrap();
        // As a program in another language computed it.
        let expected =
            "{\n  \"digest\": \"96e0b480dea6952f\",\n  \"keys\": 7,\n  \"total\": 35000016462\n}";
        assert_eq!(text, expected);
    }
}

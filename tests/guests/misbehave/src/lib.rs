//! A guest that fails on request, for the end-to-end tests: each way a task can go wrong, at one
//! task of many. Where it does not, a task is a hash of its index: work that nothing can guess,
//! for measuring what a task costs besides.

use manyhands_guest_sdk::prelude::*;

/// The parameters: at task `at` of `tasks`, do what `how` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misbehave {
    tasks: u64,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    how: How,
    /// How long each task is busy, roughly in milliseconds of a fast machine (`how: "slow"`: only
    /// the task `at` is).
    #[serde(default)]
    work_ms: u64,
}

/// What goes wrong.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Nothing.
    #[default]
    Ok,
    /// The task returns an error.
    Error,
    /// The task panics.
    Panic,
    /// The task never ends.
    Loop,
    /// The task recurses until the stack is used up.
    Stack,
    /// The task takes memory until there is none.
    Memory,
    /// The task alone takes `work_ms`.
    Slow,
    /// The parameters are refused.
    Refuse,
}

/// The result.
#[derive(Serialize)]
pub struct Digest {
    digest: String,
    tasks: u64,
}

#[job]
impl Reduce for Misbehave {
    type Partial = u64;
    type Output = Digest;

    fn check(&self) -> Result<()> {
        if self.how == How::Refuse {
            bail!("these parameters are refused on purpose");
        }
        Ok(())
    }

    fn tasks(&self) -> u64 {
        self.tasks
    }

    fn run(&self, task: &Task) -> Result<u64> {
        let index = task.index();
        if index == self.at {
            self.misbehave(index)?;
        }
        if self.work_ms > 0 && self.how != How::Slow {
            busy(self.work_ms, index);
        }
        Ok(hash(index))
    }

    fn merge(&self, left: u64, right: u64) -> u64 {
        left.wrapping_add(right)
    }

    fn empty(&self) -> Option<u64> {
        Some(0)
    }

    fn finish(&self, digest: u64) -> Digest {
        Digest {
            digest: format!("{digest:016x}"),
            tasks: self.tasks,
        }
    }
}

impl Misbehave {
    #[inline(never)]
    fn misbehave(&self, index: u64) -> Result<()> {
        match self.how {
            How::Ok | How::Refuse => {}
            How::Error => bail!("task {index} returned an error on purpose"),
            How::Panic => panic!("task {index} panicked on purpose"),
            How::Loop => loop {
                std::hint::black_box(index);
            },
            How::Stack => {
                std::hint::black_box(descend(index));
            }
            How::Memory => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![index as u8 | 1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            How::Slow => busy(self.work_ms, index),
        }
        Ok(())
    }
}

/// Recurses for ever; the addition after the call keeps the frames apart.
#[expect(unconditional_recursion, reason = "to use up the stack")]
fn descend(depth: u64) -> u64 {
    std::hint::black_box(depth) + descend(depth + 1)
}

/// Busy for about this long; there is no clock to ask.
fn busy(milliseconds: u64, seed: u64) {
    let mut state = seed;
    for _ in 0..milliseconds * 300_000 {
        state = std::hint::black_box(hash(state));
    }
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
    use super::Misbehave;
    use manyhands_guest_sdk::testing::Harness;

    fn run(params: &str) -> Result<String, String> {
        Harness::<Misbehave>::new(params)
            .run_all_ways()
            .map(|result| String::from_utf8(result).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_misbehaviour_it_is_a_sum_of_hashes() {
        let expected = "{\n  \"digest\": \"e220a8397b1dcdaf\",\n  \"tasks\": 1\n}";
        assert_eq!(run(r#"{"tasks": 1}"#).unwrap(), expected);
        assert!(run(r#"{"tasks": 1000, "how": "ok"}"#).is_ok());
    }

    #[test]
    fn errors_carry_their_text() {
        assert_eq!(
            run(r#"{"tasks": 10, "at": 7, "how": "error"}"#).unwrap_err(),
            "task 7 returned an error on purpose"
        );
        assert_eq!(
            run(r#"{"tasks": 10, "how": "refuse"}"#).unwrap_err(),
            "these parameters are refused on purpose"
        );
    }

    #[test]
    #[should_panic(expected = "task 3 panicked on purpose")]
    fn a_panic_is_a_panic() {
        let _ = run(r#"{"tasks": 10, "at": 3, "how": "panic"}"#);
    }
}

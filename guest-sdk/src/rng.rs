//! The generator of pseudo-random numbers, seeded by (job seed, task).
//!
//! The algorithms are those of D. Blackman and S. Vigna, "Scrambled linear pseudorandom number
//! generators" (ACM TOMS 47, 2021): xoshiro256++; its state is filled by SplitMix64 of G. Steele,
//! D. Lea and C. Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).

/// A generator of pseudo-random numbers that gives the same ones in every run of a task.
///
/// It is had from [`Task::rng`](crate::Task::rng) only, so a merge has none. Not for secrets.
///
/// ```
/// # use manyhands_guest_sdk::prelude::*;
/// # #[derive(Deserialize)] struct Dice {}
/// # impl Dice {
/// fn run(&self, task: &Task) -> u64 {
///     let mut rng = task.rng();
///     (0..1000).map(|_| rng.below(6) + 1).sum()
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// The fractional part of the golden ratio, in 64 bits: SplitMix64's step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function, a bijection.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The job seed of ABI.md: FNV-1a-64 over the parameter bytes.
pub(crate) fn job_seed(params: &[u8]) -> u64 {
    params.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Rng {
    pub(crate) fn of_task(job_seed: u64, task: u64) -> Self {
        // Both are mixed before they meet: neighbouring tasks must not start at neighbouring
        // points of one sequence.
        let mut point = mix(job_seed.wrapping_add(GOLDEN)) ^ mix(task).rotate_left(32);
        let state = std::array::from_fn(|_| {
            point = point.wrapping_add(GOLDEN);
            mix(point)
        });
        Self { state }
    }

    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(crate) fn of_state(state: [u64; 4]) -> Self {
        Self { state }
    }

    /// 64 uniform bits (xoshiro256++).
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let s2 = s2 ^ s0;
        let s3 = s3 ^ s1;
        self.state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
        result
    }

    /// 32 uniform bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A uniform multiple of 2^-53 in `0.0 .. 1.0`.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A uniform integer in `0 .. bound`, without bias (D. Lemire, "Fast random integer generation
    /// in an interval", ACM TOMACS 29, 2019).
    ///
    /// # Panics
    /// If `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no integer is below 0");
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Puts `items` into a uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

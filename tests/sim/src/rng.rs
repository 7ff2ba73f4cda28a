//! The one source of chance: everything that a seed decides comes from here.

/// xoshiro256++ by Blackman and Vigna, seeded by SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng([u64; 4]);

/// One step of SplitMix64: also a good mixing of 64 bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Any number of `0..below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        assert!(below > 0, "nothing to choose from");
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// Any number of `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Any number of `low..=high`, each magnitude equally likely.
    pub(crate) fn spread(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high, "{low} to {high}");
        let (least, most) = ((low as f64).ln(), (high as f64).ln());
        let value = (least + (most - least) * self.unit()).exp();
        (value as u64).clamp(low, high)
    }

    /// Any number of `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True so many times of a thousand.
    pub(crate) fn permille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// The time to the next of events that come independently of each other.
    pub(crate) fn wait(&mut self, mean: u64) -> u64 {
        let wait = -(1.0 - self.unit()).ln() * mean as f64;
        (wait as u64).max(1)
    }
}

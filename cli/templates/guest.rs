//! How many of the numbers below `n` are prime.

use manyhands_guest_sdk::prelude::*;

/// The job's parameters: `{"n": 1000000}`.
#[derive(Deserialize)]
struct Primes {
    n: u64,
}

/// How many numbers one task looks at.
const STEP: u64 = 1000;

#[job]
impl Reduce for Primes {
    type Partial = u64;
    type Output = u64;

    /// How many tasks there are.
    fn tasks(&self) -> u64 {
        self.n.div_ceil(STEP)
    }

    /// One task: a pure function of the parameters and `task.index()`.
    fn run(&self, task: &Task) -> u64 {
        let first = task.index() * STEP;
        let last = (first + STEP).min(self.n);
        (first..last).filter(|number| is_prime(*number)).count() as u64
    }

    /// What two neighbouring blocks come to.
    fn merge(&self, left: u64, right: u64) -> u64 {
        left + right
    }

    /// What the user gets.
    fn finish(&self, primes: u64) -> u64 {
        primes
    }

    /// What a job without tasks comes to.
    fn empty(&self) -> Option<u64> {
        Some(0)
    }
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| number % divisor != 0)
}

#[cfg(test)]
mod tests {
    use super::Primes;
    use manyhands_guest_sdk::testing::Harness;

    #[test]
    fn there_are_168_primes_below_1000() {
        let result = Harness::<Primes>::new(r#"{"n": 1000}"#).run_whole();
        assert_eq!(result.unwrap(), b"168");
    }
}

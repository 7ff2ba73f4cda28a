//! Time as an argument. Nobody here reads a clock.

use std::fmt;
use std::ops::Add;

/// Microseconds since the driver's start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// Never, as a deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// Microseconds since `earlier`; 0 when that is later than `self`.
    ///
    /// ```
    /// use manyhands_scheduler::Micros;
    /// assert_eq!(Micros(70).since(Micros(20)), 50);
    /// assert_eq!(Micros(20).since(Micros(70)), 0);
    /// ```
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Micros {
    type Output = Self;
    fn add(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µs", self.0)
    }
}

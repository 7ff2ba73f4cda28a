//! In how many ways n queens stand on an n × n board so that none attacks another.

use manyhands_guest_sdk::prelude::*;

/// The parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queens {
    /// The side of the board, at most 24.
    n: u32,
}

/// The result.
#[derive(Serialize)]
pub struct Count {
    n: u32,
    solutions: u64,
}

/// A task places the queens of this many rows, the search those of the rest.
const ROWS_OF_A_TASK: u32 = 3;

#[job]
impl Reduce for Queens {
    type Partial = u64;
    type Output = Count;

    fn check(&self) -> Result<()> {
        if self.n > 24 {
            bail!(
                "a board of {0} × {0} would take years: `n` is at most 24",
                self.n
            );
        }
        Ok(())
    }

    fn tasks(&self) -> u64 {
        u64::from(self.n).pow(ROWS_OF_A_TASK.min(self.n))
    }

    fn run(&self, task: &Task) -> u64 {
        let mut board = Board::new(self.n);
        // The columns of the first rows are the digits of the index in base n.
        let mut digits = task.index();
        for _ in 0..ROWS_OF_A_TASK.min(self.n) {
            let queen = 1 << (digits % u64::from(self.n));
            digits /= u64::from(self.n);
            if board.free() & queen == 0 {
                return 0;
            }
            board = board.with(queen);
        }
        board.solutions()
    }

    fn merge(&self, left: u64, right: u64) -> u64 {
        left + right
    }

    fn finish(&self, solutions: u64) -> Count {
        Count {
            n: self.n,
            solutions,
        }
    }
}

/// What the queens so far forbid in the next row, a bit a column.
#[derive(Clone, Copy)]
struct Board {
    all: u32,
    columns: u32,
    falling: u32,
    rising: u32,
}

impl Board {
    fn new(n: u32) -> Self {
        Self {
            all: (1 << n) - 1,
            columns: 0,
            falling: 0,
            rising: 0,
        }
    }

    fn free(self) -> u32 {
        self.all & !(self.columns | self.falling | self.rising)
    }

    /// With `queen` in the next row, seen from the row after it.
    fn with(self, queen: u32) -> Self {
        Self {
            all: self.all,
            columns: self.columns | queen,
            falling: (self.falling | queen) << 1,
            rising: (self.rising | queen) >> 1,
        }
    }

    fn solutions(self) -> u64 {
        if self.columns == self.all {
            return 1;
        }
        let mut free = self.free();
        let mut solutions = 0;
        while free != 0 {
            let queen = free & free.wrapping_neg();
            free ^= queen;
            solutions += self.with(queen).solutions();
        }
        solutions
    }
}

#[cfg(test)]
mod tests {
    use super::Queens;
    use manyhands_guest_sdk::testing::Harness;

    fn solve(params: &str) -> String {
        let result = Harness::<Queens>::new(params).run_all_ways();
        String::from_utf8(result.unwrap()).unwrap()
    }

    #[test]
    fn small_job_gives_the_expected_bytes() {
        assert_eq!(
            solve(include_str!("../params.json")),
            include_str!("../expected.json").trim_end()
        );
    }

    /// Sequence A000170 of the OEIS.
    #[test]
    fn counts_are_the_known_ones() {
        for (n, solutions) in [1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724].iter().enumerate() {
            let expected = format!("{{\n  \"n\": {n},\n  \"solutions\": {solutions}\n}}");
            assert_eq!(solve(&format!("{{\"n\": {n}}}")), expected);
        }
    }

    #[test]
    fn endless_boards_are_refused() {
        let error = Harness::<Queens>::new(r#"{"n": 25}"#).open().unwrap_err();
        assert!(error.to_string().contains("at most 24"));
    }
}

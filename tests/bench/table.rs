//! Medians, and lines that people and programs can read.

use std::time::Duration;

/// The middle one; of an even number the later of the two.
pub(crate) fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// One way to compute one job.
pub(crate) struct Row<'a> {
    job: &'a str,
    way: &'a str,
    time: Duration,
    base: Duration,
    goal: Option<f64>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(job: &'a str, way: &'a str, time: Duration, base: Duration) -> Self {
        Self {
            job,
            way,
            time,
            base,
            goal: None,
        }
    }

    /// The largest ratio to the base that is wanted.
    pub(crate) fn goal(mut self, ratio: f64) -> Self {
        self.goal = Some(ratio);
        self
    }

    pub(crate) fn print(&self) {
        let ratio = self.time.as_secs_f64() / self.base.as_secs_f64();
        let verdict = match self.goal {
            None => String::new(),
            Some(goal) if ratio <= goal => format!("  goal {goal:.2}: holds"),
            Some(goal) => format!("  goal {goal:.2}: MISSED"),
        };
        println!(
            "{:<12}  {:<32} {:>8.3} s  {ratio:.3}{verdict}",
            self.job,
            self.way,
            self.time.as_secs_f64()
        );
    }
}

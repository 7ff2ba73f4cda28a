//! π by throwing darts: the share of random points of a square that fall into the quarter disc.

use manyhands_guest_sdk::prelude::*;

/// The parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pi {
    /// How many points are thrown.
    samples: u64,
    /// How many points a task throws (the last one may throw fewer).
    #[serde(default = "default_samples_per_task")]
    samples_per_task: u64,
    /// Another seed throws other points: all parameters seed the generator.
    #[serde(default)]
    #[expect(dead_code, reason = "the generator is seeded by the parameters' bytes")]
    seed: u64,
}

fn default_samples_per_task() -> u64 {
    1 << 18
}

/// The result.
#[derive(Serialize)]
pub struct Estimate {
    hits: u64,
    pi: f64,
    samples: u64,
}

#[job]
impl Reduce for Pi {
    type Partial = u64;
    type Output = Estimate;

    fn check(&self) -> Result<()> {
        if self.samples_per_task == 0 {
            bail!("`samples_per_task` must be at least 1");
        }
        Ok(())
    }

    fn tasks(&self) -> u64 {
        self.samples.div_ceil(self.samples_per_task)
    }

    fn run(&self, task: &Task) -> u64 {
        let first = task.index() * self.samples_per_task;
        let samples = self.samples_per_task.min(self.samples - first);
        let mut rng = task.rng();
        let mut hits = 0;
        for _ in 0..samples {
            // 31 bits a coordinate: the sum of their squares fits 64.
            let bits = rng.next_u64();
            let (x, y) = (bits >> 33, bits & 0x7fff_ffff);
            hits += u64::from(x * x + y * y < 1 << 62);
        }
        hits
    }

    fn merge(&self, left: u64, right: u64) -> u64 {
        left + right
    }

    fn empty(&self) -> Option<u64> {
        Some(0)
    }

    fn finish(&self, hits: u64) -> Estimate {
        Estimate {
            hits,
            pi: 4.0 * hits as f64 / self.samples as f64,
            samples: self.samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pi;
    use manyhands_guest_sdk::testing::Harness;

    #[test]
    fn small_job_gives_the_expected_bytes() {
        let result = Harness::<Pi>::new(include_str!("../params.json")).run_all_ways();
        assert_eq!(
            String::from_utf8(result.unwrap()).unwrap(),
            include_str!("../expected.json").trim_end()
        );
    }

    #[test]
    fn estimate_is_within_four_standard_deviations() {
        let result = Harness::<Pi>::new(r#"{"samples": 1000000}"#).run_whole();
        let text = String::from_utf8(result.unwrap()).unwrap();
        let pi = text.split("\"pi\": ").nth(1).unwrap();
        let pi: f64 = pi.split(',').next().unwrap().parse().unwrap();
        let deviation = (std::f64::consts::PI * (4.0 - std::f64::consts::PI) / 1e6).sqrt();
        assert!((pi - std::f64::consts::PI).abs() < 4.0 * deviation, "{pi}");
    }

    #[test]
    fn no_samples_are_no_estimate() {
        let result = Harness::<Pi>::new(r#"{"samples": 0}"#).run_all_ways();
        let expected = "{\n  \"hits\": 0,\n  \"pi\": null,\n  \"samples\": 0\n}";
        assert_eq!(String::from_utf8(result.unwrap()).unwrap(), expected);
    }

    #[test]
    fn bad_parameters_are_refused() {
        let open = |params| Harness::<Pi>::new(params).open().unwrap_err().to_string();
        assert!(open(r#"{}"#).contains("missing field `samples`"));
        assert!(open(r#"{"samples": 1, "samples_per_task": 0}"#).contains("at least 1"));
    }
}

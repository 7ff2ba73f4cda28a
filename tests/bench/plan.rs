//! What to measure, and how long, from the command line.

/// The parts of the bench, in the order in which they run.
pub(crate) const NAMES: [&str; 17] = [
    "compare",
    "tiny",
    "data",
    "latency",
    "round-trip",
    "durability",
    "blocks",
    "scheduler",
    "costs",
    "networks",
    "namespaces",
    "memory",
    "workers",
    "merging",
    "restart",
    "size",
    "page",
];

pub(crate) struct Plan {
    /// Measurements of each figure; what is printed are medians over them.
    pub(crate) rounds: usize,
    /// Multiplies the work of the jobs that are compared.
    pub(crate) scale: u64,
    /// Whether only to see that everything runs: figures mean nothing then.
    pub(crate) short: bool,
    /// Whether to end with the table that `BENCHMARKS.md` takes.
    pub(crate) markdown: bool,
    names: Vec<String>,
}

impl Plan {
    /// # Panics
    /// With one line that says what is possible.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let mut plan = Self {
            rounds: 3,
            scale: 1,
            short: false,
            markdown: false,
            names: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
            match argument.as_str() {
                "--rounds" => {
                    plan.rounds = number().expect("--rounds takes a number").max(1) as usize;
                }
                "--scale" => plan.scale = number().expect("--scale takes a number").max(1),
                "--short" => plan.short = true,
                "--markdown" => plan.markdown = true,
                // Cargo passes this to every bench.
                "--bench" => {}
                name if NAMES.contains(&name) => plan.names.push(name.to_owned()),
                other => panic!(
                    "{other}: not known; use --rounds N, --scale N, --short, --markdown, {}",
                    NAMES.join(", ")
                ),
            }
        }
        if plan.short {
            plan.rounds = 1;
            plan.scale = 1;
        }
        plan
    }

    /// Whether this part was asked for, by its name or by naming none.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    /// How much work: less where only running at all counts.
    pub(crate) fn work<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }
}

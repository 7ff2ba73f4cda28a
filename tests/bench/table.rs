//! Figures: medians and spreads, their goals, and lines that people and programs
//! can read.

use std::time::Duration;

/// The middle one; of an even number the later of the two.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which this part of all lies.
///
/// # Panics
/// When there is none.
pub(crate) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    let at = (samples.len() as f64 * part) as usize;
    samples[at.min(samples.len() - 1)]
}

pub(crate) fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

pub(crate) fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

/// What a figure counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    /// Of two times.
    Ratio,
    PerSecond,
    Percent,
    /// 10^6 bytes.
    Megabytes,
    /// 10^3 bytes.
    Kilobytes,
    /// 10^6 bytes a second.
    MegabytesPerSecond,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.3} s"),
            Self::Milliseconds => format!("{value:.3} ms"),
            Self::Microseconds => format!("{value:.1} µs"),
            Self::Ratio => format!("{value:.3}"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Percent => format!("{value:.2} %"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Kilobytes => format!("{value:.1} kB"),
            Self::MegabytesPerSecond => format!("{value:.0} MB/s"),
        }
    }
}

#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn write(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", unit.write(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.write(least)),
        }
    }
}

/// One figure.
pub(crate) struct Row {
    part: &'static str,
    what: String,
    unit: Unit,
    value: f64,
    /// The least and the most of what the value is the median of.
    spread: (f64, f64),
    goal: Option<Goal>,
    note: String,
}

impl Row {
    /// The median of samples.
    pub(crate) fn of(
        part: &'static str,
        what: impl Into<String>,
        unit: Unit,
        samples: &[f64],
    ) -> Self {
        Self {
            part,
            what: what.into(),
            unit,
            value: median(samples),
            spread: (quantile(samples, 0.0), quantile(samples, 1.0)),
            goal: None,
            note: String::new(),
        }
    }

    /// The ratio of two medians; the spread is that of the pairs, measured one
    /// after the other, so that a machine that drifts does so for both.
    pub(crate) fn ratio(
        part: &'static str,
        what: impl Into<String>,
        times: &[f64],
        bases: &[f64],
    ) -> Self {
        let pairs = times.iter().zip(bases).map(|(time, base)| time / base);
        let pairs: Vec<f64> = pairs.collect();
        let (time, base) = (median(times), median(bases));
        Self {
            value: time / base,
            note: format!("{time:.3} s / {base:.3} s"),
            ..Self::of(part, what, Unit::Ratio, &pairs)
        }
    }

    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    pub(crate) fn at_least(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtLeast(goal));
        self
    }

    /// What the figure depends on.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// What, figure, spread, goal, whether it holds.
    fn cells(&self) -> [String; 5] {
        let write = |value| self.unit.write(value);
        let (low, high) = self.spread;
        let verdict = self.goal.map_or("", |goal| match goal.holds(self.value) {
            true => "holds",
            false => "MISSED",
        });
        [
            self.what.clone(),
            write(self.value),
            format!("{} – {}", write(low), write(high)),
            self.goal
                .map_or_else(String::new, |goal| goal.write(self.unit)),
            verdict.to_owned(),
        ]
    }
}

/// All figures of a run, printed as they come.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        let [what, figure, spread, goal, verdict] = row.cells();
        let line = format!(
            "{:<10}  {what:<52} {figure:>13}  {spread:<29} {goal:<14} {verdict:<6}  {}",
            row.part, row.note
        );
        println!("{}", line.trim_end());
        self.rows.push(row);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| part | what | median | spread | goal | | remark |\n\
             | --- | --- | ---: | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let [what, figure, spread, goal, verdict] = row.cells();
            let (part, note) = (row.part, &row.note);
            text.push_str(&format!(
                "| {part} | {what} | {figure} | {spread} | {goal} | {verdict} | {note} |\n"
            ));
        }
        text
    }
}

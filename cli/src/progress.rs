//! Progress of a job on standard error: a bar on a terminal, a plain line every
//! few seconds elsewhere. Knows nothing of how the news come.

use crate::human;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use manyhands_protocol::api::{JobState, JobView};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a plain line is printed.
const PLAIN_EVERY: Duration = Duration::from_secs(3);

/// What a bar counts to: tasks may be more than a bar can tell apart.
const STEPS: u64 = 10_000;

/// Shows one job's progress.
pub(crate) struct Progress {
    face: Face,
    /// What holds all up, where something does.
    trouble: Option<String>,
}

enum Face {
    Bar(ProgressBar),
    Plain { next: Instant },
    Silent,
}

impl Progress {
    /// A bar if standard error is a terminal, lines if not, nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let face = if quiet {
            Face::Silent
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}");
            bar.set_style(style.expect("the template is right").progress_chars("=> "));
            Face::Bar(bar)
        } else {
            Face::Plain {
                next: Instant::now() + PLAIN_EVERY,
            }
        };
        Self {
            face,
            trouble: None,
        }
    }

    /// Shows a job as it stands now.
    pub(crate) fn update(&mut self, job: &JobView) {
        let text = summary(job, self.trouble.as_deref());
        match &mut self.face {
            Face::Bar(bar) => {
                bar.set_prefix(job.name.clone());
                bar.set_message(text);
                bar.set_position(steps(job));
            }
            Face::Plain { next } => {
                let now = Instant::now();
                if now >= *next && !job.state.is_over() {
                    *next = now + PLAIN_EVERY;
                    eprintln!("{}: {text}", job.name);
                }
            }
            Face::Silent => {}
        }
    }

    /// Shows what holds all up, or that nothing does any more.
    pub(crate) fn trouble(&mut self, trouble: Option<String>) {
        match &trouble {
            Some(trouble) => self.line(trouble),
            None => self.line("the coordinator hands out work again"),
        }
        self.trouble = trouble;
    }

    /// The coordinator does not answer.
    pub(crate) fn away(&self, reason: &str) {
        if let Face::Bar(bar) = &self.face {
            bar.set_message("waiting for the coordinator");
        }
        self.line(&format!(
            "the coordinator does not answer ({reason}); waiting for it to come back"
        ));
    }

    /// It answers again.
    pub(crate) fn back(&self) {
        self.line("the coordinator is back");
    }

    /// Shows how many of some files are uploaded.
    pub(crate) fn upload(&mut self, done: usize, all: usize) {
        let text = format!(
            "{} of {}",
            human::count(done as u64),
            human::counted(all as u64, "file")
        );
        match &mut self.face {
            Face::Bar(bar) => {
                bar.set_prefix("upload");
                bar.set_message(text);
                bar.set_position((done as u64).saturating_mul(STEPS) / (all as u64).max(1));
            }
            Face::Plain { next } if Instant::now() >= *next => {
                *next = Instant::now() + PLAIN_EVERY;
                eprintln!("upload: {text}");
            }
            Face::Plain { .. } | Face::Silent => {}
        }
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn line(&self, text: &str) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Face::Plain { .. } | Face::Silent => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

fn steps(job: &JobView) -> u64 {
    let tasks = u128::from(job.tasks.max(1));
    let done = u128::from(job.done.min(job.tasks));
    // At most STEPS, as done is at most tasks.
    (done * u128::from(STEPS) / tasks) as u64
}

/// `43 %, 431 of 1,000 tasks, 12 s to go`
fn summary(job: &JobView, trouble: Option<&str>) -> String {
    if job.state == JobState::Finishing {
        return "finishing".to_owned();
    }
    let mut text = format!(
        "{} %, {} of {}",
        steps(job) * 100 / STEPS,
        human::count(job.done),
        human::counted(job.tasks, "task")
    );
    if job.state.is_over() {
        return text;
    }
    match (trouble, &job.waiting, job.remaining_ms) {
        (Some(trouble), _, _) => text.push_str(&format!(", {trouble}")),
        (None, Some(waiting), _) => text.push_str(&format!(", {waiting}")),
        (None, None, Some(left)) => text.push_str(&format!(", {} to go", human::millis(left))),
        (None, None, None) if job.running == 0 => text.push_str(", waiting for workers"),
        (None, None, None) => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::{JobId, MergeMode};

    fn job(done: u64, tasks: u64) -> JobView {
        JobView {
            done,
            running: 4,
            remaining_ms: Some(12_000),
            ..JobView::submitted(JobId(1), "pi", MergeMode::Reduce, tasks)
        }
    }

    #[test]
    fn a_line_says_how_much_and_how_long() {
        assert_eq!(
            summary(&job(431, 1000), None),
            "43 %, 431 of 1,000 tasks, 12 s to go"
        );
        let mut waiting = job(0, 1);
        (waiting.running, waiting.remaining_ms) = (0, None);
        assert_eq!(
            summary(&waiting, None),
            "0 %, 0 of 1 task, waiting for workers"
        );
        waiting.waiting = Some("waiting for a worker with SIMD128".into());
        assert_eq!(
            summary(&waiting, None),
            "0 %, 0 of 1 task, waiting for a worker with SIMD128"
        );
        assert_eq!(
            summary(&waiting, Some("the disk is full")),
            "0 %, 0 of 1 task, the disk is full"
        );
        let finishing = JobView {
            state: JobState::Finishing,
            ..job(5, 5)
        };
        assert_eq!(summary(&finishing, None), "finishing");
    }

    #[test]
    fn neither_nothing_nor_2_to_the_62_tasks_overflow() {
        assert_eq!(steps(&job(0, 0)), 0);
        assert_eq!(steps(&job(1 << 62, 1 << 62)), STEPS);
    }
}

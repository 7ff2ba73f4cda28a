//! Jobs, workers and failures in words.

use crate::human;
use manyhands_protocol::api::{JobState, JobView, WorkerView};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{Failure, FailureKind};

/// A job's state in a word or two: `running, 43 %`.
pub(crate) fn state(job: &JobView) -> String {
    match &job.state {
        JobState::Running => {
            let percent = u128::from(job.done) * 100 / u128::from(job.tasks.max(1));
            format!("running, {percent} %")
        }
        JobState::Finishing => "finishing".to_owned(),
        JobState::Done { .. } => "done".to_owned(),
        JobState::Failed { .. } => "failed".to_owned(),
        JobState::Cancelled => "cancelled".to_owned(),
    }
}

/// What happened to a job that failed, where, and what to do.
pub(crate) fn failure(task: Option<u64>, failure: &Failure) -> String {
    let place = task.map_or(String::new(), |task| format!("task {task}: "));
    let text = failure.message.trim_end();
    match failure.kind {
        FailureKind::Error | FailureKind::Trap => format!("{place}{text}"),
        FailureKind::Stack => format!(
            "{place}{text}\nA recursion is too deep: bound it, or keep a stack of your own in a Vec."
        ),
        FailureKind::Memory => format!(
            "{place}{text}\nGive the guest more with --memory, up to 4GiB, or make tasks smaller."
        ),
        FailureKind::Timeout => {
            format!("{place}{text}\nAllow more with --task-timeout, or make tasks smaller.")
        }
        FailureKind::Crash => format!("{place}{text}"),
    }
}

/// One line on a job that is done: how long it took and who computed it.
pub(crate) fn done(job: &JobView) -> String {
    let mut text = format!(
        "{} in {}",
        human::counted(job.tasks, "task"),
        human::millis(job.elapsed_ms)
    );
    let shares: Vec<String> = shares(job)
        .into_iter()
        .map(|(who, percent)| format!("{who} {percent} %"))
        .collect();
    if !shares.is_empty() {
        text.push_str(" by ");
        text.push_str(&shares.join(", "));
    }
    text
}

/// Who computed how many percent of the tasks, the most first.
fn shares(job: &JobView) -> Vec<(&str, u64)> {
    let all: u64 = job.contributions.iter().map(|share| share.tasks).sum();
    let percent = |tasks: u64| (u128::from(tasks) * 100 / u128::from(all.max(1))) as u64;
    job.contributions
        .iter()
        .map(|share| (share.name.as_str(), percent(share.tasks)))
        .collect()
}

/// Who computed how much, as a table.
pub(crate) fn contributions(job: &JobView) -> String {
    let rows: Vec<Vec<String>> = job
        .contributions
        .iter()
        .map(|share| {
            vec![
                share.worker.to_string(),
                share.name.clone(),
                engine(share.engine).to_owned(),
                human::count(share.blocks),
                human::count(share.tasks),
                human::millis(share.busy_ms),
            ]
        })
        .collect();
    human::table(
        &["worker", "name", "engine", "blocks", "tasks", "thread time"],
        &rows,
    )
}

/// Workers as a table.
pub(crate) fn workers(workers: &[WorkerView]) -> String {
    let row = |worker: &WorkerView| {
        vec![
            worker.id.to_string(),
            worker.name.clone(),
            engine(worker.engine).to_owned(),
            worker.slots.to_string(),
            presence(worker).to_owned(),
            worker.job.map_or("-".to_owned(), |job| job.to_string()),
            human::count(worker.blocks),
            human::count(worker.tasks),
        ]
    };
    let rows: Vec<Vec<String>> = workers.iter().map(row).collect();
    let mut text = human::table(
        &[
            "worker", "name", "engine", "threads", "here", "job", "blocks", "tasks",
        ],
        &rows,
    );
    for worker in workers {
        if let Some(reason) = &worker.quarantine {
            let (id, name) = (worker.id, &worker.name);
            text.push_str(&format!(
                "worker {id} ({name}) gets no work for a while: {reason}\n"
            ));
        }
    }
    text
}

/// A size of memory as it is written in options: `64MiB`.
pub(crate) fn memory(bytes: u64) -> String {
    human::size(bytes).replace(' ', "").replace(".0", "")
}

fn presence(worker: &WorkerView) -> &'static str {
    match (worker.connected, &worker.quarantine) {
        (false, _) => "away",
        (true, Some(_)) => "quarantined",
        (true, None) => "yes",
    }
}

/// Jobs as a table.
pub(crate) fn jobs(jobs: &[JobView]) -> String {
    let row = |job: &JobView| {
        vec![
            job.id.to_string(),
            job.name.clone(),
            state(job),
            human::count(job.tasks),
            human::millis(job.elapsed_ms),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let mut text = human::table(&["job", "name", "state", "tasks", "time"], &rows);
    for job in jobs {
        if let Some(waiting) = &job.waiting {
            text.push_str(&format!("job {} ({}) is {waiting}\n", job.id, job.name));
        }
    }
    text
}

/// One job in full.
pub(crate) fn job(job: &JobView) -> String {
    let mut text = format!("job {}: {}\n", job.id, job.name);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    line("state", state(job));
    line(
        "tasks",
        format!(
            "{} of {} done, {} at work",
            human::count(job.done),
            human::count(job.tasks),
            job.running
        ),
    );
    line("time", human::millis(job.elapsed_ms));
    if let Some(left) = job.remaining_ms {
        line("to go", human::millis(left));
    }
    if let Some(waiting) = &job.waiting {
        line("waiting", waiting.trim_start_matches("waiting ").to_owned());
    }
    if job.retries > 0 {
        line(
            "retries",
            format!("{} done again", human::counted(job.retries, "block")),
        );
    }
    line("parameters", job.params.to_string());
    match &job.state {
        JobState::Done { len, hash } => {
            line("result", format!("{}, BLAKE3 {hash}", human::size(*len)))
        }
        JobState::Failed {
            task,
            failure: guilty,
        } => line("failure", failure(*task, guilty)),
        _ => {}
    }
    if !job.contributions.is_empty() {
        text.push('\n');
        text.push_str(&contributions(job));
    }
    text
}

fn engine(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Native => "native",
        EngineKind::Browser => "browser",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::api::{Contribution, OutputShape};
    use manyhands_protocol::{BlobHash, JobId, MergeMode, WorkerId};

    fn sample() -> JobView {
        let share = |worker, name: &str, engine, tasks| Contribution {
            worker: WorkerId(worker),
            name: name.into(),
            engine,
            blocks: 2,
            tasks,
            busy_ms: 1500,
        };
        JobView {
            id: JobId(7),
            name: "pi".into(),
            state: JobState::Done {
                len: 5,
                hash: BlobHash::of(b"3.141"),
            },
            merge: MergeMode::Reduce,
            tasks: 2000,
            done: 2000,
            running: 0,
            prefix: 0,
            output: OutputShape::default(),
            submitted_ms: 0,
            elapsed_ms: 3200,
            remaining_ms: None,
            retries: 1,
            waiting: None,
            params: serde_json::json!({"n": 1}),
            contributions: vec![
                share(1, "lab-7", EngineKind::Native, 1500),
                share(2, "Firefox", EngineKind::Browser, 500),
            ],
        }
    }

    #[test]
    fn a_job_that_is_done_says_who_did_it() {
        assert_eq!(
            done(&sample()),
            "2,000 tasks in 3.2 s by lab-7 75 %, Firefox 25 %"
        );
    }

    #[test]
    fn one_job_in_full() {
        let text = job(&sample());
        assert!(text.contains("job 7: pi\nstate       done\n"), "{text}");
        assert!(text.contains("retries     1 block done again\n"), "{text}");
        assert!(
            text.contains("2       Firefox  browser  2       500    1.5 s\n"),
            "{text}"
        );
    }

    #[test]
    fn who_gets_nothing_to_do_is_told_why() {
        let worker = WorkerView {
            id: WorkerId(3),
            name: "lab-7".into(),
            engine: EngineKind::Native,
            slots: 8,
            connected: true,
            leases: 0,
            blocks: 0,
            tasks: 0,
            job: None,
            joined_ms: 0,
            quarantine: Some("5 blocks in a row failed".into()),
        };
        let text = workers(&[worker]);
        assert!(
            text.contains("lab-7  native  8        quarantined"),
            "{text}"
        );
        let last = "worker 3 (lab-7) gets no work for a while: 5 blocks in a row failed\n";
        assert!(text.ends_with(last), "{text}");

        let mut waiting = sample();
        waiting.waiting = Some("waiting for a worker with SIMD128".into());
        assert!(job(&waiting).contains("waiting     for a worker with SIMD128\n"));
        let list = jobs(&[waiting]);
        assert!(
            list.ends_with("job 7 (pi) is waiting for a worker with SIMD128\n"),
            "{list}"
        );
        assert_eq!(memory(64 << 20), "64MiB");
    }

    #[test]
    fn failures_say_where_and_what_to_do() {
        let timeout = Failure {
            kind: FailureKind::Timeout,
            message: "ran longer than 1 s".into(),
        };
        let text = failure(Some(17), &timeout);
        assert_eq!(
            text,
            "task 17: ran longer than 1 s\nAllow more with --task-timeout, or make tasks smaller."
        );
    }
}

//! Data folders that a coordinator cannot use: one line that says why and what
//! to do, an exit code that is not 0, and files that stay as they are.

use manyhands_protocol::api::JobState;
use manyhands_tests::cluster::{Cluster, Setup};
use manyhands_tests::jobs::Job;
use manyhands_tests::tiny_disk;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.sqlite";
const LOG: &str = "journal.sqlite-wal";

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All files below a folder, but for the index of the write-ahead log, which
/// holds nothing that is not elsewhere.
fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn assert_same(before: &Files, after: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    for (name, bytes) in before {
        assert!(after[name] == *bytes, "{} was changed", name.display());
    }
}

/// Starts a coordinator that does not come up; the one line it says. Nothing in
/// its folder has changed.
async fn refusal(cluster: &mut Cluster) -> String {
    let before = files(&cluster.data);
    let (code, printed) = cluster.start_in_vain().await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {printed}");
    let line = printed.strip_prefix("error: ").unwrap_or_default();
    assert!(!line.is_empty() && !line.contains('\n'), "{printed}");
    assert_same(&before, &files(&cluster.data));
    cluster.assert_no_orphans().await;
    line.to_owned()
}

/// A cluster whose coordinator has ended with a job that is not over: in order,
/// or killed.
async fn ended(job: &Job, in_order: bool) -> Cluster {
    let mut cluster = Cluster::start().await;
    let module = job.module().display().to_string();
    let options = job.options();
    let mut arguments = vec!["run", "--detach", &module];
    arguments.extend(options.iter().map(String::as_str));
    let (code, printed) = cluster.command(&arguments).await;
    assert_eq!(code, Some(0), "{printed}");
    match in_order {
        true => cluster.terminate().await,
        false => cluster.kill().await,
    }
    cluster
}

/// The folder as it is again goes on.
async fn goes_on(mut cluster: Cluster, job: &Job) {
    cluster.start_again().await;
    let worker = cluster.worker("late", 2).await;
    cluster
        .until("the job is done", async |client| {
            let page = client.jobs(None, 1).await.unwrap();
            matches!(page.jobs[0].state, JobState::Done { .. })
        })
        .await;
    let mut result = Vec::new();
    let id = cluster.newest().await.id;
    cluster.client.result(id, &mut result).await.unwrap();
    assert!(result == job.expected(), "{}: other bytes", job.guest);
    cluster.end([worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_a_newer_version() {
    let job = Job::pi(20);
    let mut cluster = ended(&job, true).await;
    let path = cluster.data.join(JOURNAL);
    let journal = fs::read(&path).unwrap();
    let mut newer = journal.clone();
    // SQLite's user version: four bytes, the most significant first.
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, newer).unwrap();
    let said = refusal(&mut cluster).await;
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert!(said.contains("has version 99"), "{said}");
    assert!(said.contains("use a newer one"), "{said}");
    fs::write(&path, journal).unwrap();
    goes_on(cluster, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_in_part() {
    let job = Job::pi(20);
    let mut cluster = ended(&job, false).await;
    let (journal, log) = (cluster.data.join(JOURNAL), cluster.data.join(LOG));
    let whole = (fs::read(&journal).unwrap(), fs::read(&log).unwrap());

    for missing in [&log, &journal] {
        let bytes = fs::read(missing).unwrap();
        fs::remove_file(missing).unwrap();
        let said = refusal(&mut cluster).await;
        let expected = format!("{} is missing", missing.display());
        assert!(said.starts_with(&expected), "{said}");
        fs::write(missing, bytes).unwrap();
    }
    for len in [0, 50, whole.0.len() / 2 / 4096 * 4096] {
        fs::write(&journal, &whole.0[..len]).unwrap();
        let said = refusal(&mut cluster).await;
        assert!(said.contains(&journal.display().to_string()), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
    }
    fs::write(&journal, &whole.0).unwrap();
    goes_on(cluster, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_on_one_folder() {
    let cluster = Cluster::start().await;
    let before = files(&cluster.data);
    let mut second = manyhands_tests::processes::command(&cluster.data);
    second.args(["coordinator", "--listen", "127.0.0.1:0", "--data"]);
    second.arg(&cluster.data);
    let mut second = manyhands_tests::process::Process::start(second).unwrap();
    let status = second.wait().await.unwrap();
    assert_eq!(status.code(), Some(3));
    let folder = cluster.data.display();
    assert_eq!(
        second.printed(),
        format!("error: another coordinator uses the folder {folder}: choose another with --data")
    );
    assert_same(&before, &files(&cluster.data));

    // The first one has not noticed anything.
    let worker = cluster.worker("only", 2).await;
    let job = Job::pi(100);
    let outcome = cluster.run(&job, &[]).outcome().await;
    outcome.assert_bytes(&job.expected(), "beside a second coordinator");
    cluster.end([worker]).await;
}

/// The hash of the file's bytes, as it is called in the data folder.
fn blob(cluster: &Cluster, bytes: &[u8]) -> (String, PathBuf) {
    let hash = manyhands_protocol::BlobHash::of(bytes).to_string();
    let path = cluster.data.join("blobs").join(&hash[..2]).join(&hash);
    assert!(path.is_file(), "{}", path.display());
    (hash, path)
}

/// Takes a blob of a running job away, starts again, and waits for the job's end:
/// it fails, naming the blob.
async fn fails_naming(mut cluster: Cluster, hash: &str) {
    cluster.start_again().await;
    let worker = cluster.worker("only", 2).await;
    cluster
        .until("the job has failed", async |client| {
            client.jobs(None, 1).await.unwrap().jobs[0].state.is_over()
        })
        .await;
    let job = cluster.newest().await;
    let JobState::Failed { failure, .. } = &job.state else {
        panic!("{:?}", job.state);
    };
    assert!(failure.message.contains(hash), "{failure:?}");
    assert!(failure.message.contains("is missing"), "{failure:?}");
    // Others are not concerned.
    let next = Job::mandelbrot(64);
    let outcome = cluster.run(&next, &[]).outcome().await;
    outcome.assert_bytes(&next.expected(), "after a job that lacked a blob");
    cluster.end([worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_module() {
    let cluster = ended(&Job::pi(100), false).await;
    let blobs: Vec<_> = files(&cluster.data.join("blobs")).into_keys().collect();
    // The module as it was sent, and as it was admitted: workers are sent that.
    let sent = fs::read(Job::pi(1).module()).unwrap();
    let (_, sent) = blob(&cluster, &sent);
    let mut admitted = blobs.iter().filter(|path| **path != sent);
    let admitted = admitted.next().expect("an admitted module");
    let hash = admitted.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(admitted).unwrap();
    fails_naming(cluster, &hash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_input() {
    let job = Job::wordcount(2);
    let cluster = ended(&job, false).await;
    let input = fs::read(&job.options()[3]).unwrap();
    let (hash, path) = blob(&cluster, &input);
    fs::remove_file(path).unwrap();
    fails_naming(cluster, &hash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder() {
    let Some(disk) = tiny_disk::of(16, "bad_data::a_read_only_folder").await else {
        return;
    };
    let setup = Setup {
        data: Some(disk.join("data")),
        ..Setup::default()
    };
    let mut cluster = Cluster::start_with(setup).await;
    cluster.terminate().await;
    tiny_disk::set_writable(&disk, false).await;
    let said = refusal(&mut cluster).await;
    let folder = cluster.data.display().to_string();
    assert!(said.contains(&folder), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains("writable"), "{said}");
    tiny_disk::set_writable(&disk, true).await;
    cluster.start_again().await;
    cluster.end([]).await;
}

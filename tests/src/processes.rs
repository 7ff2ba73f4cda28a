//! All processes that a test has started, and those that these started in turn:
//! found by a mark in their environment, which children inherit; and a process's
//! children.

use crate::files;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const MARK: &str = "MANYHANDS_TEST_CLUSTER";

/// `manyhands`, marked as one of the processes of `cluster`, a folder of its own.
#[must_use]
pub fn command(cluster: &Path) -> Command {
    let mut command = Command::new(files::manyhands());
    command.env(MARK, cluster);
    // What the person who runs the tests has set is not for these.
    for variable in ["MANYHANDS_COORDINATOR", "MANYHANDS_KEY", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// The processes of `cluster` that live: their ids and command lines.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn of(cluster: &Path) -> Vec<(u32, String)> {
    let mark = format!("{MARK}={}", cluster.display());
    let entries = fs::read_dir("/proc").expect("a system with /proc");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let marked = ids.filter(|id| {
        // Gone meanwhile, or another user's: not ours. A process that has ended
        // and was not waited for yet has no environment.
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == mark.as_bytes())
    });
    marked.map(|id| (id, command_line(id))).collect()
}

fn command_line(id: u32) -> String {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// The children of a process.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(PathBuf::from(format!("/proc/{parent}/task")));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut ids = Vec::new();
    for list in lists {
        ids.extend(
            list.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    ids
}

/// Sends a signal to processes; those that have ended meanwhile do not mind.
///
/// # Panics
/// When the system refuses.
pub fn signal(ids: &[u32], signal: Signal) {
    for id in ids {
        let id = i32::try_from(*id).ok().and_then(Pid::from_raw);
        match kill_process(id.expect("a process's id"), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[tokio::test]
    async fn grandchildren_are_found_until_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.env(MARK, folder.path());
        // The grandchild speaks for itself: one that is only just being started
        // shows no environment for a moment.
        let grandchild = "sh -c 'echo $$; kill -STOP $$'";
        shell.args(["-c", &format!("{grandchild} & read -r _; wait")]);
        let mut process = Process::start(shell).unwrap();
        let sleeper = process.line(|line| (!line.is_empty()).then_some(line));
        let sleeper: u32 = sleeper.await.unwrap().parse().unwrap();
        let found: Vec<u32> = of(folder.path()).into_iter().map(|(id, _)| id).collect();
        assert!(found.contains(&sleeper) && found.contains(&process.id().unwrap()));
        assert_eq!(children(process.id().unwrap()), [sleeper]);
        assert_eq!(of(Path::new("/no/such/cluster")), []);
        signal(&[sleeper], Signal::KILL);
        process.wait().await.unwrap();
        assert_eq!(of(folder.path()), []);
    }
}

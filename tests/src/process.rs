//! One process of the real binary: what it prints, signals to it, its end.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::files;

/// How long a process may take to print or to end: long, for a machine that
/// does much else, and short enough that a test still says what it waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process did not do.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It could not be started, or not be waited for.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    /// It ended, or said nothing for [a minute](PATIENCE), before the line came.
    #[error("the line did not come; it printed:\n{printed}")]
    NoLine {
        /// All that it printed, both streams in the order of arrival.
        printed: String,
    },
    /// It went on for a minute after it should have ended.
    #[error("it did not end; it printed:\n{printed}")]
    NoEnd {
        /// All that it printed, both streams in the order of arrival.
        printed: String,
    },
    /// There is no such process any more.
    #[error("it has ended already")]
    Ended,
}

/// A running process; dropping it kills it.
///
/// [`line`](Self::line) consumes what is printed in order, [`wait`](Self::wait)
/// the rest. Signals may be sent at any time before the end was waited for.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    printed: Vec<String>,
}

impl Process {
    /// Starts `manyhands` with these arguments.
    ///
    /// # Errors
    /// When the system does not start it.
    ///
    /// # Panics
    /// When the binary has not been built.
    pub fn manyhands<I>(arguments: I) -> Result<Self, ProcessError>
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut command = Command::new(files::manyhands());
        command.args(arguments);
        Self::start(command)
    }

    /// Starts any command, with its input closed and its output read here.
    ///
    /// # Errors
    /// When the system does not start it.
    pub fn start(mut command: Command) -> Result<Self, ProcessError> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (sender, lines) = mpsc::unbounded_channel();
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        tokio::spawn(forward(stdout, sender.clone()));
        tokio::spawn(forward(stderr, sender));
        Ok(Self {
            child,
            lines,
            printed: Vec::new(),
        })
    }

    /// Waits for the next line, of either stream, in which `find` finds
    /// something: `process.line(|line| line.strip_prefix("listening on "))`.
    ///
    /// # Errors
    /// [`ProcessError::NoLine`] when the process ends or falls silent first.
    pub async fn line<T>(
        &mut self,
        mut find: impl FnMut(&str) -> Option<&T>,
    ) -> Result<T::Owned, ProcessError>
    where
        T: ToOwned + ?Sized,
    {
        while let Ok(Some(line)) = timeout(PATIENCE, self.lines.recv()).await {
            self.printed.push(line);
            let line = self.printed.last().expect("a line was pushed");
            if let Some(found) = find(line) {
                return Ok(found.to_owned());
            }
        }
        Err(ProcessError::NoLine {
            printed: self.printed(),
        })
    }

    /// Sends a signal: [`Signal::KILL`] for a crash, [`Signal::INT`] for Ctrl-C.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] when its end was waited for.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        // An id that was waited for may be another process's by now.
        let id = self.child.id().ok_or(ProcessError::Ended)?;
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(id.ok_or(ProcessError::Ended)?, signal).map_err(io::Error::from)?;
        Ok(())
    }

    /// Waits for its end and reads what it printed until then.
    ///
    /// # Errors
    /// [`ProcessError::NoEnd`] after a minute.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            return Err(ProcessError::NoEnd {
                printed: self.printed(),
            });
        };
        // A grandchild that outlives the process would keep the pipes open.
        while let Ok(Some(line)) = timeout(PATIENCE, self.lines.recv()).await {
            self.printed.push(line);
        }
        Ok(status?)
    }

    /// All that was read of its output so far, a line each.
    #[must_use]
    pub fn printed(&self) -> String {
        self.printed.join("\n")
    }

    /// The system's number for it; `None` once its end was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

async fn forward(stream: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    // An error on a pipe is its end, as far as a reader can tell.
    while matches!(stream.read_until(b'\n', &mut line).await, Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command).unwrap()
    }

    #[tokio::test]
    async fn a_line_is_found_among_others() {
        let mut process = shell("echo first; echo url http://x/; echo last >&2");
        let url = process.line(|line| line.strip_prefix("url ")).await;
        assert_eq!(url.unwrap(), "http://x/");
        assert!(process.wait().await.unwrap().success());
        assert!(process.printed().contains("last"));
    }

    #[tokio::test]
    async fn a_line_that_never_comes_shows_what_did() {
        let mut process = shell("echo nothing here");
        let error = process.line(|line| line.strip_prefix("url ")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("nothing here"), "{error}");
    }

    #[tokio::test]
    async fn a_signal_arrives() {
        let mut process = shell(
            "sleep 1000 >/dev/null 2>&1 & trap \"echo caught; kill $!; exit 3\" INT; echo ready; wait",
        );
        process
            .line(|line| (line == "ready").then_some(line))
            .await
            .unwrap();
        process.signal(Signal::INT).unwrap();
        assert_eq!(process.wait().await.unwrap().code(), Some(3));
        assert!(process.printed().ends_with("caught"));
        assert!(matches!(
            process.signal(Signal::INT),
            Err(ProcessError::Ended)
        ));
    }

    #[tokio::test]
    async fn a_kill_is_seen_as_one() {
        let mut process = shell("echo ready; exec sleep 1000");
        process
            .line(|line| (line == "ready").then_some(line))
            .await
            .unwrap();
        process.signal(Signal::KILL).unwrap();
        assert_eq!(process.wait().await.unwrap().signal(), Some(9));
    }
}

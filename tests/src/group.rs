//! Programs that start programs of their own, such as browsers: all of them end
//! with one handle, however this process ends.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A program and all that it started.
///
/// They form a process group of their own, led by a shell that waits for the
/// end of its standard input and then kills the group. That end comes when
/// this handle is dropped, and also when the test is killed: nothing is left
/// on the machine in either case.
#[derive(Debug)]
pub struct Group {
    shell: Child,
}

/// `$@` is the program. If it ends by itself, so does the group: then
/// [`Group::ended`] answers.
const WATCH: &str = r#"
    { "$@" </dev/null; kill -KILL 0; } &
    read -r _
    kill -KILL 0
"#;

impl Group {
    /// Starts `command`, of which program, arguments, environment, current
    /// folder count, with its output going to `stdout` and `stderr`.
    ///
    /// # Errors
    /// When no shell can be started. A program that cannot be shows as a group
    /// that has ended.
    pub fn start(
        command: &Command,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", WATCH, "group"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            set(&mut shell, name, value);
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let shell = shell
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        Ok(Self { shell })
    }

    /// Standard output, if it was asked for by [`Stdio::piped`]; once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.shell.stdout.take()
    }

    /// Whether the program has ended by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }
}

fn set(command: &mut Command, name: &OsStr, value: Option<&OsStr>) {
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell is the last that the kill reaches; an error here means
        // that it has been waited for already.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    /// A program that starts another, which says its id and would live on.
    fn family() -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        command
    }

    #[test]
    fn a_grandchild_ends_with_the_handle() {
        let mut group = Group::start(&family(), Stdio::piped(), Stdio::null()).unwrap();
        let mut lines = BufReader::new(group.stdout().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.trim().parse::<u32>().is_ok(), "{line:?}");
        assert!(group.ended().unwrap().is_none());

        drop(group);
        // The pipe's end comes when the last process that holds it is gone.
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }

    #[test]
    fn a_program_that_ends_by_itself_ends_the_group() {
        let mut group = Group::start(&Command::new("true"), Stdio::piped(), Stdio::null()).unwrap();
        let mut said = String::new();
        group.stdout().unwrap().read_to_string(&mut said).unwrap();
        assert!(group.shell.wait().is_ok());
        assert!(group.ended().unwrap().is_some());
    }
}

//! A disk of a few megabytes for tests of what happens when it is full. A test
//! is run a second time, in a process with a mount namespace of its own: the disk
//! goes with it, whatever happens.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

const DISK: &str = "MANYHANDS_TEST_TINY_DISK";

/// What the shell exits with where no disk can be mounted.
const NO_MOUNT: i32 = 77;

/// The folder of an empty disk of so many megabytes, for the one who calls; or
/// `None` once the test has been run with one, or where none can be mounted:
/// there is nothing left to do then. `test` is the test's name as the test
/// harness lists it.
///
/// # Panics
/// When the test fails on its disk.
pub async fn of(megabytes: u32, test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let disk = tempfile::tempdir().unwrap();
    let script =
        format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" || exit {NO_MOUNT}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    command.arg(disk.path());
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", test]);
    command.env(DISK, disk.path()).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await;
    let (ran, said) = match &output {
        Ok(output) => (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        ),
        Err(error) => (false, error.to_string()),
    };
    if ran {
        let name = "the name of the test is another";
        assert!(said.contains("1 passed"), "{name}: {said}");
        // What it measured.
        print!("{said}");
        return None;
    }
    let mounted = said.contains("running 1 test");
    assert!(!mounted, "on a tiny disk: {said}");
    // Past the test harness, which would not show it.
    let text = format!("NOT TESTED: {test}: no disk can be mounted here: {said}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    None
}

/// A file that takes all space that is left on a disk; dropping it gives the
/// space back.
pub struct Filler(PathBuf);

impl Filler {
    /// Fills the disk to its last page.
    ///
    /// # Panics
    /// When the disk takes no file at all.
    #[must_use]
    pub fn new(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 16, 1 << 12] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the filler is where it was put");
    }
}

/// Makes the disk read-only, or writable again; no file may be open for writing.
///
/// # Panics
/// When the system refuses.
pub async fn set_writable(disk: &Path, writable: bool) {
    let option = if writable { "remount,rw" } else { "remount,ro" };
    let mut mount = Command::new("mount");
    let mounted = mount.args([OsString::from("-o"), option.into()]).arg(disk);
    assert!(mounted.status().await.unwrap().success());
}

//! A disk of one megabyte for tests of what happens when it is full. A test is
//! run a second time, in a process with a mount namespace of its own: the disk
//! goes with it, whatever happens.

use std::io::Write;
use std::path::Path;
use std::process::Command;

const DISK: &str = "MANYHANDS_TEST_TINY_DISK";

/// What the shell exits with where no disk can be mounted.
const NO_MOUNT: i32 = 77;

/// Runs `body` with the folder of an empty disk. `module` is the caller's
/// `module_path!()`, `test` the name of the test that calls.
pub(crate) fn run(module: &str, test: &str, body: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(DISK) {
        return body(Path::new(&disk));
    }
    let (_, path) = module.split_once("::").expect("a module of a crate");
    let disk = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=1m tmpfs \"$0\" || exit {NO_MOUNT}; exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{path}::{test}")])
        .env(DISK, disk.path())
        .output();
    let (ran, said) = match &output {
        Ok(output) => (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        ),
        Err(error) => (false, error.to_string()),
    };
    if ran {
        assert!(
            said.contains("1 passed"),
            "the name of the test is another: {said}"
        );
        return;
    }
    let mounted = said.contains("running 1 test");
    assert!(!mounted, "on a tiny disk: {said}");
    // Past the test harness, which would not show it.
    let text = format!("NOT TESTED: {path}::{test}: no disk can be mounted here: {said}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Fills the disk to its last page with a file of this name, apart from
/// `but` bytes.
pub(crate) fn fill(disk: &Path, but: usize) -> std::path::PathBuf {
    let path = disk.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut len = 0;
    while file.write_all(&[1; 4096]).is_ok() {
        len += 4096;
    }
    file.set_len(len - but as u64).unwrap();
    path
}

/// Makes the disk read-only, or writable again; no file may be open.
pub(crate) fn set_writable(disk: &Path, writable: bool) {
    let option = if writable { "remount,rw" } else { "remount,ro" };
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-o", option]).arg(disk).status();
    assert!(mounted.unwrap().success());
}

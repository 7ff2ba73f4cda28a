//! The binary as scripts see it: results, exit codes and the words of errors.
//! Guests here are a few lines of text; real ones, several workers and browsers
//! are the end-to-end tests' business.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A concat guest of three tasks, each of which is to run `$task` with its index
/// in `$index` and the place for its byte in `$at`.
fn guest(task: &str) -> Vec<u8> {
    let answer = r#"{\"tasks\":3,\"media_type\":\"text/plain\"}"#;
    // The status, and the text without the escapes.
    let answer_len = 1 + answer.replace('\\', "").len();
    let text = format!(
        r#"(module
  (@custom "manyhands" "\01\00\01\00")
  (memory (export "memory") 1)
  (data (i32.const 16) "\00{answer}")
  (global $at (mut i32) (i32.const 2049))
  (func (export "alloc") (param i32) (result i32) (i32.const 32768))
  (func $answer (param $at i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))
  (func (export "open") (param i32 i32) (result i64) (call $answer (i32.const 16) (i32.const {answer_len})))
  (func $task (param $at i32) (param $index i32) {task})
  (func (export "run") (param $first i64) (param $count i64) (result i64)
    (loop $next
      (call $task (global.get $at) (i32.wrap_i64 (local.get $first)))
      (global.set $at (i32.add (global.get $at) (i32.const 1)))
      (local.set $first (i64.add (local.get $first) (i64.const 1)))
      (local.set $count (i64.sub (local.get $count) (i64.const 1)))
      (br_if $next (i64.ne (local.get $count) (i64.const 0))))
    (call $answer (i32.const 1024) (i32.const 1)))
  (func (export "take") (result i64)
    (call $answer (i32.const 2048) (i32.sub (global.get $at) (i32.const 2048)))))"#
    );
    wat::parse_str(text).expect("the guest's text is right")
}

/// Writes `a`, `b`, `c`.
const LETTERS: &str = "(i32.store8 (local.get $at) (i32.add (local.get $index) (i32.const 97)))";

fn module(folder: &Path, task: &str) -> PathBuf {
    let path = folder.join("letters.wasm");
    std::fs::write(&path, guest(task)).unwrap();
    path
}

fn manyhands(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.current_dir(folder);
    for name in ["MANYHANDS_COORDINATOR", "MANYHANDS_KEY", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, message: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(!stderr.contains("panicked at"), "{stderr}");
    assert!(!stderr.contains("RUST_BACKTRACE"), "{stderr}");
}

#[test]
fn a_job_runs_with_nothing_but_its_module() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path(), LETTERS);
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&module)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "abc");
    assert!(
        text(&output.stderr).contains("letters: 3 tasks in "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn programs_get_one_json_object_and_the_result_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path(), LETTERS);
    let output = manyhands(folder.path())
        .args(["run", "--json"])
        .arg(&module)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["job"]["state"], "done");
    assert_eq!(answer["out"], "letters.txt");
    assert_eq!(
        std::fs::read(folder.path().join("letters.txt")).unwrap(),
        b"abc"
    );
    // A file that nobody named replaces none; one that was named does.
    let run = |options: &[&str]| {
        let mut command = manyhands(folder.path());
        command.args(["run", "--json"]).arg(&module).args(options);
        let output = command.output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["out"].as_str().unwrap().to_owned()
    };
    assert_eq!(run(&[]), "letters-2.txt");
    assert_eq!(run(&["-o", "letters.txt"]), "letters.txt");
}

#[test]
fn a_result_that_cannot_be_written_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    // It would run for a minute.
    let module = module(folder.path(), LOOP);
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&module)
        .args(["-o", "nodir/x"])
        .output()
        .unwrap();
    assert_fails(
        &output,
        3,
        "error: cannot write nodir/x: no such file or directory\n",
    );
    assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");
}

#[test]
fn an_empty_variable_is_none_and_a_set_one_can_be_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path(), LETTERS);
    let run = |coordinator: &str, options: &[&str]| {
        let mut command = manyhands(folder.path());
        command.env("MANYHANDS_COORDINATOR", coordinator);
        command.arg("run").arg(&module).args(options);
        command.output().unwrap()
    };
    let output = run("", &["--threads", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let nowhere = "http://127.0.0.1:1";
    let output = run(nowhere, &["--threads", "1"]);
    assert_fails(
        &output,
        2,
        "MANYHANDS_COORDINATOR names a coordinator: add --here",
    );
    let output = run(nowhere, &["--threads", "1", "--here"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "abc");
    assert_fails(&run(nowhere, &[]), 3, "no coordinator answers at");
}

#[test]
fn keys_that_can_be_guessed_are_refused_where_others_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    let output = manyhands(folder.path())
        .args(["coordinator", "--listen", "0.0.0.0:0", "--data", "data"])
        .env("MANYHANDS_KEY", "secret")
        .output()
        .unwrap();
    assert_fails(
        &output,
        2,
        "error: the key has 6 characters, and others can reach",
    );
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[test]
fn a_guest_that_traps_fails_the_job_and_names_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let trap = "(if (i32.eq (local.get $index) (i32.const 1)) (then unreachable))";
    let module = module(folder.path(), trap);
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&module)
        .output()
        .unwrap();
    assert_fails(&output, 1, "(letters) failed: task 1: ");
    assert!(
        text(&output.stderr).contains("unreachable"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("task"),
        "the backtrace has the function's name"
    );
}

#[test]
fn check_names_the_first_block_whose_bytes_depend_on_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let good = module(folder.path(), LETTERS);
    let output = manyhands(folder.path())
        .arg("check")
        .arg(&good)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("3 of 3 tasks, and 3 blocks whole and in halves"));

    // Writes where it stands in its block instead of its index.
    let bad = module(
        folder.path(),
        "(i32.store8 (local.get $at) (local.get $at))",
    );
    let output = manyhands(folder.path())
        .arg("check")
        .arg(&bad)
        .output()
        .unwrap();
    assert_fails(
        &output,
        1,
        "tasks 0..2 give other bytes run as one block than run in two halves",
    );
    assert!(text(&output.stderr).contains("Likely reasons"));
}

/// Never comes back from task 1.
const LOOP: &str = "(loop $l (br_if $l (i32.eq (local.get $index) (i32.const 1))))";

#[test]
fn check_ends_a_guest_that_does_not_return() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path(), LOOP);
    let check = |options: &[&str]| {
        let mut command = manyhands(folder.path());
        command.arg("check").arg(&module).args(options);
        command.output().unwrap()
    };
    let output = check(&["--task-timeout", "200ms"]);
    assert_fails(&output, 1, "error: task 1: took longer than 200ms\n");
    assert!(!text(&output.stderr).contains("WARN"), "{output:?}");
    let output = check(&["--time", "300ms"]);
    assert_fails(&output, 1, "nothing was compared within --time: ");
}

#[test]
fn a_task_that_takes_too_long_is_all_that_its_author_hears_of() {
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path(), LOOP);
    let mut command = manyhands(folder.path());
    command.arg("run").arg(&module);
    let output = command.args(["--task-timeout", "200ms"]).output().unwrap();
    assert_fails(&output, 1, "(letters) failed: task 1: ");
    assert!(!text(&output.stderr).contains("WARN"), "{output:?}");
}

#[test]
fn a_check_of_one_task_compares_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let one = wat::parse_str(ONE_TASK).unwrap();
    std::fs::write(folder.path().join("one.wasm"), one).unwrap();
    let output = manyhands(folder.path())
        .args(["check", "one.wasm"])
        .output()
        .unwrap();
    assert_fails(
        &output,
        2,
        "nothing to compare: give parameters for at least 2 tasks",
    );
    assert_eq!(text(&output.stdout), "");
}

/// A concat guest whose one task gives nothing.
const ONE_TASK: &str = r#"(module
  (@custom "manyhands" "\01\00\01\00")
  (memory (export "memory") 1)
  (data (i32.const 16) "\00{\"tasks\":1}")
  (func (export "alloc") (param i32) (result i32) (i32.const 32768))
  (func (export "open") (param i32 i32) (result i64) (i64.const 0x10_0000_000c))
  (func (export "run") (param i64 i64) (result i64) (i64.const 0x400_0000_0001))
  (func (export "take") (result i64) (i64.const 0x400_0000_0001)))"#;

#[test]
fn what_is_no_guest_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no module").unwrap();
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&path)
        .output()
        .unwrap();
    assert_fails(
        &output,
        2,
        "error: notes is no guest: not a WebAssembly module",
    );
    let output = manyhands(folder.path())
        .args(["run", "missing.wasm"])
        .output()
        .unwrap();
    assert_fails(
        &output,
        3,
        "error: cannot read missing.wasm: no such file or directory\n",
    );
    let module = module(folder.path(), LETTERS);
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&module)
        .args(["--input", "notes.txt"])
        .output()
        .unwrap();
    assert_fails(&output, 2, "this module takes no input: leave out --input");
    let output = manyhands(folder.path())
        .arg("run")
        .arg(&module)
        .args(["--params", "{n}"])
        .output()
        .unwrap();
    assert_fails(&output, 2, "--params is not JSON");
}

#[test]
fn an_unreachable_coordinator_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for command in [
        &["jobs"][..],
        &["workers"],
        &["show", "1"],
        &["result", "1"],
        &["cancel", "1"],
    ] {
        let url = format!("http://{free}");
        let output = manyhands(folder.path())
            .args(command)
            .args(["--coordinator", &url])
            .output()
            .unwrap();
        assert_fails(&output, 3, "start one with `manyhands coordinator`");
        assert_eq!(
            text(&output.stderr).lines().count(),
            1,
            "{}",
            text(&output.stderr)
        );
    }
    let output = manyhands(folder.path())
        .args(["jobs", "--coordinator", "gopher://x"])
        .output()
        .unwrap();
    assert_fails(&output, 2, "is not the address of a coordinator");
}

#[test]
fn an_occupied_port_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = manyhands(folder.path())
        .args(["coordinator", "--listen", &address, "--data", "data"])
        .output()
        .unwrap();
    assert_fails(
        &output,
        3,
        &format!("error: {address} is occupied, perhaps by another coordinator"),
    );
    assert_eq!(
        text(&output.stderr).lines().count(),
        1,
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_new_crate_is_not_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let output = manyhands(folder.path())
        .args(["new", "mine"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).starts_with("mine is ready:\n  manyhands run mine "),
        "{}",
        text(&output.stdout)
    );
    let manifest = std::fs::read_to_string(folder.path().join("mine/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("guest-sdk\" }"),
        "this program's own checkout: {manifest}"
    );
    let output = manyhands(folder.path())
        .args(["new", "mine"])
        .output()
        .unwrap();
    assert_fails(
        &output,
        2,
        "error: mine is there already: choose another name\n",
    );
    let output = manyhands(folder.path())
        .args(["new", "1st", "--json"])
        .output()
        .unwrap();
    assert_fails(&output, 2, "is no name for a crate");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["exit"], 2);
}

#[test]
fn options_that_cannot_be_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (words, message) in [
        (
            &["run", "x", "--task-timeout", "10"][..],
            "such as 500ms, 10s, 2m or 1h",
        ),
        (
            &["run", "x", "--memory", "lots"],
            "such as 4096, 64KiB or 1MiB",
        ),
        (&["run", "x", "--detach"], "--coordinator"),
        (
            &["run", "--input", "a", "b", "x.wasm"],
            "put MODULE before --input, or -- before it",
        ),
        (
            &["show", "x"],
            "not a job's number, as `manyhands jobs` shows",
        ),
        (
            &["jobs", "--coordinator", "https://lab/"],
            "https://lab/: encrypted connections are not supported yet",
        ),
        (
            &["worker", "http://lab/", "--memory", "63MiB"],
            "63MiB: a worker needs at least 64MiB",
        ),
        (&["worker"], "name the coordinator: manyhands worker URL"),
        (&["coordinator", "--keep-jobs", "soon"], "such as 30d, 12h"),
        (
            &["demo", "--guests", "none"],
            "none/mandelbrot.wasm is missing: `cargo xtask demo`",
        ),
        (
            &["worker", "https://lab/"],
            "encrypted connections are not supported yet",
        ),
    ] {
        let output = manyhands(folder.path()).args(words).output().unwrap();
        assert_fails(&output, 2, message);
    }
}

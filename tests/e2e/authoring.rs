//! What an author does: run without a coordinator, check, and begin a guest.

use manyhands_tests::files;
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Process;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

async fn manyhands(configure: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
    let mut command = Command::new(files::manyhands());
    configure(&mut command);
    let mut process = Process::start(command).unwrap();
    let status = process.wait().await.unwrap();
    (status.code(), process.printed())
}

/// Runs an example privately with the parameters and input in its folder.
async fn example(name: &str) -> Vec<u8> {
    let folder = repository().join("examples").join(name);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("out.bin");
    let (code, printed) = manyhands(|command| {
        command
            .arg("run")
            .arg(files::guest(name))
            .arg("--out")
            .arg(&file);
        command
            .arg("--params")
            .arg(format!("@{}", folder.join("params.json").display()));
        let input = folder.join("input.txt");
        if input.exists() {
            command.arg("--input").arg(input);
        }
    })
    .await;
    assert_eq!(code, Some(0), "{printed}");
    fs::read(file).unwrap()
}

fn expected(name: &str, file: &str) -> Vec<u8> {
    fs::read(repository().join("examples").join(name).join(file)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_gives_what_its_folder_says() {
    for name in ["pi", "wordcount", "nqueens"] {
        let (result, expected) = (example(name).await, expected(name, "expected.json"));
        assert_eq!(
            String::from_utf8_lossy(&result),
            String::from_utf8_lossy(&expected),
            "{name}"
        );
    }
    let picture = example("mandelbrot").await;
    let hash = manyhands_protocol::BlobHash::of(&picture).to_string();
    let expected = expected("mandelbrot", "expected.rgba.blake3");
    assert_eq!(hash, String::from_utf8_lossy(&expected).trim());
}

/// OEIS A000170.
const QUEENS: [(u32, u64); 6] = [(1, 1), (2, 0), (4, 2), (8, 92), (12, 14_200), (14, 365_596)];

#[tokio::test(flavor = "multi_thread")]
async fn queens_are_counted_as_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queens.json");
    for (n, solutions) in QUEENS {
        let (code, printed) = manyhands(|command| {
            command.arg("run").arg(files::guest("nqueens"));
            command.args(["--params", &json!({ "n": n }).to_string()]);
            command.arg("--out").arg(&file);
        })
        .await;
        assert_eq!(code, Some(0), "{printed}");
        let result: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(result["solutions"], solutions, "{n} queens: {result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_nothing_in_the_examples() {
    let jobs = [
        Job::new(
            "pi",
            json!({ "samples": 1_000_000, "samples_per_task": 5000, "seed": 1 }),
        ),
        Job::new(
            "mandelbrot",
            json!({ "width": 64, "height": 48, "iterations": 100, "samples": 1 }),
        ),
        Job::new("nqueens", json!({ "n": 9 })),
        Job::wordcount(3),
    ];
    for job in jobs {
        let (code, printed) = manyhands(|command| {
            command
                .arg("--json")
                .arg("check")
                .arg(job.module())
                .args(job.options());
        })
        .await;
        assert_eq!(code, Some(0), "{}: {printed}", job.guest);
        assert!(
            printed.contains("\"complete\":true"),
            "{}: {printed}",
            job.guest
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_guest_builds_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed) = manyhands(|command| {
        command
            .current_dir(folder.path())
            .args(["new", "my-first-job", "--sdk"]);
        command.arg(repository().join("guest-sdk"));
    })
    .await;
    assert_eq!(code, Some(0), "{printed}");
    let (code, printed) = manyhands(|command| {
        command.current_dir(folder.path()).args([
            "run",
            "my-first-job",
            "--params",
            r#"{"n": 30}"#,
        ]);
    })
    .await;
    assert_eq!(code, Some(0), "{printed}");
    // The job that `new` begins with counts the primes below n.
    assert!(printed.lines().any(|line| line == "10"), "{printed}");
}

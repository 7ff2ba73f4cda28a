//! What is downloaded, resident and waited for before any work.

use crate::coordinator::Coordinator;
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, milliseconds};
use crate::{machine, threads};
use manyhands_tests::files;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// After which a process that does nothing is as small as it gets.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(&folder.path().join("data"), &[]).await;
    page(&coordinator, table).await;
    drop(coordinator);
    resident(plan, table).await;
    version(plan, table);
}

/// All that a tab fetches before its first job.
async fn page(coordinator: &Coordinator, table: &mut Table) {
    let mut wire = 0;
    let www = Path::new(env!("CARGO_MANIFEST_DIR")).join("../www");
    let files = files_below(&www, &www);
    for file in &files {
        let answer = fetch(&coordinator.address, file).await;
        let answer = answer.expect("the coordinator answers");
        if !answer.starts_with(b"HTTP/1.1 200") {
            println!("size        the page is not in the binary: `cargo xtask web`, then build");
            return;
        }
        wire += answer.len();
    }
    let what = "the page with its worker, compressed, with headers";
    let row = Row::of("size", what, Unit::Kilobytes, &[wire as f64 / 1e3]);
    table.add(row.at_most(150.0).note(format!("{} files", files.len())));
}

/// All bytes that come in answer to a browser's request, head and body.
pub(crate) async fn fetch(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The paths below a folder, as a browser asks for them.
fn files_below(folder: &Path, root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path, root));
        } else {
            let inside = path.strip_prefix(root).expect("below the root");
            files.push(format!("/{}", inside.display()));
        }
    }
    files
}

/// What idle processes hold.
async fn resident(plan: &Plan, table: &mut Table) {
    let (mut coordinators, mut workers) = (Vec::new(), Vec::new());
    let (mut children, mut grandchildren) = (0.0, 0.0);
    for _ in 0..plan.rounds {
        let folder = tempfile::tempdir().expect("a folder");
        let coordinator = Coordinator::start(&folder.path().join("data"), &[]).await;
        tokio::time::sleep(SETTLED).await;
        coordinators.push(machine::resident_mb(coordinator.process()));
        children = machine::children_mb(coordinator.process());
        let worker = coordinator.worker(threads(), folder.path()).await;
        tokio::time::sleep(SETTLED).await;
        let process = worker.id().expect("it runs");
        workers.push(machine::resident_mb(process));
        grandchildren = machine::children_mb(process);
    }
    let row = Row::of(
        "size",
        "idle coordinator, resident",
        Unit::Megabytes,
        &coordinators,
    );
    let note = format!("and its compute child: {children:.1} MB");
    table.add(row.at_most(30.0).note(note));
    let row = Row::of(
        "size",
        "idle native worker, resident",
        Unit::Megabytes,
        &workers,
    );
    let note = format!("and its compute child: {grandchildren:.1} MB");
    table.add(row.at_most(40.0).note(note));
}

/// How long the binary takes to start and end.
fn version(plan: &Plan, table: &mut Table) {
    let mut times = Vec::new();
    for _ in 0..plan.work(50, 5) {
        let mut command = Command::new(files::manyhands());
        command.arg("--version").stdout(Stdio::null());
        let start = Instant::now();
        let status = command.status().expect("the binary starts");
        times.push(start.elapsed());
        assert!(status.success(), "{status}");
    }
    let what = "`manyhands --version`, from start to end";
    let row = Row::of("size", what, Unit::Milliseconds, &milliseconds(&times));
    table.add(row.at_most(50.0));
}

//! Programs whose memory stays at hand. A hypervisor may take pages away that nobody has
//! touched for some seconds, and gives each back in 0.15 ms: one in twenty after 5 s where
//! this was written. Whatever a program does once in a minute took ten times as long.

use manyhands_tests::{cores, files};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often each page is touched.
const EVERY: Duration = Duration::from_millis(250);

const PAGE: u64 = 4096;

/// Touches the programs' pages until it is dropped.
pub(crate) struct Hot {
    _until: Sender<()>,
}

impl Hot {
    /// For `manyhands`, this program and the libraries of both, on the cores of this
    /// thread and whenever nobody else is at work there.
    pub(crate) fn keep() -> Self {
        let open = |path: &PathBuf| File::open(path).ok();
        let files: Vec<File> = programs().iter().filter_map(open).collect();
        let (until, end) = channel();
        thread::spawn(move || {
            cores::stand_back().expect("a thread may be less than others");
            while end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                for file in &files {
                    touch(file).expect("a program can be read");
                }
            }
        });
        Self { _until: until }
    }
}

/// Files that this program has in its memory, and the binary.
fn programs() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a process has maps");
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut paths: BTreeSet<PathBuf> = paths.map(PathBuf::from).collect();
    paths.insert(files::manyhands());
    paths
}

fn touch(file: &File) -> io::Result<()> {
    let mut byte = [0];
    for page in 0..file.metadata()?.len().div_ceil(PAGE) {
        file.read_at(&mut byte, page * PAGE)?;
    }
    Ok(())
}

//! The jobs that the tests run, and what they come to in one thread of one
//! process.

use crate::files;
use manyhands_engine::reference;
use manyhands_engine::runtime::{SLOT_STACK, Segment, Sink};
use manyhands_protocol::limits::DEFAULT_MEMORY;
use manyhands_protocol::{Split, segments_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A job as an author would submit it.
pub struct Job {
    /// The library's name.
    pub guest: &'static str,
    /// Its parameters.
    pub params: Value,
    /// One input file, in a folder that goes with the job.
    input: Option<(TempDir, PathBuf)>,
}

/// Guests' lines are not looked at here.
struct Nowhere;

impl Sink for Nowhere {
    fn log(&self, _: &str) {}
    fn progress(&self, _: f64) {}
}

impl Job {
    /// A job without an input.
    #[must_use]
    pub fn new(guest: &'static str, params: Value) -> Self {
        Self {
            guest,
            params,
            input: None,
        }
    }

    /// Monte Carlo, `reduce`: about `millions` / 200 seconds of one thread.
    pub fn pi(millions: u64) -> Self {
        let params =
            json!({ "samples": millions * 1_000_000, "samples_per_task": 100_000, "seed": 11 });
        Self::new("pi", params)
    }

    /// A picture, `concat`, whose rows differ much in what they cost.
    pub fn mandelbrot(size: u32) -> Self {
        Self::new(
            "mandelbrot",
            json!({ "width": size, "height": size, "iterations": 1500, "samples": 1 }),
        )
    }

    /// `reduce` over an input, with a `HashMap` in its partials.
    pub fn wordcount(mebibytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        fs::write(&path, text(mebibytes << 20)).unwrap();
        let params = json!({ "top": 50 });
        Self {
            guest: "wordcount",
            params,
            input: Some((folder, path)),
        }
    }

    /// A moment's work of the same module, which whoever has done it is warm for.
    ///
    /// # Panics
    /// For a guest that nothing is known of.
    #[must_use]
    pub fn moment(&self) -> Self {
        let params = match self.guest {
            "pi" => json!({ "samples": 10_000_000, "samples_per_task": 100_000, "seed": 1 }),
            "mandelbrot" => {
                json!({ "width": 128, "height": 128, "iterations": 100, "samples": 1 })
            }
            "nqueens" => json!({ "n": 6 }),
            other => panic!("what is a moment's work of {other}?"),
        };
        Self::new(self.guest, params)
    }

    /// The module's file.
    pub fn module(&self) -> PathBuf {
        files::guest(self.guest)
    }

    /// The options of `manyhands run` and `manyhands check`.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec!["--params".to_owned(), self.params.to_string()];
        if let Some((_, path)) = &self.input {
            options.extend(["--input".to_owned(), path.display().to_string()]);
        }
        options
    }

    /// The result in one thread of this process.
    pub fn expected(&self) -> Vec<u8> {
        let job = reference::Job {
            wasm: fs::read(self.module()).unwrap().into(),
            // `serde_json::Value` keeps its keys sorted: the canonical form.
            params: self.params.to_string().into(),
            memory_limit: DEFAULT_MEMORY,
            segments: self
                .input
                .as_ref()
                .map_or_else(Vec::new, |(_, path)| segments(path)),
            files: Arc::new(BTreeMap::new()),
            sink: Arc::new(Nowhere),
        };
        let thread = std::thread::Builder::new().stack_size(SLOT_STACK);
        let thread = thread.spawn(move || reference::run(&job).unwrap()).unwrap();
        thread.join().unwrap()
    }
}

fn segments(path: &Path) -> Vec<Arc<Segment>> {
    let bytes = bytes::Bytes::from(fs::read(path).unwrap());
    let cut = segments_of(&bytes, Split::default()).unwrap();
    cut.into_iter()
        .map(|segment| {
            let range = segment.offset as usize..(segment.offset + segment.len) as usize;
            Arc::new(Segment::new(bytes.slice(range), Split::default()))
        })
        .collect()
}

/// Lines of made-up words, some frequent and most rare, the same every time.
fn text(len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 100);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while text.len() < len {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let word = (random % 40_000)
            .min((random >> 20) % 40_000)
            .min((random >> 40) % 900);
        text.extend_from_slice(format!("w{word:x}").as_bytes());
        text.push(if random >> 60 == 0 { b'\n' } else { b' ' });
    }
    text.push(b'\n');
    text
}

//! Runs a job natively, under any cutting of its work, for unit tests and property tests.
//!
//! ```
//! use manyhands_guest_sdk::prelude::*;
//! use manyhands_guest_sdk::testing::Harness;
//!
//! #[map]
//! fn double(n: u64) -> u64 { 2 * n }
//!
//! # fn main() {
//! let doubled = Harness::<double>::new("{}").inputs(["1\n2\n", "3\n"]).run_all_ways().unwrap();
//! assert_eq!(doubled, b"2\n4\n6\n");
//! # }
//! ```

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;

use crate::job::Job;
use crate::program::{Program, section};
use crate::{Error, Result, Rng};

/// A job with its parameters and inputs, ready to be run natively.
///
/// Every block gets a fresh instance, as it does with a host; panics are panics.
pub struct Harness<J> {
    params: Vec<u8>,
    host: host::Host,
    job: PhantomData<J>,
}

/// Where a harness cuts the work.
enum Cuts {
    Nowhere,
    Everywhere,
    Randomly(Rng),
}

impl<J: Job> Harness<J> {
    /// A job with these parameters, JSON of any layout: they are brought to the canonical form
    /// that hosts use.
    ///
    /// # Panics
    /// If `params` is not JSON.
    pub fn new(params: &str) -> Self {
        let mut params: serde_json::Value = serde_json::from_str(params).expect("valid JSON");
        params.sort_all_objects();
        Self {
            params: params.to_string().into_bytes(),
            host: host::Host::default(),
            job: PhantomData,
        }
    }

    /// Gives the job its inputs, one a task.
    #[must_use]
    pub fn inputs<I: Into<Vec<u8>>>(mut self, inputs: impl IntoIterator<Item = I>) -> Self {
        self.host.inputs = inputs.into_iter().map(Into::into).collect();
        self
    }

    /// Gives the job a broadcast file.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.host.files.insert(name.to_owned(), bytes.into());
        self
    }

    /// The result, all tasks run as one block.
    ///
    /// # Errors
    /// What the job returned.
    pub fn run_whole(&self) -> Result<Vec<u8>> {
        self.run_with(Cuts::Nowhere)
    }

    /// The result, every task a block.
    ///
    /// # Errors
    /// What the job returned.
    pub fn run_split(&self) -> Result<Vec<u8>> {
        self.run_with(Cuts::Everywhere)
    }

    /// The result, blocks and slices cut at random. A seed always gives the same cuts.
    ///
    /// # Errors
    /// What the job returned.
    pub fn run_cut(&self, seed: u64) -> Result<Vec<u8>> {
        self.run_with(Cuts::Randomly(Rng::of_task(seed, 0)))
    }

    /// The result, after it was computed under ten different cuttings.
    ///
    /// # Errors
    /// What the job returned.
    ///
    /// # Panics
    /// If two cuttings gave different bytes: then the job is not a pure function.
    pub fn run_all_ways(&self) -> Result<Vec<u8>> {
        let whole = self.run_whole()?;
        let differs = "the result depends on how the work was cut";
        assert!(self.run_split()? == whole, "{differs}: every task a block");
        for seed in 0..8 {
            assert!(self.run_cut(seed)? == whole, "{differs}: seed {seed}");
        }
        Ok(whole)
    }

    /// What the job answers when it is opened: a JSON object with the number of tasks.
    ///
    /// # Errors
    /// What the job returned, for example because it refused its parameters.
    pub fn open(&self) -> Result<String> {
        let (_, answer) = J::Program::open(&self.params)?;
        Ok(String::from_utf8(value(answer)).expect("JSON is UTF-8"))
    }

    /// The four bytes of the module's custom section.
    pub fn section(&self) -> [u8; 4] {
        section::<J::Program>(J::INPUT)
    }

    fn instance(&self) -> Result<J::Program> {
        Ok(J::Program::open(&self.params)?.0)
    }

    fn tasks(&self) -> Result<u64> {
        if J::INPUT {
            return Ok(self.host.inputs.len() as u64);
        }
        let answer: serde_json::Value = serde_json::from_str(&self.open()?)?;
        answer["tasks"]
            .as_u64()
            .ok_or_else(|| Error::new("`open` did not tell the number of tasks"))
    }

    fn run_with(&self, mut cuts: Cuts) -> Result<Vec<u8>> {
        let _installed = host::install(self.host.clone());
        let tasks = self.tasks()?;
        let root = if tasks == 0 {
            Vec::new()
        } else {
            self.node(0..tasks.next_power_of_two(), tasks, &mut cuts)?
        };
        match J::Program::MERGE_MODE {
            0 => self.instance()?.finish(&root).map(value),
            _ => Ok(root),
        }
    }

    /// The partial of an aligned block, of which the part past `tasks` is absent.
    fn node(&self, block: Range<u64>, tasks: u64, cuts: &mut Cuts) -> Result<Vec<u8>> {
        let length = block.end - block.start;
        let cut = match cuts {
            Cuts::Nowhere => false,
            Cuts::Everywhere => true,
            Cuts::Randomly(rng) => rng.below(3) > 0,
        };
        if length == 1 || !cut {
            return self.block(block.start..block.end.min(tasks), cuts);
        }
        let middle = block.start + length / 2;
        let left = self.node(block.start..middle, tasks, cuts)?;
        if middle >= tasks {
            return Ok(left);
        }
        let right = self.node(middle..block.end, tasks, cuts)?;
        match J::Program::MERGE_MODE {
            0 => self.instance()?.merge(&left, &right).map(value),
            _ => Ok([left, right].concat()),
        }
    }

    /// One block in one instance, in slices.
    fn block(&self, block: Range<u64>, cuts: &mut Cuts) -> Result<Vec<u8>> {
        let mut instance = self.instance()?;
        let mut next = block.start;
        while next < block.end {
            let left = block.end - next;
            let count = match cuts {
                Cuts::Randomly(rng) => 1 + rng.below(left),
                _ => left,
            };
            instance.run(next, count)?;
            next += count;
        }
        instance.take().map(value)
    }
}

/// An answer without its status byte.
fn value(mut answer: Vec<u8>) -> Vec<u8> {
    assert_eq!(answer.remove(0), 0, "errors are not answers");
    answer
}

/// Stands in for the imports of ABI.md.
pub(crate) mod host {
    use super::BTreeMap;
    use std::cell::RefCell;

    /// What a job is given besides its parameters.
    #[derive(Clone, Default)]
    pub(crate) struct Host {
        pub(crate) inputs: Vec<Vec<u8>>,
        pub(crate) files: BTreeMap<String, Vec<u8>>,
    }

    thread_local! {
        static HOST: RefCell<Host> = RefCell::default();
    }

    /// Takes the host away again when it is dropped.
    pub(crate) struct Installed;

    impl Drop for Installed {
        fn drop(&mut self) {
            HOST.take();
        }
    }

    pub(crate) fn install(host: Host) -> Installed {
        crate::host::forget_files();
        HOST.set(host);
        Installed
    }

    pub(crate) fn log(line: &str) {
        eprintln!("{line}");
    }

    pub(crate) fn progress(_fraction: f64) {}

    pub(crate) fn read_input(task: u64, buffer: &mut Vec<u8>) {
        HOST.with_borrow(|host| {
            let input = usize::try_from(task)
                .ok()
                .and_then(|task| host.inputs.get(task))
                .unwrap_or_else(|| panic!("task {task} has no input: give it by `inputs`"));
            buffer.clear();
            buffer.extend_from_slice(input);
        });
    }

    pub(crate) fn read_file(name: &str) -> Option<Vec<u8>> {
        HOST.with_borrow(|host| host.files.get(name).cloned())
    }
}

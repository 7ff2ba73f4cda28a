//! What is kept for slots: compiled jobs, and the segments of inputs.

use crate::orders::Order;
use bytes::Bytes;
use js_sys::WebAssembly::Module;
use manyhands_protocol::message::{JobHeader, SegmentRef};
use manyhands_protocol::{Cut, Split, cut_segment};
use std::cell::OnceCell;
use std::ops::Range;

/// A job that slots can run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) header: JobHeader,
    /// Absent until it is compiled.
    pub(crate) module: Option<Module>,
    files: Vec<Bytes>,
}

impl Job {
    pub(crate) fn new(header: JobHeader, files: Vec<Bytes>) -> Self {
        Self {
            header,
            module: None,
            files,
        }
    }

    /// What a slot must know of it.
    ///
    /// # Panics
    /// Before it is compiled.
    pub(crate) fn order(&self) -> Order {
        let module = self.module.as_ref().expect("a job that was loaded");
        let names = self.header.files.iter().map(|file| file.name.as_str());
        let files = names
            .zip(&self.files)
            .map(|(name, bytes)| (name, &bytes[..]));
        Order::job(self.header.job, module, &self.header.params, files)
    }
}

/// A segment of an input, cut when it is first needed.
#[derive(Debug)]
pub(crate) struct Segment {
    bytes: Bytes,
    cut: OnceCell<Cut>,
}

/// The part of a segment that a block needs.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// The task it begins with.
    pub(crate) first: u64,
    /// The tasks' bytes, one after the other.
    pub(crate) bytes: &'a [u8],
    /// Where each task ends in `bytes`.
    pub(crate) ends: Vec<u32>,
}

impl Segment {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            cut: OnceCell::new(),
        }
    }

    /// What `tasks` need of it, which may be nothing; `None` if it does not hold
    /// what `place` says.
    pub(crate) fn part(
        &self,
        place: &SegmentRef,
        split: Split,
        tasks: &Range<u64>,
    ) -> Option<Part<'_>> {
        let cut = self.cut.get_or_init(|| cut_segment(&self.bytes, split));
        if cut.tasks() != place.tasks {
            return None;
        }
        let first = tasks.start.max(place.first_task);
        let end = tasks.end.min(place.first_task.checked_add(place.tasks)?);
        let within = |task: u64| cut.range(task - place.first_task);
        let start = if first < end { within(first).start } else { 0 };
        let ends = (first..end).map(|task| (within(task).end - start) as u32);
        let ends: Vec<u32> = ends.collect();
        let len = ends.last().map_or(0, |end| *end as usize);
        Some(Part {
            first,
            bytes: &self.bytes[start..start + len],
            ends,
        })
    }
}

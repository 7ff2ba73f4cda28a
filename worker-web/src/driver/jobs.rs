//! Jobs on their way to the slots: a module is compiled once, and what tasks read
//! is cut out of segments.

use super::{Driver, Event, tell};
use crate::failure::{failure, text_of};
use crate::jobs::{Job, Part, Segment};
use crate::start;
use crate::table::Table;
use js_sys::{Uint8Array, WebAssembly};
use manyhands_protocol::message::SegmentRef;
use manyhands_protocol::{BlobHash, FailureKind, JobId, Split};
use manyhands_worker_core::{Input, JobBundle, Micros};
use std::ops::Range;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};

impl Driver {
    /// Compiles a job's module, which other work need not wait for.
    pub(super) fn load(&mut self, bundle: JobBundle) {
        let job = bundle.header.job;
        self.jobs.insert(job, Job::new(bundle.header, bundle.files));
        let module = start::as_export(&bundle.module);
        let compiling = JsFuture::from(WebAssembly::compile(&Uint8Array::from(&module[..])));
        let me = self.me.clone();
        spawn_local(async move {
            let outcome = compiling.await.map(JsCast::unchecked_into);
            let outcome = outcome.map_err(|error| text_of(&error));
            tell(&me, Event::Compiled(job, outcome));
        });
    }

    pub(super) fn on_compiled(
        &mut self,
        now: Micros,
        job: JobId,
        outcome: Result<WebAssembly::Module, String>,
    ) {
        // It may have been unloaded, or be loaded already.
        let Some(entry) = self
            .jobs
            .get_mut(&job)
            .filter(|entry| entry.module.is_none())
        else {
            return;
        };
        let input = match outcome {
            Ok(module) => {
                entry.module = Some(module);
                Input::JobLoaded { job }
            }
            Err(text) => {
                let text = format!("this browser cannot compile the module: {text}");
                let failure = failure(FailureKind::Crash, text);
                Input::JobUnusable { job, failure }
            }
        };
        self.session.handle(now, input);
    }
}

/// What `tasks` read; `None` if a segment does not hold what was said of it.
pub(super) fn inputs<'a>(
    segments: &'a Table<BlobHash, Segment>,
    split: Option<Split>,
    places: &[SegmentRef],
    tasks: &Range<u64>,
) -> Option<Vec<Part<'a>>> {
    let Some(split) = split else {
        return Some(Vec::new());
    };
    let parts = places.iter().map(|place| {
        let segment = segments.get(&place.hash).expect("segments are put before");
        segment.part(place, split, tasks)
    });
    parts.collect()
}

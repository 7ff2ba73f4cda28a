//! Blobs on their way and what waits for them: jobs for their module and files,
//! pieces of leases for their segments. Which blobs are asked for when is decided
//! in [`crate::blobs`].

use super::Session;
use crate::blobs::Arrival;
use crate::jobs::JobState;
use crate::leases::Lease;
use crate::{Found, JobBundle, Output, Reason};
use manyhands_protocol::message::ToCoordinator;
use manyhands_protocol::{BlobHash, Failure, FailureKind};

impl Session {
    /// Has jobs loaded whose blobs have come.
    pub(super) fn load_jobs(&mut self) {
        for job in self.jobs.values_mut() {
            if !matches!(&job.state, JobState::Fetching(missing) if missing.is_empty()) {
                continue;
            }
            let blobs = &self.blobs;
            let bytes = |hash| blobs.get(hash).expect("none is missing");
            let bundle = JobBundle {
                header: job.header.clone(),
                module: bytes(job.header.module),
                files: job
                    .header
                    .files
                    .iter()
                    .map(|file| bytes(file.hash))
                    .collect(),
            };
            job.state = JobState::Loading;
            job.given = true;
            for (hash, _) in job.blobs() {
                // The driver keeps the bundle; only segments are put.
                if self.blobs.unpin(hash) {
                    self.outputs.push_back(Output::DropBlob { hash });
                }
            }
            self.outputs.push_back(Output::LoadJob(Box::new(bundle)));
        }
    }

    pub(super) fn ask_for_blobs(&mut self) {
        if self.connection.is_welcome() {
            let asks = self.blobs.ask(self.now);
            if !asks.is_empty() {
                self.send(&ToCoordinator::Need(asks));
            }
            let fetches = self.blobs.sought().into_iter();
            self.outputs
                .extend(fetches.map(|(hash, len)| Output::Fetch { hash, len }));
        }
    }

    /// The driver has looked for a blob.
    pub(super) fn fetched(&mut self, hash: BlobHash, found: Found) {
        match self.blobs.found(self.now, hash, found) {
            Arrival::Whole => self.arrived(hash),
            Arrival::Unwanted => self.outputs.push_back(Output::DropBlob { hash }),
            Arrival::NotYet => {}
        }
    }

    /// A blob that slots were to read where it lies is not what it was.
    pub(super) fn unread(&mut self, hash: BlobHash) {
        if !self.blobs.unread(hash) {
            return;
        }
        self.outputs.push_back(Output::DropBlob { hash });
        if self.blobs.get(hash).is_none() {
            for lease in &mut self.leases {
                lease.lacks(hash);
            }
        }
    }

    pub(super) fn unpin_inputs(&mut self, lease: &Lease) {
        for (hash, _) in lease.segments() {
            self.unpin(hash);
        }
    }

    pub(super) fn unpin(&mut self, hash: BlobHash) {
        if self.blobs.unpin(hash) {
            self.outputs.push_back(Output::DropBlob { hash });
        }
    }

    pub(super) fn arrived(&mut self, hash: BlobHash) {
        for lease in &mut self.leases {
            lease.missing.remove(&hash);
        }
        for job in self.jobs.values_mut() {
            if let JobState::Fetching(missing) = &mut job.state {
                missing.remove(&hash);
            }
        }
    }

    /// What needs this blob cannot be done here.
    pub(super) fn gone(&mut self, hash: BlobHash) -> Result<(), Reason> {
        self.blobs.gone(hash)?;
        let failure = Failure {
            kind: FailureKind::Crash,
            message: format!("the coordinator no longer has blob {hash}"),
        };
        let jobs = self.jobs.iter().filter(|(_, job)| match &job.state {
            JobState::Fetching(missing) => missing.contains(&hash),
            _ => false,
        });
        for job in jobs.map(|(id, _)| *id).collect::<Vec<_>>() {
            for (hash, _) in self.job(job).blobs() {
                self.unpin(hash);
            }
            self.make_unusable(job, &failure);
        }
        for at in 0..self.leases.len() {
            self.lose_input(at, hash, &failure);
        }
        Ok(())
    }

    /// What of a lease waits for a segment that will not come has failed.
    fn lose_input(&mut self, at: usize, hash: BlobHash, failure: &Failure) {
        if self.leases[at].missing.contains(&hash) {
            for node in self.leases[at].give_up_on(hash) {
                self.blame(at, node, failure.clone());
            }
        }
    }
}

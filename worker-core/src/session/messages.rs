//! What the coordinator's messages lead to. All they say is checked here;
//! nonsense ends the connection with a reason.

use super::Session;
use crate::blobs::Arrival;
use crate::jobs::{Job, JobState};
use crate::leases::Lease;
use crate::results::{Partial, failures};
use crate::sorted::SortedSet;
use crate::{End, GrantFault, Micros, Output, Reason};
use bytes::Bytes;
use manyhands_protocol::message::{Claim, Hello, JobHeader, SegmentRef, ToCoordinator, ToWorker};
use manyhands_protocol::{
    BlobHash, Failure, JobId, LeaseId, Node, PROTOCOL_VERSION, codec, limits,
};
use std::collections::VecDeque;

/// The most jobs a coordinator may describe at a time.
const MAX_JOBS: usize = 1024;
/// The most leases it may grant at a time.
const MAX_LEASES: usize = limits::MAX_LIST;
/// The longest name in a hello, in bytes.
const MAX_NAME: usize = 256;

impl Session {
    pub(super) fn say_hello(&mut self) {
        if !self.connection.opened(self.now) {
            return;
        }
        let mut name = self.config.name.clone();
        name.truncate(name.floor_char_boundary(MAX_NAME));
        self.told = self.capacity();
        let (slots, hidden) = self.told;
        let hello = Hello {
            version: PROTOCOL_VERSION.to_le_bytes(),
            resume: self.connection.token,
            held: self.hold(),
            name,
            engine: self.config.engine,
            slots,
            memory: self.config.memory,
            simd: self.config.simd,
            hidden,
        };
        self.send_frame(codec::encode(&ToCoordinator::Hello(hello)));
    }

    /// The leases to hold on to; what a hello has no room for is dropped.
    fn hold(&mut self) -> Vec<Claim> {
        let done = self.outbox.claims();
        let all = done.chain(self.leases.iter().filter_map(Lease::claim));
        let held: Vec<Claim> = all.take(limits::MAX_LIST).collect();
        let known: SortedSet<LeaseId> = held.iter().map(|claim| claim.lease).collect();
        self.outbox.forget(|lease| !known.contains(&lease));
        self.drop_leases(|lease| !known.contains(&lease.id));
        held
    }

    pub(super) fn receive(&mut self, frame: Bytes) {
        if !self.connection.is_open() {
            return;
        }
        self.tally.bytes_in += frame.len() as u64;
        self.connection.heard(self.now);
        let outcome = match codec::decode::<ToWorker>(frame) {
            Ok((message, bulk)) => self.obey(message, &bulk),
            Err(error) => Err(error.into()),
        };
        if let Err(reason) = outcome {
            self.disconnect(reason);
        }
    }

    fn obey(&mut self, message: ToWorker, bulk: &Bytes) -> Result<(), Reason> {
        match message {
            ToWorker::Refused { reason } => return Err(Reason::Refused(limits::clip(reason))),
            ToWorker::Closing { after_ms, reason } => {
                self.close(after_ms, limits::clip(reason));
                return Ok(());
            }
            ToWorker::Welcome { .. } => {}
            _ if !self.connection.is_welcome() => return Err(Reason::OutOfTurn),
            _ => {}
        }
        match message {
            ToWorker::Welcome {
                worker,
                session,
                resumed,
                alive_every_ms,
                // A coordinator that was started anew resumes like any other.
                incarnation: _,
            } => {
                if !self.connection.welcomed(self.now, alive_every_ms) {
                    return Err(Reason::OutOfTurn);
                }
                self.connection.worker = Some(worker);
                self.connection.token = Some(session);
                self.begin_session(resumed);
                Ok(())
            }
            ToWorker::Job(header) => self.describe(header),
            ToWorker::Grant {
                lease,
                job,
                node,
                inputs,
                proof,
            } => {
                let claim = Claim {
                    lease,
                    job,
                    node,
                    proof,
                };
                self.grant(claim, inputs)
            }
            ToWorker::Revoke { lease } => {
                self.revoke(lease);
                Ok(())
            }
            ToWorker::Accepted { lease, node } => {
                self.accepted(lease, node);
                Ok(())
            }
            ToWorker::Forget { job } => {
                self.forget(job);
                Ok(())
            }
            ToWorker::Blob {
                hash,
                offset,
                total,
            } => {
                if self.blobs.piece(self.now, hash, offset, total, bulk)? == Arrival::Whole {
                    self.arrived(hash);
                }
                Ok(())
            }
            ToWorker::Gone { hash } => self.gone(hash),
            ToWorker::Merge {
                lease,
                job,
                node,
                left,
                right,
            } => self.merge(lease, job, node, (left, right)),
            ToWorker::Halves {
                lease,
                offset,
                total,
            } => self.half_came(lease, offset, total, bulk),
            // That it came is all there is to it.
            ToWorker::Alive => Ok(()),
            ToWorker::Ping => {
                self.send(&ToCoordinator::Pong);
                Ok(())
            }
            ToWorker::Refused { .. } | ToWorker::Closing { .. } => {
                unreachable!("dealt with above")
            }
        }
    }

    fn close(&mut self, after_ms: u64, reason: String) {
        if after_ms == u64::MAX {
            self.end(End::Closed { reason });
            return;
        }
        let after = Micros::from_millis(after_ms);
        self.connection.stay_away(self.now, after, reason.clone());
        let reason = Reason::Closing(reason);
        self.outputs.push_back(Output::Disconnect { reason });
        self.connection_gone();
    }

    /// The coordinator took this worker in: with what it had, or anew. It may be
    /// another start of it than the last one: nothing here depends on that.
    fn begin_session(&mut self, resumed: bool) {
        if resumed {
            self.forget_unclaimed();
            for lease in &mut self.leases {
                lease.told = 0;
            }
            for message in self.outbox.resumed() {
                self.send(&message);
            }
            let failed = self.leases.iter().flat_map(|l| failures(l.id, &l.failed));
            for message in failed.collect::<Vec<_>>() {
                self.send(&message);
            }
        } else {
            self.forget_all();
        }
        // It may have changed since the hello.
        self.tell_capacity();
    }

    /// Jobs that no lease here is of: who resumes the session may know nothing
    /// of them and never say that they are over. Their headers come again
    /// before their next grant.
    fn forget_unclaimed(&mut self) {
        let ended = self.outbox.claims().map(|claim| claim.job);
        let leased = self.leases.iter().map(|lease| lease.job);
        let claimed: SortedSet<JobId> = ended.chain(leased).collect();
        let jobs = self.jobs.keys().copied();
        let unclaimed: Vec<JobId> = jobs.filter(|job| !claimed.contains(job)).collect();
        for job in unclaimed {
            self.forget(job);
        }
    }

    fn describe(&mut self, header: JobHeader) -> Result<(), Reason> {
        let id = header.job;
        if let Some(known) = self.jobs.get(&id) {
            // It may come again on a new connection.
            let same = known.header == header;
            let other = Reason::BadHeader(id, "header: another one came before");
            return if same { Ok(()) } else { Err(other) };
        }
        if self.jobs.len() >= MAX_JOBS {
            return Err(Reason::TooMany("jobs"));
        }
        let mut job = Job::new(header).map_err(|fault| Reason::BadHeader(id, fault))?;
        let blobs = job.blobs();
        if !blobs
            .iter()
            .all(|(hash, len)| self.blobs.agrees(*hash, *len))
        {
            return Err(Reason::BadHeader(id, "length of a blob"));
        }
        let mut missing = SortedSet::default();
        for (hash, len) in blobs {
            if !self.blobs.pin_bytes(hash, len) {
                missing.insert(hash);
            }
        }
        job.state = JobState::Fetching(missing);
        self.jobs.insert(id, job);
        Ok(())
    }

    fn grant(&mut self, claim: Claim, inputs: Vec<SegmentRef>) -> Result<(), Reason> {
        let Claim {
            lease, job, node, ..
        } = claim;
        let bad = |fault| Reason::BadGrant { lease, fault };
        let Some(known) = self.jobs.get(&job) else {
            return Err(Reason::UnknownJob(job));
        };
        if self.find(lease).is_some() || self.outbox.holds(lease) {
            return Err(bad(GrantFault::Twice));
        }
        Lease::check(known, node, &inputs).map_err(bad)?;
        if self.leases.len() >= MAX_LEASES {
            return Err(Reason::TooMany("leases"));
        }
        if let JobState::Unusable(failure) = &known.state {
            let failure = failure.clone();
            // Said before the lease is given back: it is not for want of slots.
            self.send(&ToCoordinator::Unusable { job, failure });
            self.send(&ToCoordinator::Returned { lease });
            return Ok(());
        }
        let mut granted = Lease::new(claim, known, inputs);
        if self.holds_back() {
            self.send(&ToCoordinator::Returned { lease });
            return Ok(());
        }
        let segments = granted.segments();
        let lens_agree = segments.len() == distinct(&segments)
            && segments
                .iter()
                .all(|(hash, len)| self.blobs.agrees(*hash, *len));
        if !lens_agree {
            return Err(bad(GrantFault::Segments));
        }
        for (hash, len) in segments {
            if !self.blobs.pin(hash, len) {
                granted.missing.insert(hash);
            }
        }
        self.leases.push_back(granted);
        Ok(())
    }

    /// Two partials are to be merged, which come next. Where that cannot begin at
    /// once others do it sooner.
    fn merge(
        &mut self,
        lease: LeaseId,
        job: JobId,
        node: Node,
        (left, right): (u64, u64),
    ) -> Result<(), Reason> {
        let bad = |fault| Reason::BadGrant { lease, fault };
        let Some(known) = self.jobs.get(&job) else {
            return Err(Reason::UnknownJob(job));
        };
        if self.find(lease).is_some() || self.outbox.holds(lease) {
            return Err(bad(GrantFault::Twice));
        }
        Lease::check_merge(known, node, left, right).map_err(bad)?;
        if self.leases.len() >= MAX_LEASES {
            return Err(Reason::TooMany("leases"));
        }
        if self.holds_back() || known.state != JobState::Ready {
            self.send(&ToCoordinator::Returned { lease });
            return Ok(());
        }
        let merge = Lease::merge(lease, known, node, left, right);
        self.leases.push_back(merge);
        Ok(())
    }

    /// A piece of a merge's halves. Of one that was given back they still come.
    fn half_came(
        &mut self,
        lease: LeaseId,
        offset: u64,
        total: u64,
        piece: &Bytes,
    ) -> Result<(), Reason> {
        let Some(at) = self.find(lease) else {
            return Ok(());
        };
        if self.leases[at].half_came(offset, total, piece) {
            Ok(())
        } else {
            Err(Reason::BadHalves(lease))
        }
    }

    fn revoke(&mut self, lease: LeaseId) {
        // One that is unknown has just been handed in: that is the answer.
        if self
            .leases
            .iter()
            .any(|held| held.id == lease && !held.begun)
        {
            self.drop_leases(|held| held.id == lease);
            self.send(&ToCoordinator::Returned { lease });
        }
    }

    fn accepted(&mut self, lease: LeaseId, node: Node) {
        if let Some((partial, tasks)) = self.outbox.accepted(lease, node) {
            self.count(&partial, tasks);
        }
    }

    fn count(&mut self, partial: &Partial, tasks: u64) {
        self.tally.blocks += u64::from(tasks > 0);
        self.tally.tasks += tasks;
        self.tally.busy_us += partial.busy_us;
    }

    /// A job is over for this worker.
    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        // A job's last blocks complete it: it may be over before each of them is
        // acknowledged.
        for (partial, tasks) in self.outbox.forget_job(id) {
            self.count(&partial, tasks);
        }
        self.drop_leases(|lease| lease.job == id);
        if let JobState::Fetching(_) = job.state {
            for (hash, _) in job.blobs() {
                self.unpin(hash);
            }
        }
        if job.given {
            self.outputs.push_back(Output::UnloadJob { job: id });
        }
    }

    /// The coordinator knows nothing of what was before.
    fn forget_all(&mut self) {
        self.outbox.forget(|_| true);
        while let Some(job) = self.jobs.first_key().copied() {
            self.forget(job);
        }
        assert!(self.leases.is_empty(), "a lease without a job");
    }

    /// Drops leases with all that runs for them, without a word.
    pub(super) fn drop_leases(&mut self, lost: impl Fn(&Lease) -> bool) {
        let leases = std::mem::take(&mut self.leases).into_iter();
        let (gone, kept): (VecDeque<Lease>, _) = leases.partition(lost);
        self.leases = kept;
        for lease in gone {
            self.cancel_runs(lease.id);
            self.unpin_inputs(&lease);
        }
    }

    pub(super) fn set_loaded(&mut self, job: JobId) {
        if let Some(known) = self.jobs.get_mut(&job)
            && known.state == JobState::Loading
        {
            known.state = JobState::Ready;
        }
    }

    pub(super) fn set_unusable(&mut self, job: JobId, mut failure: Failure) {
        let known = self.jobs.get(&job);
        if known.is_some_and(|known| known.state == JobState::Loading) {
            failure.message = limits::clip(failure.message);
            self.make_unusable(job, &failure);
        }
    }

    pub(super) fn make_unusable(&mut self, job: JobId, failure: &Failure) {
        let known = self.jobs.get_mut(&job).expect("it was looked up");
        known.state = JobState::Unusable(failure.clone());
        let failure = failure.clone();
        self.send(&ToCoordinator::Unusable { job, failure });
        for (lease, _) in self.drop_whole(|lease| lease.job == job) {
            self.send(&ToCoordinator::Returned { lease });
        }
    }

    /// Drops leases that have not begun; gives them, and their nodes.
    fn drop_whole(&mut self, lost: impl Fn(&Lease) -> bool) -> Vec<(LeaseId, Node)> {
        let dropped = self.leases.iter().filter(|lease| lost(lease));
        let dropped = dropped.map(|lease| (lease.id, lease.node)).collect();
        self.drop_leases(lost);
        dropped
    }
}

/// How many hashes there are among blobs of given lengths.
fn distinct(segments: &[(BlobHash, u64)]) -> usize {
    let hashes: SortedSet<BlobHash> = segments.iter().map(|(hash, _)| *hash).collect();
    hashes.len()
}

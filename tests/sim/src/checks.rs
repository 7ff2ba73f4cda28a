//! What must hold, whatever happens, checked where it could break. What can only
//! be seen from time to time is in `watch`.

use crate::author::author_of;
use crate::network::LinkId;
use crate::world::{Peer, PeerId, World};
use bytes::Bytes;
use manyhands_coordinator_core::{FromWorker, Group, KEEP_US, Record, is_worth_keeping};
use manyhands_protocol::api::{JobState, JobView};
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{BlobHash, JobId, LeaseId, Node, Tree, codec};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

#[derive(Default, Debug)]
pub(crate) struct Checks {
    /// Every lease that was ever granted, with the peer it went to.
    pub(crate) leases: BTreeMap<LeaseId, (JobId, Node, PeerId)>,
    /// Partials that were used and are worth keeping: they may be accepted once
    /// they are durable.
    owed: BTreeMap<(LeaseId, Node), (JobId, Range<u64>)>,
    /// Failures that workers told of, and whether the guest was to blame.
    failures: BTreeMap<JobId, Vec<(Range<u64>, bool)>>,
    /// Jobs that may fail since the coordinator's own machine failed.
    pub(crate) may_fail: BTreeSet<JobId>,
    /// Ends that were told.
    overs: BTreeMap<JobId, Arc<JobView>>,
    pub(crate) progress: u64,
    pub(crate) progress_at: u64,
    /// Since when peers have been well, on which connection.
    pub(crate) well: BTreeMap<PeerId, (LinkId, u64)>,
    pub(crate) most_leases: u64,
}

/// A partial on its way into the core.
pub(crate) struct Noted {
    lease: LeaseId,
    node: Node,
    job: JobId,
    worth_keeping: bool,
    busy_us: u64,
}

impl World {
    fn is_honest(&self, link: LinkId) -> bool {
        let peer = self.network.links.get(&link).map(|link| link.peer);
        let peer = peer.and_then(|peer| self.peers.get(&peer));
        matches!(peer, Some(Peer::Worker(worker)) if !worker.mangled)
    }

    fn tree_of(&self, job: JobId) -> Option<Tree> {
        let author = self.author_by_job(job)?;
        Tree::new(self.authors[author].guest.tasks)
    }

    pub(crate) fn author_by_job(&self, job: JobId) -> Option<usize> {
        self.plans.get(&job).map(|plan| author_of(&plan.header))
    }

    /// A worker's message, before the core has it.
    pub(crate) fn note_message(&mut self, link: LinkId, message: &FromWorker) -> Option<Noted> {
        match message {
            FromWorker::Partial {
                lease,
                node,
                partial,
                busy_us,
            } => {
                let numbers = [link, lease.counter, node.first(), u64::from(node.level())];
                self.trace.note(self.now, "partial", &numbers);
                let (job, ..) = *self.checks.leases.get(lease)?;
                Some(Noted {
                    lease: *lease,
                    node: *node,
                    job,
                    worth_keeping: is_worth_keeping(*busy_us, partial.len(), KEEP_US),
                    busy_us: *busy_us,
                })
            }
            FromWorker::Failed {
                lease,
                node,
                failure,
            } => {
                self.trace
                    .note(self.now, "failed", &[link, lease.counter, node.first()]);
                self.trace.tell(|| format!("{failure:?}"));
                let (job, ..) = *self.checks.leases.get(lease)?;
                let guest = !failure.kind.depends_on_machine();
                let failures = self.checks.failures.entry(job).or_default();
                failures.push((node.range(), guest));
                None
            }
            other => {
                let name = match other {
                    FromWorker::Returned { .. } => "returned",
                    FromWorker::Goodbye => "goodbye",
                    FromWorker::Alive => "alive",
                    FromWorker::Pong => "pong",
                    _ => "message",
                };
                self.trace.note(self.now, name, &[link]);
                None
            }
        }
    }

    /// That partial is part of the result now.
    pub(crate) fn note_used(&mut self, noted: Noted) {
        let Noted {
            lease, node, job, ..
        } = noted;
        if self.setup.fleet.is_some()
            && let Some(tree) = self.tree_of(job)
        {
            self.yardstick.used(tree, node, noted.busy_us);
        }
        if noted.worth_keeping
            && let Some(tree) = self.tree_of(job)
        {
            let owed = (job, tree.range(node));
            self.checks.owed.insert((lease, node), owed);
        }
    }

    /// A job is made, of which no worker knows.
    pub(crate) fn check_new(&mut self, job: JobId) {
        if self.checks.leases.values().any(|(of, ..)| *of == job) {
            self.fail(format!("job {job} has the id of a job that a crash undid"));
        }
    }

    /// A frame that goes to a worker.
    pub(crate) fn check_frame(&mut self, link: LinkId, frame: &Bytes) {
        let Ok((message, _)) = codec::decode::<ToWorker>(frame.clone()) else {
            return self.fail("the coordinator sends no message".into());
        };
        match message {
            ToWorker::Grant {
                lease, job, node, ..
            } => {
                let peer = self
                    .network
                    .links
                    .get(&link)
                    .map_or(PeerId(0), |link| link.peer);
                let numbers = [
                    link,
                    lease.counter,
                    job.0,
                    node.first(),
                    u64::from(node.level()),
                ];
                self.trace.note(self.now, "grant", &numbers);
                let before = self.checks.leases.insert(lease, (job, node, peer));
                if before.is_some() {
                    self.fail(format!("{lease:?} was granted twice"));
                }
            }
            ToWorker::Accepted { lease, node } => {
                self.trace
                    .note(self.now, "accepted", &[link, lease.counter, node.first()]);
                let owed = self.checks.owed.remove(&(lease, node));
                if let Some((job, tasks)) =
                    owed.filter(|(job, tasks)| !self.disk.holds(*job, tasks))
                {
                    self.fail(format!(
                        "job {job}: {tasks:?} were accepted and are not durable"
                    ));
                }
            }
            ToWorker::Forget { job } => self.check_forget(link, job),
            ToWorker::Revoke { lease } => {
                self.trace.note(self.now, "revoke", &[link, lease.counter]);
            }
            _ => {}
        }
    }

    /// A worker may forget a job once its end is durable.
    fn check_forget(&mut self, link: LinkId, job: JobId) {
        self.trace.note(self.now, "forget", &[link, job.0]);
        let peer = self.network.links.get(&link).map(|link| link.peer);
        let leases = &self.checks.leases;
        let owed = self.checks.owed.iter();
        let mut owed = owed.filter(|((lease, _), (of, _))| {
            *of == job && leases.get(lease).map(|(.., to)| *to) == peer
        });
        let lost = owed.find(|(_, (_, tasks))| !self.disk.holds(job, tasks));
        if let Some((_, (_, tasks))) = lost {
            let fault = format!("job {job}: {tasks:?} were forgotten and are not durable");
            self.fail(fault);
        }
    }

    /// An honest worker is not to blame.
    pub(crate) fn check_refusal(&mut self, link: LinkId, reason: &str) {
        self.trace.note(self.now, "refused", &[link]);
        self.trace.tell(|| reason.to_owned());
        if self.is_honest(link) && !reason.contains("no hello") {
            self.fail(format!("an honest worker was refused: {reason}"));
        }
    }

    pub(crate) fn check_closing(&mut self, link: LinkId, last: &Bytes) {
        if let Ok((ToWorker::Refused { reason }, _)) = codec::decode::<ToWorker>(last.clone())
            && self.is_honest(link)
            && !reason.contains("as many workers")
        {
            self.fail(format!("an honest worker was dismissed: {reason}"));
        }
    }

    /// Answers to submissions: always the same job, and durable.
    pub(crate) fn check_acknowledged(&mut self, author: usize, job: JobId) {
        let before = self.authors[author].acknowledged;
        if before.is_some_and(|before| before != job) {
            self.fail(format!("author {author} has job {before:?}, and now {job}"));
        }
        if !self.is_recorded(job) {
            self.fail(format!("job {job} was acknowledged and is not durable"));
        }
        if self.author_by_job(job) != Some(author) {
            self.fail(format!("author {author} was given job {job} of another"));
        }
    }

    fn is_recorded(&self, job: JobId) -> bool {
        self.disk.running.contains_key(&job) || self.disk.over.contains_key(&job)
    }

    pub(crate) fn check_cancelled(&mut self, job: JobId, view: Option<&JobView>) {
        let state = self.disk.over.get(&job).map(|view| &view.state);
        let told = view.map(|view| &view.state);
        if state.is_none() || told.is_some_and(|told| Some(told) != state) {
            self.fail(format!(
                "job {job}: a cancel was answered {told:?}; on disk is {state:?}"
            ));
        }
    }

    /// A result that is told before it is recorded must come again after a crash.
    pub(crate) fn check_early(&mut self, view: &JobView, bytes: &Bytes) {
        let job = view.id;
        self.trace.note(self.now, "result", &[job.0]);
        if !self.disk.running.contains_key(&job) {
            self.fail(format!(
                "job {job}: a result is told and nothing restarts it"
            ));
        }
        let author = self.author_by_job(job).expect("a job made here");
        if *bytes != self.authors[author].expected() {
            self.fail(format!("job {job}: its result is not that of one thread"));
        }
    }

    /// The end of a job, as it is told.
    pub(crate) fn check_over(&mut self, view: &Arc<JobView>) {
        let job = view.id;
        self.trace.note(self.now, "over", &[job.0]);
        self.trace.tell(|| format!("{:?}", view.state));
        let stored = self.disk.over.get(&job);
        if stored.is_none_or(|stored| stored.state != view.state) {
            self.fail(format!("job {job}: its end was told and is not durable"));
        }
        if self.checks.overs.insert(job, Arc::clone(view)).is_some() {
            self.fail(format!("job {job}: its end was told twice"));
        }
        if let Err(fault) = self.check_end(view) {
            self.fail(format!("job {job}: {fault}"));
        }
    }

    /// Whether a job may have ended so.
    fn check_end(&self, view: &JobView) -> Result<(), String> {
        let author = self.author_by_job(view.id).ok_or("nobody's job")?;
        let author = &self.authors[author];
        match &view.state {
            JobState::Done { len, hash } => {
                let result = self
                    .disk
                    .results
                    .get(hash)
                    .ok_or("its result is not there")?;
                let expected = author.expected();
                // A liar may know the answer.
                let poisoned = author.guest.poison.is_some() && self.setup.liars == 0;
                let named = BlobHash::of(&expected) == *hash && expected.len() as u64 == *len;
                if !named || *result != expected || poisoned {
                    return Err("its result is not that of one thread".into());
                }
                Ok(())
            }
            JobState::Cancelled if author.cancelling => Ok(()),
            JobState::Cancelled => Err("cancelled by nobody".into()),
            JobState::Failed { task: None, .. } if self.checks.may_fail.contains(&view.id) => {
                Ok(())
            }
            JobState::Failed { task, failure } => {
                let failures = self.checks.failures.get(&view.id);
                let of = failures.into_iter().flatten();
                let of = of.filter(|(tasks, _)| task.is_none_or(|task| tasks.contains(&task)));
                let (all, guest) = of.fold((0, 0), |(all, guest), (_, blamed)| {
                    (all + 1, guest + u32::from(*blamed))
                });
                let limits = &self.setup.scheduler;
                if all >= limits.attempts || guest >= limits.guest_attempts {
                    return Ok(());
                }
                Err(format!("failed after {all} failures: {failure:?}"))
            }
            state => Err(format!("over as {state:?}")),
        }
    }

    /// After a group was carried out.
    pub(crate) fn check_disk(&mut self, group: &Group) {
        for record in &group.records {
            if let Record::Partial { job, bytes, .. } = record
                && self
                    .disk
                    .running
                    .get(job)
                    .is_some_and(|kept| kept.partials.len() > 20_000)
            {
                let len = bytes.len();
                return self.fail(format!(
                    "job {job}: too many partials are stored ({len} bytes)"
                ));
            }
        }
    }

    /// What was promised by a coordinator that is no more.
    pub(crate) fn checks_at_start(&mut self) {
        for author in 0..self.authors.len() {
            if let Some(job) = self.authors[author].acknowledged
                && !self.is_recorded(job)
            {
                self.fail(format!("job {job} was acknowledged and is lost"));
            }
        }
        let overs = std::mem::take(&mut self.checks.overs);
        for (job, view) in &overs {
            let stored = self.disk.over.get(job);
            if stored.is_none_or(|stored| stored.state != view.state) {
                self.fail(format!("job {job}: its end was told and is lost"));
            }
        }
        self.checks.overs = overs;
    }

    pub(crate) fn checks_at_stop(&mut self) {
        self.checks.owed.clear();
        self.checks.well.clear();
    }

    /// Whether every author has what there is to have.
    pub(crate) fn is_all_over(&self) -> bool {
        self.authors.iter().all(|author| {
            let job = author.acknowledged;
            job.is_some_and(|job| {
                self.checks.overs.contains_key(&job) || self.disk.over.contains_key(&job)
            })
        })
    }
}

//! What is recorded in which group, and who waits for which group. Knows nothing
//! of workers' sessions nor of how records are written.

use crate::outputs::Output;
use crate::record::{Group, Plan, Record};
use bytes::Bytes;
use manyhands_protocol::api::JobView;
use manyhands_protocol::{JobId, Node};
use manyhands_scheduler::Micros;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// A group with so many bytes does not wait for more.
const FULL: u64 = 8 << 20;

/// Large partials wait so long, in microseconds, for their sibling to be merged
/// with them: then only what they come to is written.
const LINGER_US: u64 = 5_000_000;

/// Bytes that may wait for that together, in the group and, since those who sent
/// them have no receipt, at the workers.
const LINGERING_MOST: u64 = 64 << 20;
const RETAINED_MOST: u64 = 256 << 20;

/// What keeping a partial costs at least, in microseconds of slot time, and how
/// many of its bytes cost one microsecond more: below that it is computed again
/// after a crash.
pub const KEEP_US: u64 = 200;
const KEEP_BYTES_PER_US: u64 = 100;

/// Whether a partial is worth a record that costs at least `keep_us`.
pub fn is_worth_keeping(cost_us: u64, len: usize, keep_us: u64) -> bool {
    cost_us >= keep_us + len as u64 / KEEP_BYTES_PER_US
}

#[derive(Debug)]
struct Kept {
    node: Node,
    end: u64,
    bytes: Bytes,
    cost_us: u64,
}

/// What a group holds of one job.
#[derive(Debug, Default)]
struct Entry {
    submitted: Option<(Arc<JobView>, Arc<Plan>)>,
    /// By first task; disjoint.
    partials: BTreeMap<u64, Kept>,
    prefix: Option<(u64, u64)>,
    over: Option<(Arc<JobView>, Option<Bytes>)>,
}

/// The journal's side of the core: one group is being committed, the next one
/// collects.
#[derive(Debug)]
pub(crate) struct Ledger {
    pace_us: u64,
    /// Bytes from which a partial is large.
    large: u64,
    /// The number of the group that collects.
    number: u64,
    entries: BTreeMap<JobId, Entry>,
    bytes: u64,
    /// When the group began to wait for the siblings of large partials, if it has
    /// nothing else.
    lingers_since: Option<Micros>,
    /// Bytes recorded since the last group, replaced or not.
    retained: u64,
    /// Someone waits for more than a receipt.
    urgent: bool,
    committing: Option<u64>,
    /// When the last group was given out.
    given: Option<Micros>,
    /// What may be said once a group is durable, in order.
    held: VecDeque<(u64, Output)>,
}

impl Ledger {
    /// Two groups of partials begin at least `pace_us` apart; those of `large`
    /// bytes wait for their siblings.
    pub(crate) fn new(pace_us: u64, large: u64) -> Self {
        Self {
            pace_us,
            large,
            number: 1,
            entries: BTreeMap::new(),
            bytes: 0,
            lingers_since: None,
            retained: 0,
            urgent: false,
            committing: None,
            given: None,
            held: VecDeque::new(),
        }
    }

    /// A job was submitted. The group that this is recorded in.
    pub(crate) fn submitted(&mut self, view: Arc<JobView>, plan: Arc<Plan>) -> u64 {
        self.urgent = true;
        let entry = self.entry(view.id);
        entry.submitted = Some((view, plan));
        self.number
    }

    /// Records a partial in the place of what lies under its node. One that is
    /// large waits for its sibling if it `may_merge` with that.
    pub(crate) fn partial(
        &mut self,
        now: Micros,
        (job, node, tasks): (JobId, Node, Range<u64>),
        (bytes, cost_us): (Bytes, u64),
        may_merge: bool,
    ) {
        let lingers = may_merge && bytes.len() as u64 >= self.large;
        if !lingers {
            self.lingers_since = None;
        } else if self.entries.is_empty() {
            self.lingers_since = Some(now);
        }
        let added = bytes.len() as u64;
        self.retained += added;
        let entry = self.entry(job);
        let mut dropped = 0;
        while let Some((first, kept)) = entry.partials.range(tasks.clone()).next() {
            let first = *first;
            dropped += kept.bytes.len() as u64;
            entry.partials.remove(&first);
        }
        let kept = Kept {
            node,
            end: tasks.end,
            bytes,
            cost_us,
        };
        entry.partials.insert(tasks.start, kept);
        self.bytes = self.bytes + added - dropped;
    }

    /// The result's file has all tasks before `task`.
    pub(crate) fn prefix(&mut self, job: JobId, task: u64, len: u64) {
        self.lingers_since = None;
        let entry = self.entry(job);
        entry.prefix = Some((task, len));
        let later = entry.partials.split_off(&task);
        let dropped = std::mem::replace(&mut entry.partials, later);
        self.bytes -= size(&dropped);
    }

    /// The job is over: of its records only this one matters.
    /// Somebody waits for that, unless it is not `urgent`.
    pub(crate) fn over(&mut self, view: Arc<JobView>, result: Option<Bytes>, urgent: bool) {
        self.urgent |= urgent;
        let added = result.as_ref().map_or(0, Bytes::len) as u64;
        let entry = self.entry(view.id);
        let dropped = std::mem::take(&mut entry.partials);
        entry.prefix = None;
        entry.over = Some((view, result));
        self.bytes = self.bytes + added - size(&dropped);
    }

    /// Holds something back until all that was recorded so far is durable; gives
    /// it back where nothing is under way.
    pub(crate) fn hold(&mut self, output: Output) -> Option<Output> {
        let collecting = (!self.entries.is_empty()).then_some(self.number);
        let Some(group) = collecting.or(self.committing) else {
            return Some(output);
        };
        self.held.push_back((group, output));
        None
    }

    /// A group is durable: what may be said now.
    ///
    /// # Panics
    /// When it is not the one being committed.
    pub(crate) fn committed(&mut self, group: u64, say: &mut VecDeque<Output>) {
        assert_eq!(self.committing, Some(group), "a group out of its turn");
        self.committing = None;
        while let Some((waits_for, _)) = self.held.front() {
            if *waits_for > group {
                break;
            }
            let (_, output) = self.held.pop_front().expect("just seen");
            say.push_back(output);
        }
    }

    /// Nobody is to wait longer than for the disk.
    pub(crate) fn hurry(&mut self) {
        self.lingers_since = None;
    }

    /// When [`give`](Self::give) has something, if it is not at once.
    pub(crate) fn due(&self) -> Option<Micros> {
        if self.committing.is_some() || self.entries.is_empty() {
            return None;
        }
        let rested = self.given.map_or(Micros(0), |given| given + self.pace_us);
        let (due, most) = match self.lingers_since {
            Some(since) => (rested.max(since + LINGER_US), LINGERING_MOST),
            None => (rested, FULL),
        };
        let now = self.urgent || self.bytes >= most || self.retained >= RETAINED_MOST;
        Some(if now { Micros(0) } else { due })
    }

    /// The next group, if it is time for one.
    pub(crate) fn give(&mut self, now: Micros) -> Option<Group> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let number = self.number;
        self.number += 1;
        self.committing = Some(number);
        self.given = Some(now);
        self.bytes = 0;
        self.retained = 0;
        self.lingers_since = None;
        self.urgent = false;
        let records = std::mem::take(&mut self.entries);
        let records = records
            .into_iter()
            .flat_map(|(job, entry)| entry.records(job));
        Some(Group {
            number,
            records: records.collect(),
        })
    }

    /// Whether all that was recorded is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.committing.is_none() && self.entries.is_empty()
    }

    fn entry(&mut self, job: JobId) -> &mut Entry {
        self.entries.entry(job).or_default()
    }
}

fn size(partials: &BTreeMap<u64, Kept>) -> u64 {
    partials.values().map(|kept| kept.bytes.len() as u64).sum()
}

impl Entry {
    fn records(self, job: JobId) -> impl Iterator<Item = Record> {
        let submitted = self.submitted;
        let submitted = submitted.map(|(view, plan)| Record::Submitted { view, plan });
        let partials = self.partials.into_iter();
        let partials = partials.map(move |(first, kept)| Record::Partial {
            job,
            node: kept.node,
            first,
            end: kept.end,
            bytes: kept.bytes,
            cost_us: kept.cost_us,
        });
        let prefix = self.prefix;
        let prefix = prefix.map(|(task, len)| Record::Prefix { job, task, len });
        let over = self
            .over
            .map(|(view, result)| Record::Over { view, result });
        let before = submitted.into_iter().chain(partials);
        before.chain(prefix).chain(over)
    }
}

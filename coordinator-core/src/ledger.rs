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

/// Large partials wait so long, in microseconds, for what makes a record of them
/// needless: a merge with their sibling, of which only the outcome is written, or
/// the result's file, which has them once it is synced.
const LINGER_US: u64 = 5_000_000;

/// So long after they came they are written though they are being merged.
const MERGED_US: u64 = 2 * LINGER_US;

/// Bytes that may wait for that together, in the group and, since those who sent
/// them have no receipt, at the workers.
const LINGERING_MOST: u64 = 64 << 20;
const RETAINED_MOST: u64 = 256 << 20;

/// Where workers keep too much, those partials are written for which they keep so much.
const RETAINED_PART: u64 = RETAINED_MOST / 4;

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
    /// Bytes that workers keep until it is written: its own, and of what it replaced.
    retained: u64,
    /// Until then it waits to be replaced, whatever else is written meanwhile.
    lingers: Micros,
    /// Until then it may be left for a later group while it is being merged.
    patience: Micros,
}

impl Kept {
    /// When it is to be looked at again.
    fn due(&self, now: Micros) -> Micros {
        if self.lingers > now {
            self.lingers
        } else {
            self.patience
        }
    }
}

/// What is said once a group is durable.
#[derive(Debug)]
struct Held {
    group: u64,
    /// The partial that it is a receipt for, by its job and first task, if known.
    about: Option<(JobId, u64)>,
    output: Output,
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
    /// The first id of a job that is not set aside, where that changes.
    next_id: Option<JobId>,
    bytes: u64,
    /// How long the group waits for the first of its large partials, if it has nothing
    /// else.
    lingers_until: Option<Micros>,
    /// Bytes recorded and not written, replaced or not.
    retained: u64,
    /// Someone waits for more than a receipt.
    urgent: bool,
    /// Someone waits for all that was recorded.
    hurried: bool,
    committing: Option<u64>,
    /// When the last group was given out.
    given: Option<Micros>,
    /// Until then nothing is written of which nobody waits for more than a receipt.
    rests_until: Micros,
    /// What may be said once a group is durable, in order.
    held: VecDeque<Held>,
}

impl Ledger {
    /// Two groups of partials begin at least `pace_us` apart; those of `large`
    /// bytes wait to be replaced.
    pub(crate) fn new(pace_us: u64, large: u64) -> Self {
        Self {
            pace_us,
            large,
            number: 1,
            entries: BTreeMap::new(),
            next_id: None,
            bytes: 0,
            lingers_until: None,
            retained: 0,
            urgent: false,
            hurried: false,
            committing: None,
            given: None,
            rests_until: Micros(0),
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

    /// Ids of jobs are set aside, up to this one. The group that this is recorded in.
    pub(crate) fn ids(&mut self, next: JobId) -> u64 {
        self.next_id = Some(next);
        self.number
    }

    /// Records a partial in the place of what lies under its node. One that is
    /// large waits, if it `may_wait`, for its sibling or the result's file.
    pub(crate) fn partial(
        &mut self,
        now: Micros,
        (job, node, tasks): (JobId, Node, Range<u64>),
        (bytes, cost_us): (Bytes, u64),
        may_wait: bool,
    ) {
        let (mut lingers, mut patience) = (now, now);
        if may_wait && bytes.len() as u64 >= self.large {
            (lingers, patience) = (now + LINGER_US, now + MERGED_US);
            if self.entries.is_empty() {
                self.lingers_until = Some(lingers);
            }
        } else {
            self.lingers_until = None;
        }
        let added = bytes.len() as u64;
        self.retained += added;
        let entry = self.entry(job);
        let (mut dropped, mut retained) = (0, added);
        while let Some((first, kept)) = entry.partials.range(tasks.clone()).next() {
            let first = *first;
            dropped += kept.bytes.len() as u64;
            retained += kept.retained;
            entry.partials.remove(&first);
        }
        let kept = Kept {
            node,
            end: tasks.end,
            bytes,
            cost_us,
            retained,
            lingers,
            patience,
        };
        entry.partials.insert(tasks.start, kept);
        self.bytes = self.bytes + added - dropped;
    }

    /// The result's file has all tasks before `task`.
    pub(crate) fn prefix(&mut self, job: JobId, task: u64, len: u64) {
        self.lingers_until = None;
        let entry = self.entry(job);
        entry.prefix = Some((task, len));
        let later = entry.partials.split_off(&task);
        let dropped = std::mem::replace(&mut entry.partials, later);
        self.bytes -= size(&dropped);
    }

    /// The job is over: of its records only this one matters. Somebody waits for that,
    /// or is `told` of it before: the processor is then first of all theirs, and what
    /// is to be written waits for once as long as it does between two groups.
    pub(crate) fn over(
        &mut self,
        now: Micros,
        view: Arc<JobView>,
        (result, told): (Option<Bytes>, bool),
    ) {
        self.urgent |= !told;
        if told {
            let rested = now + self.pace_us;
            // What collects already is put off once, however many are told.
            let rested = match self.given {
                Some(given) if !self.is_empty() => rested.min(given + 2 * self.pace_us),
                _ => rested,
            };
            self.rests_until = self.rests_until.max(rested);
        }
        let added = result.as_ref().map_or(0, Bytes::len) as u64;
        let entry = self.entry(view.id);
        let dropped = std::mem::take(&mut entry.partials);
        entry.prefix = None;
        entry.over = Some((view, result));
        self.bytes = self.bytes + added - size(&dropped);
    }

    /// Holds something back until all that was recorded so far is durable; gives
    /// it back where nothing is under way. A receipt waits for what it is `about`
    /// at least.
    pub(crate) fn hold(&mut self, output: Output, about: Option<(JobId, u64)>) -> Option<Output> {
        let collecting = (!self.entries.is_empty()).then_some(self.number);
        let Some(group) = collecting.or(self.committing) else {
            return Some(output);
        };
        self.held.push_back(Held {
            group,
            about,
            output,
        });
        None
    }

    /// The same until this group is durable, whatever was recorded later.
    pub(crate) fn hold_for(&mut self, group: u64, output: Output) -> Option<Output> {
        if group < self.committing.unwrap_or(self.number) {
            return Some(output);
        }
        let at = self.held.partition_point(|held| held.group <= group);
        let about = None;
        let held = Held {
            group,
            about,
            output,
        };
        self.held.insert(at, held);
        None
    }

    /// A group is durable: what may be said now.
    ///
    /// # Panics
    /// When it is not the one being committed.
    pub(crate) fn committed(&mut self, group: u64, say: &mut VecDeque<Output>) {
        assert_eq!(self.committing, Some(group), "a group out of its turn");
        self.committing = None;
        while let Some(held) = self.held.pop_front_if(|held| held.group <= group) {
            say.push_back(held.output);
        }
    }

    /// Nobody is to wait longer than for the disk.
    pub(crate) fn hurry(&mut self) {
        self.lingers_until = None;
        self.hurried = true;
    }

    /// When [`give`](Self::give) has something, if it is not at once.
    pub(crate) fn due(&self) -> Option<Micros> {
        if self.committing.is_some() || self.is_empty() {
            return None;
        }
        let (due, most) = match self.lingers_until {
            Some(until) => (self.rests_until.max(until), LINGERING_MOST),
            None => (self.rests_until, FULL),
        };
        let now = self.urgent || self.bytes >= most || self.retained >= RETAINED_MOST;
        Some(if now { Micros(0) } else { due })
    }

    /// The next group, if it is time for one. Large partials that have not waited long
    /// enough or are being merged, as `merging` tells, are left for a later one.
    pub(crate) fn give(
        &mut self,
        now: Micros,
        merging: impl Fn(JobId, Node) -> bool,
    ) -> Option<Group> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let hurried = std::mem::take(&mut self.hurried);
        let mut records = std::mem::take(&mut self.entries);
        if !hurried && self.bytes < LINGERING_MOST {
            let most = most_retained(&records, self.retained);
            let waits = |job: JobId, kept: &Kept| {
                let waits = kept.lingers > now || kept.patience > now && merging(job, kept.node);
                waits && kept.retained < most
            };
            self.entries = put_off(&mut records, waits);
        }
        let left = self
            .entries
            .values()
            .flat_map(|entry| entry.partials.values());
        let first = left.clone().map(|kept| kept.due(now)).min();
        self.bytes = left.clone().map(|kept| kept.bytes.len() as u64).sum();
        self.retained = left.map(|kept| kept.retained).sum();
        self.lingers_until = first;
        self.urgent = false;
        let next_id = self.next_id.take();
        if records.is_empty() && next_id.is_none() {
            return None;
        }
        let number = self.number;
        self.number += 1;
        self.committing = Some(number);
        self.given = Some(now);
        self.rests_until = now + self.pace_us;
        self.hold_receipts_back(number);
        let ids = next_id.map(|next| Record::Ids { next });
        let records = records
            .into_iter()
            .flat_map(|(job, entry)| entry.records(job));
        Some(Group {
            number,
            records: ids.into_iter().chain(records).collect(),
        })
    }

    /// Receipts that wait for `group` wait for the next one, as far as they are, or
    /// may be, for what was left to that.
    fn hold_receipts_back(&mut self, group: u64) {
        if self.entries.is_empty() {
            return;
        }
        let entries = &self.entries;
        let is_left = |(job, first): (JobId, u64)| {
            let entry = entries.get(&job);
            let before = entry.and_then(|entry| entry.partials.range(..=first).next_back());
            before.is_some_and(|(_, kept)| first < kept.end)
        };
        for held in &mut self.held {
            if held.group == group && held.about.is_none_or(is_left) {
                held.group = self.number;
            }
        }
        self.held.make_contiguous().sort_by_key(|held| held.group);
    }

    /// Whether all that was recorded is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.committing.is_none() && self.is_empty()
    }

    /// Whether nothing collects.
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.next_id.is_none()
    }

    fn entry(&mut self, job: JobId) -> &mut Entry {
        self.entries.entry(job).or_default()
    }
}

/// What workers keep for one partial at most while that waits: where all of it,
/// `retained`, is too much, so little that what is left is not.
fn most_retained(records: &BTreeMap<JobId, Entry>, retained: u64) -> u64 {
    if retained < RETAINED_MOST {
        return u64::MAX;
    }
    let partials = records.values().flat_map(|entry| entry.partials.values());
    let each = partials.map(|kept| kept.retained);
    let left: u64 = each.filter(|retained| *retained < RETAINED_PART).sum();
    if left < RETAINED_MOST {
        RETAINED_PART
    } else {
        0
    }
}

/// Takes out what `waits`. Jobs with nothing else are not in `records` any more.
fn put_off(
    records: &mut BTreeMap<JobId, Entry>,
    waits: impl Fn(JobId, &Kept) -> bool,
) -> BTreeMap<JobId, Entry> {
    let mut later: BTreeMap<JobId, Entry> = BTreeMap::new();
    records.retain(|job, entry| {
        let partials = &mut entry.partials;
        let put_off = partials.extract_if(.., |_, kept| waits(*job, kept));
        let put_off: BTreeMap<u64, Kept> = put_off.collect();
        if put_off.is_empty() {
            return true;
        }
        later.entry(*job).or_default().partials = put_off;
        !entry.is_empty()
    });
    later
}

fn size(partials: &BTreeMap<u64, Kept>) -> u64 {
    partials.values().map(|kept| kept.bytes.len() as u64).sum()
}

impl Entry {
    fn is_empty(&self) -> bool {
        let nothing = self.submitted.is_none() && self.prefix.is_none() && self.over.is_none();
        nothing && self.partials.is_empty()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = 30 << 20;

    fn record(ledger: &mut Ledger, task: u64, bytes: &Bytes) {
        let place = (JobId(1), Node::leaf(task), task..task + 1);
        ledger.partial(Micros(0), place, (bytes.clone(), 1), true);
    }

    fn written(ledger: &mut Ledger) -> Vec<u64> {
        let group = ledger.give(Micros(0), |_, _| true);
        let records = group.into_iter().flat_map(|group| group.records);
        let partials = records.filter_map(|record| match record {
            Record::Partial { first, .. } => Some(first),
            _ => None,
        });
        partials.collect()
    }

    #[test]
    fn what_workers_keep_most_for_is_written_once_they_keep_too_much() {
        let mut ledger = Ledger::new(0, 1000);
        let bytes = Bytes::from(vec![0; LARGE as usize]);
        // The first takes its own place again and again, as merged ones do.
        for _ in 0..RETAINED_MOST / LARGE - 1 {
            record(&mut ledger, 0, &bytes);
            assert!(written(&mut ledger).is_empty(), "it waits");
        }
        record(&mut ledger, 1, &bytes);
        assert!(written(&mut ledger).is_empty(), "they wait");
        record(&mut ledger, 0, &bytes);
        assert_eq!(written(&mut ledger), [0]);
        assert_eq!(ledger.retained, LARGE, "the other's");
        assert!(ledger.due().is_none_or(|due| due > Micros(0)));
    }

    #[test]
    fn all_are_written_where_workers_keep_a_little_for_each() {
        let mut ledger = Ledger::new(0, 1000);
        let bytes = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..16 {
            for task in 0..16 {
                assert!(written(&mut ledger).is_empty());
                record(&mut ledger, task, &bytes);
            }
        }
        assert_eq!(written(&mut ledger), (0..16).collect::<Vec<_>>());
        assert_eq!(ledger.retained, 0);
    }
}

//! What has been computed and not yet been accepted: kept until it is, sent in
//! pieces of a frame each, sent again on a resumed session.

use crate::Micros;
use crate::sorted::{SortedMap, SortedSet};
use bytes::{Bytes, BytesMut};
use manyhands_protocol::message::{Claim, ToCoordinator};
use manyhands_protocol::{Failure, JobId, LeaseId, Node, codec, limits};
use std::collections::VecDeque;

/// Bytes that may wait in the socket: about a second of what it has shown to
/// carry, between these.
const QUEUED_LEAST: u64 = 512 << 10;
const QUEUED_MOST: u64 = 4 << 20;
const QUEUED_SPAN: Micros = Micros::from_millis(1000);

/// Bytes that a socket takes only while there is somebody to read them, more or
/// less: far more than signs of life of a minute.
const LIVING: u64 = 32 << 10;

/// The bytes of a partial, in the chunks they were computed in: joining them is
/// left to the frames.
#[derive(Clone, Default, Debug)]
pub(crate) struct Partial {
    chunks: Vec<Bytes>,
    len: u64,
    /// Slot time it took.
    pub(crate) busy_us: u64,
}

impl Partial {
    pub(crate) fn new(bytes: Bytes, busy_us: u64) -> Self {
        let len = bytes.len() as u64;
        Self {
            chunks: vec![bytes],
            len,
            busy_us,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The two, end to end.
    pub(crate) fn join(mut self, right: Self) -> Self {
        self.chunks.extend(right.chunks);
        self.len += right.len;
        self.busy_us += right.busy_us;
        self
    }

    /// Its bytes; free for one that was never joined.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.chunks.len() == 1 {
            return self.chunks.remove(0);
        }
        self.chunks.concat().into()
    }
}

/// A partial on its way: what has gone is behind the cursor.
#[derive(Debug)]
struct Sending {
    lease: LeaseId,
    node: Node,
    partial: Partial,
    chunk: usize,
    within: usize,
    offset: u64,
}

impl Sending {
    /// The next frame, and whether it is the last.
    fn frame(&mut self) -> (Vec<u8>, bool) {
        let header = ToCoordinator::Partial {
            lease: self.lease,
            node: self.node,
            offset: self.offset,
            total: self.partial.len,
            busy_us: self.partial.busy_us,
        };
        let bulk = self.next_piece();
        self.offset += bulk.len() as u64;
        let frame = codec::encode_with(&header, &bulk);
        (frame, self.offset == self.partial.len)
    }

    /// The next bytes, at most a piece: a slice where one chunk has them all.
    fn next_piece(&mut self) -> Bytes {
        let left = self.partial.len - self.offset;
        let want = left.min(limits::PIECE as u64) as usize;
        let first = self.take(want);
        if first.len() == want {
            return first;
        }
        let mut gathered = BytesMut::with_capacity(want);
        gathered.extend_from_slice(&first);
        while gathered.len() < want {
            let more = self.take(want - gathered.len());
            gathered.extend_from_slice(&more);
        }
        gathered.freeze()
    }

    /// At most so many bytes of the current chunk.
    fn take(&mut self, most: usize) -> Bytes {
        let Some(chunk) = self.partial.chunks.get(self.chunk) else {
            return Bytes::new();
        };
        let end = chunk.len().min(self.within + most);
        let bytes = chunk.slice(self.within..end);
        if end == chunk.len() {
            self.chunk += 1;
            self.within = 0;
        } else {
            self.within = end;
        }
        bytes
    }
}

/// What is sent in order behind the bulk.
#[derive(Clone, Copy, Debug)]
enum Parcel {
    Partial(LeaseId, Node),
    /// The lease's `Returned`: what came before it is all there will be.
    Returned(LeaseId),
}

/// A partial that the coordinator may not have.
#[derive(Debug)]
struct Kept {
    partial: Partial,
    tasks: u64,
    /// Whether all of it went out on this connection.
    sent: bool,
}

/// A lease that is over here, but not for the coordinator.
#[derive(Debug)]
struct Ended {
    job: JobId,
    /// None for a merge, which ends with its connection.
    claim: Option<Claim>,
    failed: Vec<(Node, Failure)>,
    /// Whether `Returned` is to follow its partials.
    returned: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Not yet accepted.
    kept: SortedMap<(LeaseId, Node), Kept>,
    /// Leases with something kept.
    ended: SortedMap<LeaseId, Ended>,
    queue: VecDeque<Parcel>,
    sending: Option<Sending>,
    /// Bytes given out that the driver has not written.
    buffered: u64,
    /// Bytes written since the last sign of life that writing gave.
    taken: u64,
    pace: Pace,
}

impl Outbox {
    /// A lease of a job is over: hands in its partials (each with its number of
    /// tasks), then says that the rest is free if it is not complete. What
    /// failed was told when it did.
    pub(crate) fn end(
        &mut self,
        (lease, job, claim): (LeaseId, JobId, Option<Claim>),
        partials: Vec<(Node, Partial, u64)>,
        failed: Vec<(Node, Failure)>,
        returned: bool,
    ) {
        let any = !partials.is_empty();
        for (node, partial, tasks) in partials {
            let kept = Kept {
                partial,
                tasks,
                sent: false,
            };
            self.kept.insert((lease, node), kept);
            self.queue.push_back(Parcel::Partial(lease, node));
        }
        if returned {
            self.queue.push_back(Parcel::Returned(lease));
        }
        if any {
            let ended = Ended {
                job,
                claim,
                failed,
                returned,
            };
            self.ended.insert(lease, ended);
        }
    }

    /// The coordinator has it safe. The partial and its tasks, if it was kept.
    pub(crate) fn accepted(&mut self, lease: LeaseId, node: Node) -> Option<(Partial, u64)> {
        let kept = self.kept.remove(&(lease, node))?;
        let mut others = self.kept.range((lease, first_node())..);
        let more = others.next().is_some_and(|((other, _), _)| *other == lease);
        if !more {
            self.ended.remove(&lease);
        } else if let Some(ended) = self.ended.get_mut(&lease) {
            // A coordinator started anew may take the lease up without this part
            // (it keeps nothing that is cheap to compute again): it has to learn
            // that what is sent again is all there will be.
            ended.returned = true;
        }
        Some((kept.partial, kept.tasks))
    }

    /// A job does not matter any more. What of it was handed in whole, with its
    /// tasks: its acknowledgement was overtaken.
    pub(crate) fn forget_job(&mut self, job: JobId) -> Vec<(Partial, u64)> {
        let ended = self.ended.iter();
        let ended = ended.filter(|(_, ended)| ended.job == job);
        let lost: SortedSet<LeaseId> = ended.map(|(lease, _)| *lease).collect();
        let kept = self.kept.iter();
        let sent = kept.filter(|((lease, _), kept)| kept.sent && lost.contains(lease));
        let sent = sent.map(|(_, kept)| (kept.partial.clone(), kept.tasks));
        let sent = sent.collect();
        self.forget(|lease| lost.contains(&lease));
        sent
    }

    /// These leases do not matter any more.
    pub(crate) fn forget(&mut self, lost: impl Fn(LeaseId) -> bool) {
        self.kept.retain(|(lease, _), _| !lost(*lease));
        self.ended.retain(|lease, _| !lost(*lease));
        self.queue.retain(|parcel| {
            let (Parcel::Partial(lease, _) | Parcel::Returned(lease)) = parcel;
            !lost(*lease)
        });
    }

    /// Leases with something kept that outlive their connection.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> + '_ {
        self.ended.values().filter_map(|ended| ended.claim)
    }

    pub(crate) fn holds(&self, lease: LeaseId) -> bool {
        self.ended.contains_key(&lease)
    }

    /// Nothing is kept and nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.queue.is_empty() && self.sending.is_none()
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept.values().map(|kept| kept.partial.len()).sum()
    }

    /// What was on its way may be lost, and merges end.
    pub(crate) fn connection_lost(&mut self) {
        let merges = self.ended.iter().filter(|(_, ended)| ended.claim.is_none());
        let merges: SortedSet<LeaseId> = merges.map(|(lease, _)| *lease).collect();
        self.forget(|lease| merges.contains(&lease));
        self.queue.clear();
        self.sending = None;
        self.buffered = 0;
        self.taken = 0;
        self.pace = Pace::default();
    }

    /// The session is resumed: all of it is sent again. Answers what else has
    /// to be said again.
    pub(crate) fn resumed(&mut self) -> Vec<ToCoordinator> {
        let mut again = Vec::new();
        self.queue.clear();
        for ((lease, node), kept) in self.kept.iter_mut() {
            kept.sent = false;
            self.queue.push_back(Parcel::Partial(*lease, *node));
        }
        for (lease, ended) in self.ended.iter() {
            again.extend(failures(*lease, &ended.failed));
            if ended.returned {
                self.queue.push_back(Parcel::Returned(*lease));
            }
        }
        again
    }

    /// A frame was given out.
    pub(crate) fn gave_out(&mut self, now: Micros, bytes: usize) {
        if self.buffered == 0 {
            self.pace.since = now;
        }
        self.buffered += bytes as u64;
    }

    /// So much of it is not written. Whether that shows that the other side
    /// takes bytes in: what a system's own buffers swallow does not.
    pub(crate) fn buffered(&mut self, now: Micros, bytes: u64) -> bool {
        let written = self.buffered.saturating_sub(bytes);
        if written > 0 {
            self.pace.wrote(now, written);
        }
        self.buffered = self.buffered.min(bytes);
        self.taken += written;
        let alive = self.taken >= LIVING;
        if alive {
            self.taken = 0;
        }
        alive
    }

    /// The next frame to send, while the socket takes more.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        if self.buffered >= self.pace.most() {
            return None;
        }
        loop {
            if let Some(sending) = &mut self.sending {
                let (frame, last) = sending.frame();
                if last {
                    let whole = (sending.lease, sending.node);
                    self.sending = None;
                    if let Some(kept) = self.kept.get_mut(&whole) {
                        kept.sent = true;
                    }
                }
                return Some(frame);
            }
            match self.queue.pop_front()? {
                Parcel::Returned(lease) => {
                    return Some(codec::encode(&ToCoordinator::Returned { lease }));
                }
                Parcel::Partial(lease, node) => self.begin(lease, node),
            }
        }
    }

    /// Begins to send it, if it is still to be sent.
    fn begin(&mut self, lease: LeaseId, node: Node) {
        self.sending = self.kept.get(&(lease, node)).map(|kept| Sending {
            lease,
            node,
            partial: kept.partial.clone(),
            chunk: 0,
            within: 0,
            offset: 0,
        });
    }
}

/// The messages that report failures.
pub(crate) fn failures(
    lease: LeaseId,
    failed: &[(Node, Failure)],
) -> impl Iterator<Item = ToCoordinator> + '_ {
    failed.iter().map(move |(node, failure)| {
        let (node, failure) = (*node, failure.clone());
        ToCoordinator::Failed {
            lease,
            node,
            failure,
        }
    })
}

/// Sorts before any other node.
fn first_node() -> Node {
    Node::new(62, 0).expect("the largest node there is")
}

/// How fast the socket takes bytes.
#[derive(Debug, Default)]
struct Pace {
    since: Micros,
    /// Bytes a second, once measured.
    rate: Option<f64>,
}

impl Pace {
    fn wrote(&mut self, now: Micros, bytes: u64) {
        let span = now.since(self.since).0.max(1);
        let latest = bytes as f64 * QUEUED_SPAN.0 as f64 / span as f64;
        let mean = self.rate.unwrap_or(latest);
        self.rate = Some((mean + latest) / 2.0);
        self.since = now;
    }

    /// Bytes that may wait in the socket.
    fn most(&self) -> u64 {
        let rate = self.rate.unwrap_or(QUEUED_MOST as f64);
        (rate as u64).clamp(QUEUED_LEAST, QUEUED_MOST)
    }
}

//! Modules, files and segments by hash: what is wanted, asked for, here; the
//! credit for what is on its way, and the cache of what nobody needs just now.

use crate::room::{Coming, Ordinary, Rooms};
use crate::sorted::{SortedMap, SortedSet};
use crate::{Found, Micros, Reason};
use bytes::Bytes;
use manyhands_protocol::{BlobHash, limits};
use std::collections::VecDeque;

/// Bytes asked for and not yet here, at most (or one blob, if that is larger),
/// while nothing was measured and on slow connections …
pub(crate) const CREDIT: u64 = 8 << 20;

/// … and what comes within [`AHEAD`] on fast ones, up to this: then a delay of as
/// much leaves no connection idle.
const MOST_CREDIT: u64 = 64 << 20;
const AHEAD: Micros = Micros::from_millis(1000);

/// How long the rate is measured before it counts.
const SPAN: Micros = Micros::from_millis(200);

/// How often a blob may come with other bytes than its hash says.
const TRIES: u8 = 2;

#[derive(Debug)]
enum State {
    /// In the queue of what to ask for.
    Wanted,
    /// The driver looks whether it can read it itself.
    Sought,
    /// Asked for; what has come so far, if anything has.
    Asked(Option<Box<Coming>>),
    /// Asked for, and not to be had: asked for again when it is next needed.
    Gone,
    /// Whole and verified.
    Here(Bytes),
    /// Where slots read it, as the driver has found.
    There,
}

#[derive(Debug)]
struct Entry {
    len: u64,
    /// How many leases and jobs need it.
    pins: u32,
    /// Whether the driver has it.
    put: bool,
    /// When it was last needed, for the cache.
    stamp: u64,
    wrong: u8,
    /// Whether the driver cannot read it itself, for all that is known.
    far: bool,
    /// Whether its bytes are needed here: slots can read segments alone.
    whole: bool,
    state: State,
}

/// What a piece of a blob led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// More is to come, or it is asked for again.
    NotYet,
    /// The blob is here now.
    Whole,
    /// The driver has put it in vain, and is to drop it.
    Unwanted,
}

#[derive(Debug)]
pub(crate) struct Blobs {
    entries: SortedMap<BlobHash, Entry>,
    rooms: Box<dyn Rooms>,
    /// Whether the driver may be able to read blobs itself.
    near: bool,
    /// To be asked for, in order. May name what is not wanted any more.
    wanted: VecDeque<BlobHash>,
    /// Asked for on this connection, or of the driver, in order.
    asked: VecDeque<BlobHash>,
    /// What the driver is to look for next, with its length.
    sought: Vec<(BlobHash, u64)>,
    /// Bytes asked for and not here.
    in_flight: u64,
    /// How many there may be.
    credit: u64,
    /// When the current measurement of the rate began, and what has come since.
    since: Micros,
    came: u64,
    /// Here and needed by none: the least recently needed first.
    idle: SortedSet<(u64, BlobHash)>,
    /// Bytes here.
    size: u64,
    budget: u64,
    clock: u64,
}

impl Blobs {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            entries: SortedMap::default(),
            rooms: Box::new(Ordinary),
            near: false,
            wanted: VecDeque::new(),
            asked: VecDeque::new(),
            sought: Vec::new(),
            in_flight: 0,
            credit: CREDIT,
            since: Micros(0),
            came: 0,
            idle: SortedSet::default(),
            size: 0,
            budget,
            clock: 0,
        }
    }

    /// Has blobs gather there from now on.
    pub(crate) fn gather_in(&mut self, rooms: Box<dyn Rooms>) {
        self.rooms = rooms;
    }

    /// Whether the driver looks for blobs before they are asked for, from now on.
    pub(crate) fn seek(&mut self, near: bool) {
        self.near = near;
    }

    /// Whether the blob may be of this length for all that is known.
    pub(crate) fn agrees(&self, hash: BlobHash, len: u64) -> bool {
        self.entries.get(&hash).is_none_or(|entry| entry.len == len)
    }

    /// Needs a blob until [`unpin`](Self::unpin); whether it is here. Its length
    /// has been found to [agree](Self::agrees).
    pub(crate) fn pin(&mut self, hash: BlobHash, len: u64) -> bool {
        let entry = self.entries.get_or_insert_with(hash, || {
            self.wanted.push_back(hash);
            Entry {
                len,
                pins: 0,
                put: false,
                stamp: 0,
                wrong: 0,
                far: false,
                whole: false,
                state: State::Wanted,
            }
        });
        entry.pins += 1;
        if matches!(entry.state, State::Gone) {
            entry.state = State::Wanted;
            self.wanted.push_back(hash);
        }
        self.idle.remove(&(entry.stamp, hash));
        matches!(entry.state, State::Here(_) | State::There)
    }

    /// As [`pin`](Self::pin), of a blob whose bytes are needed.
    pub(crate) fn pin_bytes(&mut self, hash: BlobHash, len: u64) -> bool {
        self.pin(hash, len);
        let entry = self.entries.get_mut(&hash).expect("just pinned");
        entry.whole = true;
        if matches!(entry.state, State::There) {
            (entry.far, entry.state) = (true, State::Wanted);
            self.wanted.push_back(hash);
        }
        matches!(entry.state, State::Here(_))
    }

    /// Needs it no more. Answers whether the driver is to drop it.
    pub(crate) fn unpin(&mut self, hash: BlobHash) -> bool {
        let entry = self.entries.get_mut(&hash).expect("what is pinned exists");
        assert!(entry.pins > 0, "{hash:?} is unpinned too often");
        entry.pins -= 1;
        if entry.pins > 0 {
            return false;
        }
        let dropped = std::mem::take(&mut entry.put);
        match entry.state {
            State::Wanted | State::Gone => {
                self.entries.remove(&hash);
            }
            // Its pieces are on their way: they end up in the cache.
            State::Sought | State::Asked(_) => {}
            State::Here(_) => self.rest(hash),
            State::There => {
                self.entries.remove(&hash);
            }
        }
        dropped
    }

    /// The bytes of a blob that is here, for the driver; `None` if it has them.
    pub(crate) fn put(&mut self, hash: BlobHash) -> Option<Bytes> {
        let entry = self.entries.get_mut(&hash).expect("what work names exists");
        if entry.put {
            return None;
        }
        let State::Here(bytes) = &entry.state else {
            panic!("work names {hash:?}, which is not here");
        };
        entry.put = true;
        Some(bytes.clone())
    }

    /// The bytes of a blob, if they are here.
    pub(crate) fn get(&self, hash: BlobHash) -> Option<Bytes> {
        match &self.entries.get(&hash)?.state {
            State::Here(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// What to ask for now, in order, as far as credit goes; what the driver is to
    /// look for instead is [`sought`](Self::sought).
    pub(crate) fn ask(&mut self, now: Micros) -> Vec<BlobHash> {
        if self.in_flight == 0 {
            (self.since, self.came) = (now, 0);
        }
        let mut asks = Vec::new();
        while let Some(hash) = self.wanted.front().copied() {
            let entry = self.entries.get_mut(&hash);
            let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Wanted)) else {
                self.wanted.pop_front();
                continue;
            };
            let fits = self.in_flight == 0 || self.in_flight + entry.len <= self.credit;
            if !fits || asks.len() == limits::MAX_LIST {
                break;
            }
            if self.near && !entry.far {
                entry.state = State::Sought;
                self.sought.push((hash, entry.len));
            } else {
                entry.state = State::Asked(None);
                asks.push(hash);
            }
            self.in_flight += entry.len;
            self.wanted.pop_front();
            self.asked.push_back(hash);
        }
        asks
    }

    /// What the driver is to look for, with its length.
    pub(crate) fn sought(&mut self) -> Vec<(BlobHash, u64)> {
        std::mem::take(&mut self.sought)
    }

    /// The driver has looked for a blob. What it was not asked for on this connection
    /// is ignored.
    pub(crate) fn found(&mut self, now: Micros, hash: BlobHash, found: Found) -> Arrival {
        let not_used = match found {
            Found::Put => Arrival::Unwanted,
            Found::Bytes(_) | Found::Nothing => Arrival::NotYet,
        };
        let Some(entry) = self.entries.get_mut(&hash) else {
            return not_used;
        };
        if !matches!(entry.state, State::Sought) {
            return if entry.put { Arrival::NotYet } else { not_used };
        }
        let (len, pins) = (entry.len, entry.pins);
        self.in_flight -= len;
        self.asked.retain(|asked| *asked != hash);
        match found {
            Found::Bytes(bytes) if bytes.len() as u64 == len => {
                self.measure(now, len);
                self.keep(hash, bytes);
                return Arrival::Whole;
            }
            Found::Put if pins > 0 && !entry.whole => {
                (entry.put, entry.state) = (true, State::There);
                self.measure(now, len);
                return Arrival::Whole;
            }
            _ => {}
        }
        if pins == 0 {
            self.entries.remove(&hash);
        } else {
            (entry.far, entry.state) = (true, State::Wanted);
            self.wanted.push_front(hash);
        }
        not_used
    }

    /// A blob that slots were to read where it lies is not what it was: the coordinator
    /// is asked for it, if it was not for the sake of its bytes. Whether the driver is
    /// to drop it.
    pub(crate) fn unread(&mut self, hash: BlobHash) -> bool {
        let Some(entry) = self.entries.get_mut(&hash).filter(|entry| entry.put) else {
            return false;
        };
        entry.put = false;
        if matches!(entry.state, State::There | State::Gone) {
            (entry.far, entry.state) = (true, State::Wanted);
            self.wanted.push_front(hash);
        }
        true
    }

    /// A piece came.
    pub(crate) fn piece(
        &mut self,
        now: Micros,
        hash: BlobHash,
        offset: u64,
        total: u64,
        bulk: &[u8],
    ) -> Result<Arrival, Reason> {
        let bad = Reason::BadPiece(hash);
        let Some(entry) = self.entries.get_mut(&hash) else {
            return Err(bad);
        };
        let State::Asked(coming) = &mut entry.state else {
            return Err(bad);
        };
        let end = offset.checked_add(bulk.len() as u64);
        let so_far = coming.as_ref().map_or(0, |coming| coming.len());
        if total != entry.len || offset != so_far || end.is_none_or(|end| end > total) {
            return Err(bad);
        }
        let rooms = &mut self.rooms;
        coming
            .get_or_insert_with(|| Box::new(Coming::new(rooms.room(hash, total))))
            .push(bulk);
        let whole = coming.take_if(|coming| coming.len() == total);
        self.in_flight -= bulk.len() as u64;
        self.measure(now, bulk.len() as u64);
        let Some(whole) = whole else {
            return Ok(Arrival::NotYet);
        };
        self.asked.retain(|asked| *asked != hash);
        let (bytes, found) = whole.whole();
        if found != hash {
            return self.wrong(hash);
        }
        self.keep(hash, bytes);
        Ok(Arrival::Whole)
    }

    /// So much has come: credit follows the rate.
    fn measure(&mut self, now: Micros, bytes: u64) {
        self.came += bytes;
        let took = now.since(self.since);
        if took >= SPAN {
            let ahead = self.came.saturating_mul(AHEAD.0) / took.0;
            self.credit = ahead.clamp(CREDIT, MOST_CREDIT);
            (self.since, self.came) = (now, 0);
        }
    }

    /// It came with other bytes: once more, and then no more.
    fn wrong(&mut self, hash: BlobHash) -> Result<Arrival, Reason> {
        let entry = self.entries.get_mut(&hash).expect("its pieces came");
        entry.wrong += 1;
        let again = entry.wrong < TRIES;
        entry.state = State::Wanted;
        if entry.pins == 0 {
            self.entries.remove(&hash);
        } else {
            self.wanted.push_front(hash);
        }
        match again {
            true => Ok(Arrival::NotYet),
            false => Err(Reason::WrongHash(hash)),
        }
    }

    /// It is here.
    fn keep(&mut self, hash: BlobHash, bytes: Bytes) {
        let entry = self.entries.get_mut(&hash).expect("it came");
        self.size += entry.len;
        entry.state = State::Here(bytes);
        if entry.pins == 0 {
            self.rest(hash);
        } else {
            self.evict();
        }
    }

    /// The coordinator has no such blob; whether it was asked for.
    pub(crate) fn gone(&mut self, hash: BlobHash) -> Result<(), Reason> {
        let entry = self.entries.get_mut(&hash);
        let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Asked(_))) else {
            return Err(Reason::BadPiece(hash));
        };
        let State::Asked(coming) = std::mem::replace(&mut entry.state, State::Gone) else {
            unreachable!("it was asked for");
        };
        self.in_flight -= entry.len - coming.map_or(0, |coming| coming.len());
        self.asked.retain(|asked| *asked != hash);
        if entry.pins == 0 {
            self.entries.remove(&hash);
        }
        Ok(())
    }

    /// What was asked for will not come: it is first in line on the next
    /// connection.
    pub(crate) fn connection_lost(&mut self) {
        (self.in_flight, self.credit) = (0, CREDIT);
        while let Some(hash) = self.asked.pop_back() {
            let entry = self.entries.get_mut(&hash).expect("what was asked exists");
            if entry.pins == 0 {
                self.entries.remove(&hash);
            } else {
                entry.state = State::Wanted;
                self.wanted.push_front(hash);
            }
        }
    }

    fn rest(&mut self, hash: BlobHash) {
        self.clock += 1;
        let entry = self.entries.get_mut(&hash).expect("it is here");
        entry.stamp = self.clock;
        self.idle.insert((self.clock, hash));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.budget
            && let Some((_, hash)) = self.idle.pop_first()
        {
            let entry = self.entries.remove(&hash).expect("idle blobs are here");
            self.size -= entry.len;
        }
    }
}

#[cfg(test)]
mod tests;

//! Connections as TCP gives them: streams of frames, in order, with delay and
//! bandwidth, which may stall, be cut anywhere, or be dead without one side
//! knowing; and a middlebox that breaks TCP's own promises. Who connects, and
//! when the network fails, is decided elsewhere.

use crate::world::{Event, PeerId, World};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A connection; the coordinator's `ConnectionId` has the same number.
pub(crate) type LinkId = u64;

/// An end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Open,
    Opened,
    Frame(Bytes),
    End,
}

/// A peer's way to the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) latency_us: u64,
    pub(crate) jitter_us: u64,
    pub(crate) bytes_per_ms: u64,
    /// Nothing passes until then, and nothing is lost.
    pub(crate) blocked_until: u64,
    /// Frames are dropped, doubled and swapped until then.
    pub(crate) mangled_until: u64,
}

#[derive(Default, Debug)]
struct Pipe {
    /// When each arrives; ascending.
    queue: VecDeque<(u64, Item)>,
    /// When all that was given to it is on its way.
    free_at: u64,
    last: u64,
    wake_at: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) route: Route,
    /// What goes to the client, and to the server.
    pipes: [Pipe; 2],
    /// Whether the ends are open.
    open: [bool; 2],
    /// Nothing more that is sent arrives.
    broken: bool,
    /// A middlebox had its hands in it.
    pub(crate) mangled: bool,
    drain_scheduled: bool,
}

#[derive(Default, Debug)]
pub(crate) struct Network {
    pub(crate) links: BTreeMap<LinkId, Link>,
    next: LinkId,
}

/// Frames that may wait for a worker; the driver ends a connection with more.
const QUEUE: usize = 8192;

impl Pipe {
    fn push(&mut self, now: u64, route: &Route, jitter: u64, item: Item) {
        let bytes = match &item {
            Item::Frame(frame) => frame.len() as u64 + 8,
            _ => 60,
        };
        let start = self.free_at.max(now);
        self.free_at = start + bytes * 1000 / route.bytes_per_ms;
        let arrival = (self.free_at + route.latency_us + jitter).max(self.last);
        self.last = arrival;
        self.queue.push_back((arrival, item));
    }
}

impl World {
    /// A peer opens a connection.
    pub(crate) fn open_link(&mut self, peer: PeerId, route: Route) -> LinkId {
        self.network.next += 1;
        let id = self.network.next;
        let link = Link {
            peer,
            mangled: route.mangled_until > self.now,
            route,
            pipes: Default::default(),
            open: [true; 2],
            broken: false,
            drain_scheduled: false,
        };
        self.network.links.insert(id, link);
        self.transmit(id, Side::Server, Item::Open);
        id
    }

    /// Sends something to one side of a connection.
    pub(crate) fn transmit(&mut self, id: LinkId, to: Side, item: Item) {
        let now = self.now;
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        if link.broken {
            return;
        }
        let mangle = now < link.route.mangled_until && matches!(item, Item::Frame(_));
        let copies = if mangle && self.rng.permille(150) {
            self.tally.add("frame dropped or doubled");
            self.rng.below(2) * 2
        } else {
            1
        };
        let pipe = &mut link.pipes[to as usize];
        for _ in 0..copies {
            let jitter = self.rng.below(link.route.jitter_us + 1);
            pipe.push(now, &link.route, jitter, item.clone());
        }
        let len = pipe.queue.len();
        if mangle && len >= 2 && self.rng.permille(100) {
            self.tally.add("frames swapped");
            let ((before, first), (after, second)) =
                (pipe.queue[len - 2].clone(), pipe.queue[len - 1].clone());
            pipe.queue[len - 2] = (before, second);
            pipe.queue[len - 1] = (after, first);
        }
        self.arm(id, to);
    }

    /// Whether a worker's queue has become too long.
    pub(crate) fn is_flooded(&self, id: LinkId) -> bool {
        let link = self.network.links.get(&id);
        link.is_some_and(|link| link.pipes[Side::Client as usize].queue.len() > QUEUE)
    }

    fn arm(&mut self, id: LinkId, to: Side) {
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let pipe = &mut link.pipes[to as usize];
        let Some((arrival, _)) = pipe.queue.front() else {
            return;
        };
        let at = (*arrival).max(link.route.blocked_until).max(self.now);
        if pipe.wake_at.is_none_or(|wake| wake > at) {
            pipe.wake_at = Some(at);
            self.schedule(at, Event::Arrival { link: id, to });
        }
    }

    /// What is due arrives.
    pub(crate) fn arrivals(&mut self, id: LinkId, to: Side) {
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let pipe = &mut link.pipes[to as usize];
        if pipe.wake_at != Some(self.now) {
            return;
        }
        pipe.wake_at = None;
        if let Some(thaw) = self.frozen_until(id, to) {
            // The system keeps it for the sleeper.
            let pipe = &mut self.network.links.get_mut(&id).expect("just seen").pipes[to as usize];
            pipe.wake_at = Some(thaw);
            return self.schedule(thaw, Event::Arrival { link: id, to });
        }
        while let Some(item) = self.next_arrival(id, to) {
            self.arrive(id, to, item);
        }
        self.arm(id, to);
    }

    fn next_arrival(&mut self, id: LinkId, to: Side) -> Option<Item> {
        let link = self.network.links.get_mut(&id)?;
        if link.route.blocked_until > self.now {
            return None;
        }
        let queue = &mut link.pipes[to as usize].queue;
        let (arrival, _) = queue.front()?;
        if *arrival > self.now {
            return None;
        }
        queue.pop_front().map(|(_, item)| item)
    }

    fn arrive(&mut self, id: LinkId, to: Side, item: Item) {
        let link = self
            .network
            .links
            .get_mut(&id)
            .expect("something arrives over it");
        if !link.open[to as usize] {
            return;
        }
        let peer = link.peer;
        if matches!(item, Item::End) {
            self.end_side(id, to);
        }
        match to {
            Side::Server => self.server_receives(id, item),
            Side::Client => self.client_receives(peer, id, item),
        }
    }

    /// One side closes; the other learns of it when all before has arrived.
    pub(crate) fn close_link(&mut self, id: LinkId, by: Side) {
        self.transmit(id, by.other(), Item::End);
        self.end_side(id, by);
    }

    fn end_side(&mut self, id: LinkId, side: Side) {
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        link.open[side as usize] = false;
        // What still goes to a closed end is nobody's.
        link.pipes[side as usize].queue.clear();
        if link.open == [false; 2] {
            self.network.links.remove(&id);
        }
    }

    /// The connection is dead from now on: some of what is under way still
    /// arrives, cut off anywhere. Each side learns of it after so long, or
    /// never.
    pub(crate) fn cut_link(&mut self, id: LinkId, client: Option<u64>, server: Option<u64>) {
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        if link.broken {
            return;
        }
        link.broken = true;
        for (to, learns) in [(Side::Client, client), (Side::Server, server)] {
            let queue = &mut link.pipes[to as usize].queue;
            let rest = self.rng.below(queue.len() as u64 + 1);
            queue.truncate(rest as usize);
            if let Some(after) = learns {
                let last = queue.back().map_or(0, |(at, _)| *at);
                queue.push_back(((self.now + after).max(last), Item::End));
            }
        }
        for to in [Side::Client, Side::Server] {
            self.arm(id, to);
        }
    }

    /// One end is gone with its machine or process, without a word unless the
    /// other side learns of it after so long.
    pub(crate) fn kill_side(&mut self, id: LinkId, side: Side, other_learns: Option<u64>) {
        let (client, server) = match side {
            Side::Client => (None, other_learns),
            Side::Server => (other_learns, None),
        };
        self.cut_link(id, client, server);
        self.end_side(id, side);
    }

    /// Nothing passes until then.
    pub(crate) fn stall_link(&mut self, id: LinkId, until: u64) {
        if let Some(link) = self.network.links.get_mut(&id) {
            link.route.blocked_until = link.route.blocked_until.max(until);
            for pipe in &mut link.pipes {
                pipe.free_at = pipe.free_at.max(until);
            }
        }
    }

    pub(crate) fn links_of(&self, peer: PeerId) -> Vec<LinkId> {
        let links = self.network.links.iter();
        let links = links.filter(|(_, link)| link.peer == peer);
        links.map(|(id, _)| *id).collect()
    }

    /// A client gave something out: it will want to know when that is gone.
    pub(crate) fn expect_drain(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.network.links.get_mut(&id) else {
            return;
        };
        let free_at = link.pipes[Side::Server as usize].free_at;
        if !link.drain_scheduled && !link.broken {
            link.drain_scheduled = true;
            // Looked at now and then while there is much.
            let at = free_at.max(now + 200).min(now + 50_000);
            self.schedule(at, Event::Drained { link: id });
        }
    }

    /// Bytes that a client has given out and that are not on their way; `None`
    /// where nobody will ever know.
    pub(crate) fn buffered(&mut self, id: LinkId) -> Option<(PeerId, u64)> {
        let link = self.network.links.get_mut(&id)?;
        link.drain_scheduled = false;
        if link.broken || !link.open[Side::Client as usize] {
            return None;
        }
        let wait = link.pipes[Side::Server as usize]
            .free_at
            .saturating_sub(self.now);
        Some((link.peer, wait * link.route.bytes_per_ms / 1000))
    }
}

//! Peers that lie about the protocol: whatever they say may end their own
//! connection, and must not harm anybody else. (That they forge partials is
//! another matter: bytes are not compared yet.)

use crate::network::{Item, LinkId, Route, Side};
use crate::rng::mix;
use crate::world::{Event, Peer, PeerId, World};
use bytes::Bytes;
use manyhands_protocol::message::{Claim, EngineKind, Hello, ToCoordinator, ToWorker};
use manyhands_protocol::{
    Failure, FailureKind, Incarnation, JobId, LeaseId, MAX_TASKS, Node, PROTOCOL_VERSION, Proof,
    SessionToken, codec,
};

#[derive(Debug)]
pub(crate) struct Liar {
    route: Route,
    link: Option<LinkId>,
    welcome: bool,
    token: Option<SessionToken>,
    grants: Vec<Claim>,
}

impl World {
    pub(crate) fn add_liar(&mut self, route: Route) {
        let id = self.next_peer();
        let liar = Liar {
            route,
            link: None,
            welcome: false,
            token: None,
            grants: Vec::new(),
        };
        self.peers.insert(id, Peer::Liar(Box::new(liar)));
        self.schedule(self.now + 1, Event::Liar { peer: id });
    }

    fn liar(&mut self, id: PeerId) -> Option<&mut Liar> {
        match self.peers.get_mut(&id)? {
            Peer::Liar(liar) => Some(liar),
            Peer::Worker(_) => None,
        }
    }

    pub(crate) fn liar_receives(&mut self, id: PeerId, link: LinkId, item: Item) {
        let liar = self.liar(id).expect("it was looked up");
        if liar.link != Some(link) {
            return;
        }
        match item {
            Item::Opened => self.lie_in_hello(id, link),
            Item::Frame(frame) => match codec::decode::<ToWorker>(frame) {
                Ok((ToWorker::Welcome { session, .. }, _)) => {
                    liar.welcome = true;
                    liar.token = Some(session);
                }
                Ok((
                    ToWorker::Grant {
                        lease,
                        job,
                        node,
                        proof,
                        ..
                    },
                    _,
                )) => liar.grants.push(Claim {
                    lease,
                    job,
                    node,
                    proof,
                }),
                _ => {}
            },
            Item::End => {
                liar.link = None;
                liar.welcome = false;
                self.close_link(link, Side::Client);
            }
            Item::Open => unreachable!("goes to the server"),
        }
    }

    fn lie_in_hello(&mut self, id: PeerId, link: LinkId) {
        let mut held = Vec::new();
        for _ in 0..self.rng.below(4) {
            held.push(self.false_claim(id));
        }
        if self.rng.permille(100) {
            held.resize(4000, self.false_claim(id));
        }
        let token = self.liar(id).and_then(|liar| liar.token);
        let resume = match self.rng.below(3) {
            0 => None,
            1 => token,
            _ => Some(SessionToken([self.rng.below(256) as u8; 16])),
        };
        let hello = Hello {
            version: PROTOCOL_VERSION.to_le_bytes(),
            resume,
            held,
            name: "liar".into(),
            engine: self.rng.one_of(&[EngineKind::Native, EngineKind::Browser]),
            slots: self
                .rng
                .one_of(&[0u16, 1, 4, 4096, 4097, u16::MAX])
                .to_le_bytes(),
            memory: self.rng.one_of(&[0, 1 << 30, u64::MAX]),
            simd: true,
            hidden: self.rng.permille(200),
        };
        self.say(link, &ToCoordinator::Hello(hello));
    }

    /// A lease that the liar was given, or that somebody else was, or nobody.
    fn any_claim(&mut self, id: PeerId) -> Claim {
        let own: Vec<Claim> = self.liar(id).expect("it lies").grants.clone();
        if !own.is_empty() && self.rng.permille(700) {
            return own[self.rng.below(own.len() as u64) as usize];
        }
        if let Some((lease, job, node)) = self.any_lease()
            && self.rng.permille(700)
        {
            let proof = Proof([9; 16]);
            return Claim {
                lease,
                job,
                node,
                proof,
            };
        }
        Claim {
            lease: LeaseId {
                incarnation: Incarnation(self.rng.below(5)),
                counter: self.rng.spread(1, u64::MAX),
            },
            job: JobId(self.rng.spread(1, 1 << 40)),
            node: self.any_node(),
            proof: Proof([1; 16]),
        }
    }

    fn any_lease(&mut self) -> Option<(LeaseId, JobId, Node)> {
        let leases = &self.checks.leases;
        let (first, _) = leases.first_key_value()?;
        let counter = self.rng.below(leases.len() as u64 + 1);
        let from = LeaseId { counter, ..*first };
        let (lease, (job, node, _)) = leases.range(from..).next()?;
        Some((*lease, *job, *node))
    }

    fn false_claim(&mut self, id: PeerId) -> Claim {
        let mut claim = self.any_claim(id);
        match self.rng.below(5) {
            0 => claim.node = self.any_node(),
            1 => claim.job = JobId(self.rng.below(8)),
            2 => claim.lease.counter += 1,
            3 => claim.proof.0[3] ^= 1,
            _ => {}
        }
        claim
    }

    fn any_node(&mut self) -> Node {
        let level = self.rng.below(63) as u8;
        let index = self.rng.below(MAX_TASKS >> level);
        match self.rng.below(3) {
            0 => Node::leaf(self.rng.below(1000)),
            1 => Node::new(level.min(10), index % 64).expect("a small node"),
            _ => Node::new(level, index).expect("a node in range"),
        }
    }

    fn say(&mut self, link: LinkId, message: &ToCoordinator) {
        let frame = codec::encode(message).into();
        self.transmit(link, Side::Server, Item::Frame(frame));
    }

    /// Its next lie.
    pub(crate) fn liar_acts(&mut self, id: PeerId) {
        let Some(liar) = self.liar(id) else {
            return;
        };
        let (link, welcome, route) = (liar.link, liar.welcome, liar.route.clone());
        let pause = self.rng.spread(1_000, 20_000_000);
        self.schedule(self.now + pause, Event::Liar { peer: id });
        match link {
            None => {
                let link = self.open_link(id, route);
                self.liar(id).expect("just seen").link = Some(link);
            }
            Some(link) if welcome => self.lie(id, link),
            Some(_) => {}
        }
    }

    fn lie(&mut self, id: PeerId, link: LinkId) {
        self.tally.add("lie");
        let claim = self.any_claim(id);
        let (lease, node) = (claim.lease, claim.node);
        let what = self.rng.below(16);
        self.trace.note(self.now, "lie", &[id.0, what]);
        match what {
            0..3 => self.hand_in_rightly(id, link),
            3 => self.forge_sizes(link, lease, node),
            4 => {
                let node = self.any_node();
                self.send_failure(link, lease, node);
            }
            5 if self.setup.liars_fail => self.send_failure(link, lease, node),
            6 => {
                for _ in 0..2 {
                    self.say(link, &ToCoordinator::Returned { lease });
                }
            }
            7 => {
                let done = self.rng.spread(1, u64::MAX);
                self.say(link, &ToCoordinator::Progress { lease, done });
            }
            8 => {
                let slots = self.rng.one_of(&[0u16, 1, 4096, 4097]).to_le_bytes();
                let hidden = self.rng.permille(500);
                self.say(link, &ToCoordinator::Capacity { slots, hidden });
            }
            9 => {
                let (job, text) = (claim.job, "a line".into());
                self.say(link, &ToCoordinator::Log { job, text });
            }
            10 => {
                let len = self.rng.below(200);
                let garbage: Vec<u8> = (0..len).map(|at| mix(self.now ^ at) as u8).collect();
                self.transmit(link, Side::Server, Item::Frame(garbage.into()));
            }
            11 => self.say(link, &ToCoordinator::Goodbye),
            12 => self.lie_in_hello(id, link),
            13 => {
                let hashes = self.blobs.keys().copied().take(50).collect();
                self.say(link, &ToCoordinator::Need(hashes));
            }
            14 => self.say(link, &ToCoordinator::Pong),
            // It holds what it has, and is alive.
            _ => self.say(link, &ToCoordinator::Alive),
        }
    }

    /// Right bytes, but twice, or for a lease that may be anybody's.
    fn hand_in_rightly(&mut self, id: PeerId, link: LinkId) {
        let claim = self.any_claim(id);
        let Some(author) = self.author_by_job(claim.job) else {
            return;
        };
        let guest = &self.authors[author].guest;
        let tree = manyhands_protocol::Tree::new(guest.tasks).expect("a job made here");
        if !tree.has(claim.node) || tree.len(claim.node) > 5_000 {
            return;
        }
        let partial = guest.run(claim.node);
        if partial.len() > 200_000 {
            return;
        }
        for _ in 0..2 {
            self.hand_in(link, claim.lease, claim.node, partial.clone());
        }
    }

    fn hand_in(&mut self, link: LinkId, lease: LeaseId, node: Node, partial: Bytes) {
        let header = ToCoordinator::Partial {
            lease,
            node,
            offset: 0,
            total: partial.len() as u64,
            busy_us: self.rng.one_of(&[0, 1, 1_000_000, u64::MAX]),
        };
        let frame = codec::encode_with(&header, &partial).into();
        self.transmit(link, Side::Server, Item::Frame(frame));
    }

    /// A partial that never ends, or is of another size than its pieces.
    fn forge_sizes(&mut self, link: LinkId, lease: LeaseId, node: Node) {
        let total = self.rng.spread(2, u64::MAX);
        let offset = self.rng.one_of(&[0, 0, 1]);
        let header = ToCoordinator::Partial {
            lease,
            node,
            offset,
            total,
            busy_us: 1,
        };
        let frame = codec::encode_with(&header, &[1]).into();
        self.transmit(link, Side::Server, Item::Frame(frame));
    }

    fn send_failure(&mut self, link: LinkId, lease: LeaseId, node: Node) {
        let kind = self.rng.one_of(&[FailureKind::Error, FailureKind::Crash]);
        let message = "a lie".into();
        let failure = Failure { kind, message };
        let failed = ToCoordinator::Failed {
            lease,
            node,
            failure,
        };
        self.say(link, &failed);
    }
}

//! A made-up coordinator of one job: grants what is free, takes partials in,
//! and checks that the worker keeps the protocol.

use super::world::reference;
use bytes::Bytes;
use manyhands_protocol::message::{
    FileRef, Hello, JobHeader, MergeMode, SegmentRef, ToCoordinator, ToWorker,
};
use manyhands_protocol::{
    BlobHash, Failure, Incarnation, JobId, LeaseId, MergeTree, Node, Proof, SessionToken, Split,
    Step, Tree, WorkerId, codec, limits, segments_of,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) const JOB: JobId = JobId(5);
pub(super) const ALIVE_MS: u64 = 3_000;

#[derive(Debug)]
struct Granted {
    node: Node,
    /// Parts handed in or failed.
    settled: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    pub(super) header: JobHeader,
    pub(super) tree: Tree,
    /// Frames on their way to the worker.
    pub(super) inbox: VecDeque<Bytes>,
    /// Messages that tests look at: not needs and partials.
    pub(super) heard: Vec<ToCoordinator>,
    pub(super) store: BTreeMap<BlobHash, Bytes>,
    segments: Vec<SegmentRef>,
    text: Vec<String>,
    /// Not granted.
    pub(super) free: Vec<Node>,
    granted: BTreeMap<LeaseId, Granted>,
    next_lease: u64,
    pub(super) incarnation: u64,
    pub(super) token: u64,
    /// Whether a session may be resumed.
    pub(super) remembers: bool,
    described: bool,
    assembling: Option<(LeaseId, Node, Vec<u8>)>,
    merging: MergeTree<String>,
    pub(super) result: Option<String>,
    pub(super) failed: BTreeMap<Node, Failure>,
    /// Partials as they came.
    pub(super) handed: Vec<(LeaseId, Node, Vec<u8>)>,
    /// Whether partials are accepted at once.
    pub(super) accepts: bool,
    /// Blobs asked for, in order.
    pub(super) needed: Vec<BlobHash>,
    /// Whether needs are answered at once.
    pub(super) serves: bool,
    /// Whether it listens to nothing (a test speaks for it).
    pub(super) deaf: bool,
    /// Whether it was started anew and takes sessions up by their claims.
    anew: bool,
    worker: WorkerId,
    /// Whether signs of life are answered.
    pub(super) answers: bool,
}

impl Coordinator {
    /// A job without inputs.
    pub(super) fn new(tasks: u64, merge: MergeMode) -> Self {
        let module = Bytes::from_static(b"the module");
        let file = Bytes::from_static(b"a file");
        let tree = Tree::new(tasks).unwrap();
        let header = JobHeader {
            job: JOB,
            name: "parentheses".into(),
            module: BlobHash::of(&module),
            module_len: module.len() as u64,
            params: b"{}".to_vec(),
            tasks,
            merge,
            split: None,
            files: vec![FileRef {
                name: "file".into(),
                hash: BlobHash::of(&file),
                len: file.len() as u64,
            }],
            memory: 1 << 20,
            task_timeout_ms: 1000,
        };
        let blobs = [module, file];
        Self {
            header,
            tree,
            inbox: VecDeque::new(),
            heard: Vec::new(),
            store: blobs.map(|blob| (BlobHash::of(&blob), blob)).into(),
            segments: Vec::new(),
            text: Vec::new(),
            free: vec![tree.root().unwrap()],
            granted: BTreeMap::new(),
            next_lease: 0,
            incarnation: 1,
            token: 1,
            remembers: true,
            described: false,
            assembling: None,
            merging: MergeTree::new(tree, tree.root().unwrap()),
            result: None,
            failed: BTreeMap::new(),
            handed: Vec::new(),
            accepts: true,
            needed: Vec::new(),
            serves: true,
            deaf: false,
            anew: false,
            worker: WorkerId(1),
            answers: true,
        }
    }

    /// A job over the lines of files; segments of about 1 MiB or a file.
    pub(super) fn with_lines(files: &[String], merge: MergeMode) -> Self {
        let lines = files.iter().flat_map(|file| file.split_inclusive('\n'));
        let text: Vec<String> = lines.map(str::to_owned).collect();
        let mut made = Self::new(text.len() as u64, merge);
        made.text = text;
        made.header.split = Some(Split::Lines);
        let mut first_task = 0;
        for file in files {
            for segment in segments_of(file.as_bytes(), Split::Lines).unwrap() {
                let range = segment.offset as usize..(segment.offset + segment.len) as usize;
                let bytes = Bytes::copy_from_slice(&file.as_bytes()[range]);
                let hash = BlobHash::of(&bytes);
                made.store.insert(hash, bytes);
                made.segments.push(SegmentRef {
                    hash,
                    len: segment.len,
                    first_task,
                    tasks: segment.tasks,
                });
                first_task += segment.tasks;
            }
        }
        made
    }

    /// What the job is to come to.
    pub(super) fn expected(&self, node: Node) -> String {
        let task = |task: u64| match self.text.get(task as usize) {
            Some(text) => text.clone(),
            None => task.to_string(),
        };
        reference(self.tree, node, self.header.merge, &task)
    }

    pub(super) fn segments_of(&self, node: Node) -> Vec<SegmentRef> {
        let range = self.tree.range(node);
        let each = self.segments.iter().copied();
        each.filter(|s| s.first_task < range.end && range.start < s.first_task + s.tasks)
            .collect()
    }

    fn send(&mut self, message: &ToWorker) {
        self.inbox.push_back(codec::encode(message).into());
    }

    /// Grants a node, whether it is free or not.
    pub(super) fn grant(&mut self, node: Node) -> LeaseId {
        if !std::mem::replace(&mut self.described, true) {
            let header = self.header.clone();
            self.send(&ToWorker::Job(header));
        }
        let lease = LeaseId {
            incarnation: Incarnation(self.incarnation),
            counter: self.next_lease,
        };
        self.next_lease += 1;
        let settled = Vec::new();
        self.granted.insert(lease, Granted { node, settled });
        let inputs = self.segments_of(node);
        self.send(&ToWorker::Grant {
            lease,
            job: self.header.job,
            node,
            inputs,
            proof: prove(lease, self.header.job, node),
        });
        lease
    }

    /// Asks for a merge, and sends so many of its two halves.
    pub(super) fn ask_to_merge(&mut self, node: Node, halves: usize) -> LeaseId {
        let texts = match self
            .tree
            .has(node)
            .then(|| self.tree.halves(node))
            .flatten()
        {
            Some((left, Some(right))) => [self.expected(left), self.expected(right)],
            _ => [String::new(), String::new()],
        };
        let [left, right] = [0, 1].map(|at: usize| texts[at].len() as u64);
        let lease = self.name_merge(node, (left, right));
        let mut offset = 0;
        for text in &texts[..halves] {
            self.send_half(lease, offset, left + right, text.as_bytes());
            offset += text.len() as u64;
        }
        lease
    }

    /// Asks for a merge of halves of these lengths.
    pub(super) fn name_merge(&mut self, node: Node, (left, right): (u64, u64)) -> LeaseId {
        let lease = LeaseId {
            incarnation: Incarnation(self.incarnation),
            counter: self.next_lease,
        };
        self.next_lease += 1;
        self.send(&ToWorker::Merge {
            lease,
            job: self.header.job,
            node,
            left,
            right,
        });
        lease
    }

    pub(super) fn send_half(&mut self, lease: LeaseId, offset: u64, total: u64, piece: &[u8]) {
        let header = ToWorker::Halves {
            lease,
            offset,
            total,
        };
        self.inbox
            .push_back(codec::encode_with(&header, piece).into());
    }

    /// Leases the worker is believed to hold.
    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.granted.keys().copied().collect()
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        self.send(&ToWorker::Revoke { lease });
    }

    pub(super) fn connection_lost(&mut self) {
        self.inbox.clear();
        self.assembling = None;
        self.described = false;
    }

    /// It starts anew and knows of nothing but what is safe.
    pub(super) fn restart(&mut self) {
        self.incarnation += 1;
        self.remembers = false;
        for lease in self.leases() {
            self.release(lease);
        }
    }

    /// It starts anew, and takes its workers' word for what they hold: leases
    /// of another incarnation, under another worker's name.
    pub(super) fn start_anew(&mut self) {
        self.incarnation += 1;
        self.next_lease = 0;
        self.worker = WorkerId(self.worker.0 + 100);
        self.anew = true;
        for lease in self.leases() {
            self.release(lease);
        }
    }

    pub(super) fn receive(&mut self, frame: Bytes) {
        let (message, bulk) = codec::decode::<ToCoordinator>(frame).expect("a proper message");
        if self.deaf {
            return;
        }
        match message {
            ToCoordinator::Hello(hello) => self.welcome(hello),
            ToCoordinator::Need(hashes) => {
                self.needed.extend(&hashes);
                if self.serves {
                    hashes.into_iter().for_each(|hash| self.serve(hash));
                }
            }
            ToCoordinator::Partial {
                lease,
                node,
                offset,
                total,
                ..
            } => self.piece(lease, node, offset, total, &bulk),
            ToCoordinator::Failed {
                lease,
                node,
                ref failure,
            } => {
                self.settle(lease, node);
                self.failed.insert(node, failure.clone());
                self.heard.push(message);
            }
            ToCoordinator::Returned { lease } => {
                self.release(lease);
                self.heard.push(message);
            }
            ToCoordinator::Goodbye => {
                for lease in self.leases() {
                    self.release(lease);
                }
                self.heard.push(message);
            }
            ToCoordinator::Alive => {
                self.heard.push(message);
                if self.answers {
                    self.send(&ToWorker::Alive);
                }
            }
            other => self.heard.push(other),
        }
    }

    pub(super) fn serve(&mut self, hash: BlobHash) {
        let Some(blob) = self.store.get(&hash).cloned() else {
            return self.send(&ToWorker::Gone { hash });
        };
        let total = blob.len() as u64;
        let mut offset = 0;
        loop {
            let end = total.min(offset + limits::PIECE as u64);
            let header = ToWorker::Blob {
                hash,
                offset,
                total,
            };
            let piece = &blob[offset as usize..end as usize];
            self.inbox
                .push_back(codec::encode_with(&header, piece).into());
            offset = end;
            if offset == total {
                return;
            }
        }
    }

    fn welcome(&mut self, hello: Hello) {
        let token = SessionToken(u128::from(self.token).to_le_bytes());
        let resumed = self.remembers && hello.resume == Some(token);
        for claim in &hello.held {
            let proof = prove(claim.lease, claim.job, claim.node);
            assert_eq!(claim.proof, proof, "a claim as it was granted");
        }
        let held: BTreeSet<LeaseId> = hello.held.iter().map(|claim| claim.lease).collect();
        if resumed && std::mem::take(&mut self.anew) {
            for claim in &hello.held {
                let node = claim.node;
                self.free.retain(|free| *free != node);
                let settled = Vec::new();
                self.granted.insert(claim.lease, Granted { node, settled });
            }
        }
        for lease in self.leases() {
            if !resumed || !held.contains(&lease) {
                self.release(lease);
            }
        }
        self.remembers = true;
        self.token += u64::from(!resumed);
        self.heard.push(ToCoordinator::Hello(hello));
        self.send(&ToWorker::Welcome {
            worker: self.worker,
            session: SessionToken(u128::from(self.token).to_le_bytes()),
            incarnation: Incarnation(self.incarnation),
            resumed,
            alive_every_ms: ALIVE_MS,
        });
    }

    fn piece(&mut self, lease: LeaseId, node: Node, offset: u64, total: u64, bulk: &[u8]) {
        let (at, to, mut bytes) = match self.assembling.take() {
            None => (lease, node, Vec::new()),
            Some(assembling) => assembling,
        };
        assert_eq!((at, to), (lease, node), "partials are not interleaved");
        assert_eq!(bytes.len() as u64, offset, "pieces are in order");
        bytes.extend_from_slice(bulk);
        if (bytes.len() as u64) < total {
            self.assembling = Some((lease, node, bytes));
            return;
        }
        self.settle(lease, node);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text, self.expected(node), "{node:?}");
        self.handed.push((lease, node, bytes));
        self.merge(node, text);
        if self.accepts {
            self.send(&ToWorker::Accepted { lease, node });
        }
    }

    fn merge(&mut self, node: Node, text: String) {
        let mut step = self.merging.insert(node, text);
        while let Step::Merge { node, left, right } = step {
            let text = match self.header.merge {
                MergeMode::Reduce => format!("({left} {right})"),
                MergeMode::Concat => left + &right,
            };
            step = self.merging.merged(node, text);
        }
        if let Step::Top(text) = step {
            self.result = Some(text);
        }
    }

    /// A part of a lease is handed in or failed.
    fn settle(&mut self, lease: LeaseId, node: Node) {
        let tree = self.tree;
        let Some(granted) = self.granted.get_mut(&lease) else {
            return;
        };
        assert!(
            granted.node.contains(node),
            "{node:?} is not in {granted:?}"
        );
        granted.settled.push(node);
        if unsettled(tree, granted.node, &granted.settled).is_empty() {
            self.granted.remove(&lease);
        }
    }

    /// What is left of a lease is free again.
    fn release(&mut self, lease: LeaseId) {
        if let Some(granted) = self.granted.remove(&lease) {
            let rest = unsettled(self.tree, granted.node, &granted.settled);
            self.free.extend(rest);
        }
    }
}

/// What this coordinator's grants come with.
pub(super) fn prove(lease: LeaseId, job: JobId, node: Node) -> Proof {
    let mut proof = [0; 16];
    let text = format!("{lease:?} {job:?} {node:?}");
    proof.copy_from_slice(&BlobHash::of(text.as_bytes()).0[..16]);
    Proof(proof)
}

/// The largest nodes under `node` that share nothing with those settled.
fn unsettled(tree: Tree, node: Node, settled: &[Node]) -> Vec<Node> {
    if settled.iter().any(|done| done.contains(node)) {
        return Vec::new();
    }
    if !settled.iter().any(|done| node.contains(*done)) {
        return vec![node];
    }
    let (left, right) = tree.halves(node).expect("it contains another");
    let mut rest = unsettled(tree, left, settled);
    rest.extend(
        right
            .into_iter()
            .flat_map(|right| unsettled(tree, right, settled)),
    );
    rest
}

//! Proofs of leases: how a coordinator that forgot everything knows its own
//! grants again. Nothing is stored for them but one key.

use manyhands_protocol::message::Claim;
use manyhands_protocol::{JobId, LeaseId, Node, Proof, SessionToken};
use std::fmt;

/// The secret that proofs are made with. It lives as long as the journal, so
/// that each start of a coordinator accepts the grants of those before.
#[derive(Clone, Copy)]
pub struct ClaimKey(pub [u8; 32]);

impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimKey(…)")
    }
}

impl ClaimKey {
    /// The proof of one lease of one session: keyed BLAKE3 over both, cut to
    /// 128 bits. Without the key it cannot be guessed, nor used by another
    /// session.
    pub(crate) fn prove(
        &self,
        session: SessionToken,
        lease: LeaseId,
        job: JobId,
        node: Node,
    ) -> Proof {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&session.0);
        for word in [lease.incarnation.0, lease.counter, job.0, node.index()] {
            hasher.update(&word.to_le_bytes());
        }
        hasher.update(&[node.level()]);
        let mut proof = Proof([0; 16]);
        hasher.finalize_xof().fill(&mut proof.0);
        proof
    }

    /// Whether a coordinator with this key granted the lease to the session.
    pub(crate) fn accepts(&self, session: SessionToken, claim: &Claim) -> bool {
        let proof = self.prove(session, claim.lease, claim.job, claim.node);
        // Compared in constant time, as hashes of BLAKE3 are.
        let (left, right) = (widen(proof), widen(claim.proof));
        blake3::Hash::from(left) == blake3::Hash::from(right)
    }
}

fn widen(proof: Proof) -> [u8; 32] {
    let mut wide = [0; 32];
    wide[..16].copy_from_slice(&proof.0);
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::Incarnation;

    #[test]
    fn a_proof_is_of_one_lease_of_one_session_and_one_key() {
        let key = ClaimKey([1; 32]);
        let session = SessionToken([2; 16]);
        let lease = LeaseId {
            incarnation: Incarnation(3),
            counter: 4,
        };
        let node = Node::new(5, 6).unwrap();
        let claim = Claim {
            lease,
            job: JobId(7),
            node,
            proof: key.prove(session, lease, JobId(7), node),
        };
        assert!(key.accepts(session, &claim));
        assert!(!key.accepts(SessionToken([3; 16]), &claim));
        assert!(!ClaimKey([2; 32]).accepts(session, &claim));
        let others = [
            Claim {
                job: JobId(8),
                ..claim
            },
            Claim {
                node: Node::new(6, 6).unwrap(),
                ..claim
            },
            Claim {
                node: Node::new(5, 7).unwrap(),
                ..claim
            },
            Claim {
                lease: LeaseId {
                    counter: 5,
                    ..lease
                },
                ..claim
            },
            Claim {
                lease: LeaseId {
                    incarnation: Incarnation(4),
                    ..lease
                },
                ..claim
            },
            Claim {
                proof: Proof([0; 16]),
                ..claim
            },
        ];
        for other in others {
            assert!(!key.accepts(session, &other), "{other:?}");
        }
    }
}

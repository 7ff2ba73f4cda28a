//! Partials from their pieces: one at a time on a connection, in order.

use bytes::{Bytes, BytesMut};
use manyhands_protocol::limits::MAX_PARTIAL;
use manyhands_protocol::{LeaseId, Node};

/// What names a partial while its pieces come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) lease: LeaseId,
    pub(crate) node: Node,
    pub(crate) total: u64,
    pub(crate) busy_us: u64,
}

/// Pieces that make no partial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AssemblyError {
    #[error("a partial of {0} bytes; at most {MAX_PARTIAL} are allowed")]
    TooLarge(u64),
    #[error("a piece at byte {found} of a partial; byte {expected} is next")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("a piece of another partial before the last was complete")]
    Interleaved,
}

/// What has come of one partial. Memory grows with the bytes that came, not
/// with the length that was declared.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    open: Option<(Part, Content)>,
}

#[derive(Debug)]
enum Content {
    Kept(BytesMut),
    /// Nobody needs it: only its length so far.
    Dropped(u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Kept(bytes) => bytes.len() as u64,
            Self::Dropped(len) => *len,
        }
    }
}

/// Smaller ones are copied: a slice would keep the socket's whole buffer.
const COPIED: usize = 4096;

impl Assembly {
    /// Takes the next piece; the whole partial once it is complete.
    pub(crate) fn push(
        &mut self,
        part: Part,
        offset: u64,
        piece: Bytes,
    ) -> Result<Option<Bytes>, AssemblyError> {
        if part.total > MAX_PARTIAL {
            return Err(AssemblyError::TooLarge(part.total));
        }
        let expected = self.open.as_ref().map_or(0, |(_, content)| content.len());
        if self.open.as_ref().is_some_and(|(open, _)| *open != part) {
            return Err(AssemblyError::Interleaved);
        }
        if offset != expected {
            return Err(AssemblyError::OutOfOrder {
                expected,
                found: offset,
            });
        }
        if self.open.is_none() && piece.len() as u64 == part.total {
            let small = piece.len() <= COPIED;
            return Ok(Some(if small {
                Bytes::copy_from_slice(&piece)
            } else {
                piece
            }));
        }
        let begun = || (part, Content::Kept(BytesMut::new()));
        let (_, content) = self.open.get_or_insert_with(begun);
        match content {
            Content::Kept(bytes) => bytes.extend_from_slice(&piece),
            Content::Dropped(len) => *len += piece.len() as u64,
        }
        if content.len() < part.total {
            return Ok(None);
        }
        let (_, content) = self.open.take().expect("just filled");
        Ok(match content {
            Content::Kept(bytes) => Some(bytes.freeze()),
            Content::Dropped(_) => None,
        })
    }

    /// How much of a partial has come, while one is coming.
    pub(crate) fn so_far(&self) -> Option<u64> {
        self.open.as_ref().map(|(_, content)| content.len())
    }

    /// The rest of the partial that is coming is of no use.
    pub(crate) fn drop_rest(&mut self) {
        if let Some((_, content)) = &mut self.open {
            *content = Content::Dropped(content.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::Incarnation;

    fn part(node: u64, total: u64) -> Part {
        Part {
            lease: LeaseId {
                incarnation: Incarnation(1),
                counter: 1,
            },
            node: Node::leaf(node),
            total,
            busy_us: 0,
        }
    }

    #[test]
    fn pieces_come_together() {
        let mut assembly = Assembly::default();
        let mut push = |offset, piece: &'static str| {
            assembly
                .push(part(0, 7), offset, Bytes::from(piece))
                .unwrap()
        };
        assert_eq!(push(0, "abc"), None);
        assert_eq!(push(3, "de"), None);
        assert_eq!(push(5, "fg"), Some(Bytes::from("abcdefg")));
        assert_eq!(push(0, "whole!!"), Some(Bytes::from("whole!!")));
        assert_eq!(
            assembly.push(part(1, 0), 0, Bytes::new()),
            Ok(Some(Bytes::new()))
        );
        assert!(assembly.open.is_none());
    }

    #[test]
    fn what_is_of_no_use_passes_in_order() {
        let mut assembly = Assembly::default();
        let push = |assembly: &mut Assembly, offset, piece: &'static str| {
            assembly.push(part(0, 7), offset, Bytes::from(piece))
        };
        assert_eq!(push(&mut assembly, 0, "abc"), Ok(None));
        assembly.drop_rest();
        assert_eq!(assembly.so_far(), Some(3));
        assert!(push(&mut assembly, 4, "e").is_err());
        assert_eq!(push(&mut assembly, 3, "defg"), Ok(None));
        assert_eq!(assembly.so_far(), None);
        assert_eq!(
            push(&mut assembly, 0, "whole!!"),
            Ok(Some(Bytes::from("whole!!")))
        );
    }

    #[test]
    fn what_is_out_of_order_is_an_error() {
        let mut assembly = Assembly::default();
        let piece = || Bytes::from("abc");
        let late = AssemblyError::OutOfOrder {
            expected: 0,
            found: 3,
        };
        assert_eq!(assembly.push(part(0, 9), 3, piece()), Err(late));
        assert_eq!(assembly.push(part(0, 9), 0, piece()), Ok(None));
        assert_eq!(
            assembly.push(part(1, 9), 3, piece()),
            Err(AssemblyError::Interleaved)
        );
        assert_eq!(
            assembly.push(part(0, 8), 3, piece()),
            Err(AssemblyError::Interleaved)
        );
        let twice = AssemblyError::OutOfOrder {
            expected: 3,
            found: 0,
        };
        assert_eq!(assembly.push(part(0, 9), 0, piece()), Err(twice));
        let large = AssemblyError::TooLarge(MAX_PARTIAL + 1);
        assert_eq!(
            Assembly::default().push(part(0, MAX_PARTIAL + 1), 0, piece()),
            Err(large)
        );
    }
}

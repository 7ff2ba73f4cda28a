//! Frames: a postcard header, then bulk bytes for the messages that carry some.
//!
//! Decoding borrows: a frame's bulk is a slice of the frame, and a peer's bytes
//! come to a value or to a [`DecodeError`], never to a panic.

use crate::limits::{MAX_FRAME, MAX_LIST, MAX_PARAMS, MAX_TEXT, PIECE};
use crate::message::{Hello, ToCoordinator, ToWorker};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// Why a frame was refused. The connection it came on ends with this reason.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are allowed")]
    TooLarge(usize),
    /// Not a message of this protocol.
    #[error("not a message of this protocol")]
    Malformed,
    /// Bytes where none belong, none where some do, or more than a piece.
    #[error("{0} bulk bytes where this message cannot have them")]
    Bulk(usize),
    /// A field past its limit.
    #[error("{0} is past its limit")]
    Limit(&'static str),
}

/// A message of one direction; what the codec must know of it.
pub trait Message: Serialize + DeserializeOwned {
    /// Whether `bulk` bytes may follow this header.
    fn takes_bulk(&self, bulk: usize) -> bool;
    /// Checks the lengths that a peer chose.
    ///
    /// # Errors
    /// [`DecodeError::Limit`] names the field.
    fn check_limits(&self) -> Result<(), DecodeError>;
}

/// Encodes a message without bulk.
///
/// ```
/// use manyhands_protocol::{codec, message::ToWorker};
/// let frame = codec::encode(&ToWorker::Alive);
/// let (message, bulk) = codec::decode::<ToWorker>(frame.into()).unwrap();
/// assert_eq!((message, bulk.len()), (ToWorker::Alive, 0));
/// ```
///
/// # Panics
/// When our own message breaks a limit.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    encode_with(message, &[])
}

/// Encodes a header and the bulk bytes that follow it into one frame.
///
/// # Panics
/// When our own message breaks a limit.
#[must_use]
pub fn encode_with<M: Message>(message: &M, bulk: &[u8]) -> Vec<u8> {
    let mut frame = encode_before(message, bulk.len());
    frame.extend_from_slice(bulk);
    frame
}

/// Encodes a header, with room for the bulk bytes that the caller appends: just so
/// many, to make it a frame.
///
/// ```
/// use manyhands_protocol::{BlobHash, codec, message::ToWorker};
/// let hash = BlobHash::of(b"many hands");
/// let header = ToWorker::Blob { hash, offset: 0, total: 10 };
/// let mut frame = codec::encode_before(&header, 10);
/// frame.extend_from_slice(b"many hands");
/// assert_eq!(frame, codec::encode_with(&header, b"many hands"));
/// ```
///
/// # Panics
/// When our own message breaks a limit.
#[must_use]
pub fn encode_before<M: Message>(message: &M, bulk: usize) -> Vec<u8> {
    assert!(message.takes_bulk(bulk), "bulk does not fit the message");
    let room = Vec::with_capacity(bulk + 96);
    let frame = postcard::to_extend(message, room).expect("messages can be encoded");
    let len = frame.len() + bulk;
    assert!(len <= MAX_FRAME, "a frame of {len} bytes");
    frame
}

/// Decodes a frame into its message and its bulk, a slice of the same memory.
///
/// # Errors
/// For whatever is not exactly one message within its limits.
pub fn decode<M: Message>(frame: Bytes) -> Result<(M, Bytes), DecodeError> {
    if frame.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge(frame.len()));
    }
    let (message, rest) =
        postcard::take_from_bytes::<M>(&frame).map_err(|_| DecodeError::Malformed)?;
    let bulk = frame.slice(frame.len() - rest.len()..);
    if !message.takes_bulk(bulk.len()) {
        return Err(DecodeError::Bulk(bulk.len()));
    }
    message.check_limits()?;
    Ok((message, bulk))
}

/// The version a first frame names, readable across all versions; `None` if it
/// is no hello at all.
#[must_use]
pub fn hello_version(frame: &[u8]) -> Option<u16> {
    match frame {
        [0, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    }
}

fn at_most(len: usize, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if len > limit {
        return Err(DecodeError::Limit(what));
    }
    Ok(())
}

fn piece_fits(bulk: usize, offset: u64, total: u64) -> bool {
    let end = offset.checked_add(bulk as u64);
    let whole = end.is_some_and(|end| end <= total);
    // An empty blob or partial is one empty piece.
    whole && bulk <= PIECE && (bulk > 0 || total == 0)
}

impl Message for ToCoordinator {
    fn takes_bulk(&self, bulk: usize) -> bool {
        match self {
            Self::Partial { offset, total, .. } => piece_fits(bulk, *offset, *total),
            _ => bulk == 0,
        }
    }

    fn check_limits(&self) -> Result<(), DecodeError> {
        match self {
            Self::Hello(Hello { name, held, .. }) => {
                at_most(name.len(), 256, "a worker's name")?;
                at_most(held.len(), MAX_LIST, "the list of leases held")
            }
            Self::Need(hashes) => at_most(hashes.len(), MAX_LIST, "the list of blobs"),
            Self::Failed { failure, .. } | Self::Unusable { failure, .. } => {
                at_most(failure.message.len(), MAX_TEXT, "a failure's text")
            }
            Self::Log { text, .. } => at_most(text.len(), MAX_TEXT, "a log line"),
            _ => Ok(()),
        }
    }
}

impl Message for ToWorker {
    fn takes_bulk(&self, bulk: usize) -> bool {
        match self {
            Self::Blob { offset, total, .. } | Self::Halves { offset, total, .. } => {
                piece_fits(bulk, *offset, *total)
            }
            _ => bulk == 0,
        }
    }

    fn check_limits(&self) -> Result<(), DecodeError> {
        match self {
            Self::Job(header) => at_most(header.params.len(), MAX_PARAMS, "the parameters"),
            Self::Grant { inputs, .. } => at_most(inputs.len(), MAX_LIST, "the list of segments"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

//! What parent and compute child say to each other over the child's standard
//! input and output, and its framing: the lengths of header and bulk as `u32`
//! and `u64` (little endian), the header in postcard, the bulk as it is. Both
//! ends are one binary, so there are no versions.

use bytes::Bytes;
use manyhands_protocol::{BlobHash, Failure, JobId, Operand, Split};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// Before the header: two lengths.
pub(crate) const PREFIX: usize = 12;

/// Headers carry lists of segments and texts, never bulk.
const MAX_HEADER: usize = 64 << 20;

/// From the parent to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first command, once.
    Start {
        slots: u32,
        cache: Option<String>,
    },
    /// Bulk: the module. It is compiled at once.
    PutModule {
        module: BlobHash,
        memory: u64,
    },
    DropModule {
        module: BlobHash,
        memory: u64,
    },
    /// Of a module that was put before. Bulk: the parameters, then the files, end
    /// to end.
    Load {
        job: JobId,
        module: BlobHash,
        limits: JobLimits,
        split: Option<Split>,
        lengths: LoadLengths,
    },
    Unload {
        job: JobId,
    },
    /// Bulk: the segment.
    PutSegment {
        hash: BlobHash,
    },
    /// Of so many bytes, in sealed memory, which comes with this command (Linux).
    ShareSegment {
        hash: BlobHash,
        len: u64,
    },
    /// So many bytes of a file from there on; the file, which may have changed since
    /// it was hashed, comes with this command (Linux).
    ReadSegment {
        hash: BlobHash,
        offset: u64,
        len: u64,
    },
    DropSegment {
        hash: BlobHash,
    },
    /// Bulk: the arguments, end to end.
    Work {
        slot: u32,
        ticket: u64,
        job: JobId,
        /// Short work that somebody waits for.
        call: bool,
        work: WorkHeader,
    },
    /// Stop all work of the slot up to and including this ticket.
    Cancel {
        slot: u32,
        ticket: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobLimits {
    /// In bytes.
    pub(crate) memory: u64,
    /// The longest one task may take, in microseconds.
    pub(crate) task_micros: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadLengths {
    pub(crate) params: u64,
    pub(crate) files: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MergeLengths(pub(crate) Vec<Operand<u64>>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WorkHeader {
    Open,
    Run {
        first: u64,
        count: u64,
        single_step: bool,
        segments: Vec<(u64, BlobHash)>,
    },
    /// Bulk: the partials, in order.
    Merge(MergeLengths),
    /// Bulk: the same of one after the other.
    Merges(Vec<MergeLengths>),
    /// Bulk: all partials of a job, in order.
    Whole(MergeLengths),
    /// Bulk: the root's partial.
    Finish,
}

/// Appends one of the things that some work came to: its length in little-endian order, and its bytes.
pub(crate) fn add_outcome(joined: &mut Vec<u8>, outcome: &[u8]) {
    joined.extend_from_slice(&(outcome.len() as u64).to_le_bytes());
    joined.extend_from_slice(outcome);
}

/// The so many things that [`Work::Merges`](crate::compute::Work::Merges) or
/// [`Work::Whole`](crate::compute::Work::Whole) came to, in their order; `None` where these
/// are not the bytes of such work.
#[must_use]
pub fn outcomes(mut joined: Bytes, count: usize) -> Option<Vec<Bytes>> {
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, _) = joined.split_first_chunk()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        joined = joined.split_off(size_of::<u64>());
        if len > joined.len() {
            return None;
        }
        outcomes.push(joined.split_to(len));
    }
    joined.is_empty().then_some(outcomes)
}

/// From the child to the parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The slots wait for work.
    Ready,
    Loaded {
        job: JobId,
    },
    LoadFailed {
        job: JobId,
        reason: String,
    },
    /// Bulk: what the work came to.
    Done {
        slot: u32,
        ticket: u64,
        busy_micros: u64,
    },
    Failed {
        slot: u32,
        ticket: u64,
        failure: Failure,
        at: Option<u64>,
    },
    Stopped {
        slot: u32,
        ticket: u64,
    },
    /// What was to be read of a file is not what was hashed.
    Unread {
        slot: u32,
        ticket: u64,
        hash: BlobHash,
    },
    /// The slice took longer than a task may; the child ends after this.
    Overdue {
        slot: u32,
        ticket: u64,
        first: u64,
        count: u64,
    },
    Log {
        slot: u32,
        job: JobId,
        line: String,
    },
    Progress {
        slot: u32,
        ticket: u64,
        tasks: f64,
    },
}

/// The lengths that begin a frame.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    pub(crate) header: usize,
    pub(crate) bulk: usize,
}

impl Prefix {
    pub(crate) fn decode(bytes: [u8; PREFIX]) -> io::Result<Self> {
        let (header, bulk) = bytes.split_at(4);
        let header = u32::from_le_bytes(header.try_into().expect("4 bytes")) as usize;
        let bulk = u64::from_le_bytes(bulk.try_into().expect("8 bytes"));
        let bulk = usize::try_from(bulk).map_err(io::Error::other)?;
        if header > MAX_HEADER {
            return Err(io::Error::other("not a frame of the compute child"));
        }
        Ok(Self { header, bulk })
    }
}

/// Appends prefix and header to `buffer`; the bulk is to follow.
pub(crate) fn encode_header<T: Serialize>(header: &T, bulk: usize, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX]);
    // Our own types and a growing vector: neither can refuse.
    postcard::to_io(header, &mut *buffer).expect("our own types serialise");
    let length = u32::try_from(buffer.len() - start - PREFIX).expect("headers are small");
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + PREFIX].copy_from_slice(&(bulk as u64).to_le_bytes());
}

pub(crate) fn decode_header<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

/// Reads a whole frame; `None` at the end of the stream.
pub(crate) fn read_frame<T: DeserializeOwned>(
    reader: &mut impl Read,
) -> io::Result<Option<(T, Bytes)>> {
    let mut prefix = [0; PREFIX];
    match reader.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let prefix = Prefix::decode(prefix)?;
    let header = read_exactly(reader, prefix.header)?;
    let bulk = read_exactly(reader, prefix.bulk)?;
    Ok(Some((decode_header(&header)?, bulk.into())))
}

fn read_exactly(reader: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    let read = reader.take(len as u64).read_to_end(&mut bytes)?;
    if read < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_cut_one_is_an_error() {
        let report = Report::Done {
            slot: 3,
            ticket: 9,
            busy_micros: 77,
        };
        let mut bytes = Vec::new();
        encode_header(&report, 4, &mut bytes);
        bytes.extend_from_slice(b"bulk");
        let mut reader = bytes.as_slice();
        let frame = read_frame::<Report>(&mut reader).unwrap();
        assert_eq!(frame, Some((report, Bytes::from_static(b"bulk"))));
        assert_eq!(read_frame::<Report>(&mut reader).unwrap(), None);
        assert!(read_frame::<Report>(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(read_frame::<Report>(&mut &b"running 1 test: garbage"[..]).is_err());
    }

    #[test]
    fn outcomes_come_apart_and_nonsense_is_none() {
        let mut joined = Vec::new();
        for outcome in [&b"one"[..], b"", b"three"] {
            add_outcome(&mut joined, outcome);
        }
        let apart = |bytes: &[u8], merges| outcomes(Bytes::copy_from_slice(bytes), merges);
        let all = apart(&joined, 3).unwrap();
        assert_eq!(all, ["one", "", "three"]);
        assert_eq!(apart(&joined, 2), None, "there are more");
        assert_eq!(apart(&joined, 4), None, "there are fewer");
        assert_eq!(apart(&joined[..joined.len() - 1], 3), None);
        assert_eq!(apart(&[255; 12], 1), None);
    }
}

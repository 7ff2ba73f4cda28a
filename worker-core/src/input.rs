//! What a driver tells the session: the network's, the slots' and people's
//! events.

use crate::Micros;
use bytes::Bytes;
use manyhands_protocol::{BlobHash, Failure, JobId};

/// What has come of looking for a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Its bytes, which the driver has hashed and found to be those.
    Bytes(Bytes),
    /// An input segment that slots read where it lies: the driver has put it already,
    /// as [`Output::PutBlob`](crate::Output::PutBlob) would. It is dropped like any.
    Put,
    /// Other bytes or none: the coordinator is asked.
    Nothing,
}

/// Something that happened. Given to [`Session::handle`](crate::Session::handle).
///
/// Each command to a slot carries a ticket, and the driver ends it with exactly
/// one of `SlotDone`, `SlotFailed`, `SlotStopped`, `SlotLost`, `SlotUnread` and
/// `SlotCrashed`, also after a `Cancel`. A report whose ticket is not the
/// slot's current one is ignored.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline of [`Session::next_deadline`](crate::Session::next_deadline)
    /// has come. (Every input looks at the time; this one brings nothing else.)
    Tick,

    /// The socket that [`Output::Connect`](crate::Output::Connect) asked for is
    /// open.
    Connected {
        /// Whether the driver may be able to read blobs itself while it is: each is
        /// [looked for](crate::Output::Fetch) before the coordinator is asked.
        near: bool,
    },
    /// The socket could not be opened, or was closed by the other side or by an
    /// error. Not told after [`Output::Disconnect`](crate::Output::Disconnect):
    /// the driver drops that socket and what may still come from it.
    Disconnected,
    /// A binary frame came.
    Frame(Bytes),
    /// What has come of an [`Output::Fetch`](crate::Output::Fetch).
    Fetched {
        /// Which blob.
        hash: BlobHash,
        /// What there was.
        found: Found,
    },
    /// How many bytes of the frames given out so far are not yet with the
    /// operating system (a browser's `bufferedAmount`). To be told whenever that
    /// number has fallen; bulk is held back while it is large.
    Buffered {
        /// Bytes, 0 when all is written.
        bytes: u64,
    },

    /// The job of an [`Output::LoadJob`](crate::Output::LoadJob) can run.
    JobLoaded {
        /// Which job.
        job: JobId,
    },
    /// The job of an `Output::LoadJob` cannot run here.
    JobUnusable {
        /// Which job.
        job: JobId,
        /// What to tell its author.
        failure: Failure,
    },

    /// The slot ended its work well.
    SlotDone {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
        /// What the work came to.
        partial: Bytes,
        /// Slot time it took, in microseconds.
        busy_us: u64,
    },
    /// The guest failed, and the blame lies in this slot's work alone. An
    /// overdue slice is a failure of the kind
    /// [`Timeout`](manyhands_protocol::FailureKind::Timeout).
    SlotFailed {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
        /// What happened.
        failure: Failure,
        /// The task that was being run, where the slice was of one task; for a
        /// time-out this task is then blamed without another try.
        at: Option<u64>,
    },
    /// The slot stopped before its end because of a `Cancel`.
    SlotStopped {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
    },
    /// The slot's work was lost by someone else's fault: another slot's task was
    /// overdue and their common process had to end. It is run again.
    SlotLost {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
    },
    /// A blob that the driver had [put](Found::Put) by itself is not what it was when
    /// the slot came to read it: the coordinator is asked for it, and the work run again.
    SlotUnread {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
        /// Which blob.
        hash: BlobHash,
    },
    /// The process that ran the slot died, and it is not known which of the
    /// slots working then is to blame (each gets this input). Each of them is run
    /// again alone.
    SlotCrashed {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
        /// What is known of the death, for people.
        message: String,
    },
    /// How far a `Work::Run` has come: advisory, as often as is convenient.
    SlotProgress {
        /// Which slot.
        slot: u16,
        /// The ticket of its command.
        ticket: u64,
        /// Tasks done so far (whole ones).
        tasks: u64,
    },
    /// A line from a guest. The session limits their rate.
    Log {
        /// Its job.
        job: JobId,
        /// The line.
        text: String,
    },

    /// Slots that may be used from now on are `0..slots`. Those past it finish
    /// what they run and get no more. 0 pauses: what has not begun is returned,
    /// what is half done is handed in. Before `Connected` it goes into the hello.
    Capacity {
        /// At most [`MAX_SLOTS`](manyhands_protocol::limits::MAX_SLOTS).
        slots: u16,
        /// Whether the page is hidden.
        hidden: bool,
    },
    /// Leave: begin nothing new, hand in what is done, return the rest, say
    /// goodbye; then comes [`Output::Finished`](crate::Output::Finished). May be
    /// repeated with an earlier time.
    Drain {
        /// Say goodbye then at the latest; what still runs is cancelled. A time
        /// that has passed leaves at once.
        by: Micros,
    },
}

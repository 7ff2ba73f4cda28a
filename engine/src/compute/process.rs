//! One child process: started, written to and read from. Neither direction
//! waits for the other.

use super::Config;
use super::stdin::{self, Stdin};
use crate::child::EXIT_OVERDUE;
use crate::child::wire::{Command, PREFIX, Prefix, Report, decode_header, encode_header};
use crate::given::Given;
use bytes::Bytes;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;

/// How long a child that has closed its output may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// Parts below this are copied behind what is written before them.
const SMALL: usize = 4096;

/// What is to be written.
struct Frame {
    header: Vec<u8>,
    with: With,
}

/// What comes with a header.
enum With {
    /// Parts behind it.
    Bulk(Vec<Bytes>),
    File(Given),
}

/// A running child.
pub(super) struct Process {
    child: Child,
    frames: mpsc::UnboundedSender<Frame>,
    reports: mpsc::Receiver<(Report, Bytes)>,
}

impl Process {
    /// Starts a child and sends it its settings.
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let (ours, theirs) = stdin::open()?;
        let mut command = tokio::process::Command::new(&config.program);
        command
            .args(&config.args)
            .stdin(theirs)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in a terminal goes to its whole process group; the parent
        // drains its work then, and the child has to finish it.
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(0x0000_0200); // CREATE_NEW_PROCESS_GROUP
        let mut child = command.spawn()?;
        let input = Stdin::of(ours, &mut child);
        let output = child.stdout.take().expect("piped");
        widen(&output);
        let (frames, inbox) = mpsc::unbounded_channel();
        // Bounded: a child that reports faster than it is listened to waits.
        let (outbox, reports) = mpsc::channel(64);
        tokio::spawn(write(input, inbox));
        tokio::spawn(read(output, outbox));
        let process = Self {
            child,
            frames,
            reports,
        };
        let cache = config.cache.as_ref().and_then(|cache| {
            let text = cache.to_str().map(str::to_owned);
            if text.is_none() {
                tracing::warn!(cache = %cache.display(), "no cache of compiled code: its path is not UTF-8");
            }
            text
        });
        let slots = u32::try_from(config.slots).map_err(io::Error::other)?;
        process.send(&Command::Start { slots, cache }, Vec::new());
        Ok(process)
    }

    /// Queues a command; lost if the child has died, which [`next`](Self::next) tells.
    pub(super) fn send(&self, command: &Command, bulk: Vec<Bytes>) {
        let mut header = Vec::with_capacity(128);
        encode_header(command, bulk.iter().map(Bytes::len).sum(), &mut header);
        let with = With::Bulk(bulk);
        let _ = self.frames.send(Frame { header, with });
    }

    /// Queues a command that memory or a file comes with.
    pub(super) fn send_with(&self, command: &Command, given: Given) {
        let mut header = Vec::with_capacity(128);
        encode_header(command, 0, &mut header);
        let with = With::File(given);
        let _ = self.frames.send(Frame { header, with });
    }

    /// The next report; `None` once the child is silent for ever. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<(Report, Bytes)> {
        self.reports.recv().await
    }

    /// Makes sure that the process is gone, once it is silent; how it ended,
    /// for people.
    pub(super) async fn end(&mut self) -> String {
        let status = match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => match self.child.start_kill() {
                Ok(()) => self.child.wait().await,
                Err(error) => Err(error),
            },
        };
        match status {
            Ok(status) if status.code() == Some(EXIT_OVERDUE) => "a task took too long".to_owned(),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Lets a partial of a MiB through at once: with the usual 64 KiB the child and this
/// process wake each other a dozen times for it, while both have other things to do.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdout) {
    // The most that a user may have unless the system is told otherwise. It takes
    // memory for what is in it alone; who has many pipes may be refused.
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20) {
        tracing::debug!(%error, "partials go through a narrow pipe");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &ChildStdout) {}

/// Writes what is queued, small parts together; until the child has died.
async fn write(mut input: Stdin, mut frames: mpsc::UnboundedReceiver<Frame>) {
    let mut batch: Vec<u8> = Vec::new();
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if write_frame(&mut input, &mut batch, frame).await.is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if input.write_all(&batch).await.is_err() {
            return;
        }
        batch.clear();
    }
}

/// Appends a frame to the batch, or writes both.
async fn write_frame(input: &mut Stdin, batch: &mut Vec<u8>, frame: Frame) -> io::Result<()> {
    let Frame { header, with } = frame;
    match with {
        With::Bulk(parts) => {
            batch.extend_from_slice(&header);
            for part in parts {
                if part.len() < SMALL {
                    batch.extend_from_slice(&part);
                    continue;
                }
                input.write_all(batch).await?;
                input.write_all(&part).await?;
                batch.clear();
            }
        }
        With::File(given) => {
            input.write_all(batch).await?;
            input.write_with(&header, &given).await?;
            batch.clear();
        }
    }
    Ok(())
}

async fn read(output: ChildStdout, reports: mpsc::Sender<(Report, Bytes)>) {
    let mut output = BufReader::with_capacity(64 << 10, output);
    loop {
        match read_report(&mut output).await {
            Ok(report) => {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    tracing::error!(%error, "the compute child speaks nonsense");
                }
                return;
            }
        }
    }
}

async fn read_report(output: &mut BufReader<ChildStdout>) -> io::Result<(Report, Bytes)> {
    let mut prefix = [0; PREFIX];
    output.read_exact(&mut prefix).await?;
    let prefix = Prefix::decode(prefix)?;
    let header = read_exactly(output, prefix.header).await?;
    let bulk = read_exactly(output, prefix.bulk).await?;
    Ok((decode_header(&header)?, bulk.into()))
}

async fn read_exactly(output: &mut BufReader<ChildStdout>, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    let mut part = output.take(len as u64);
    if part.read_to_end(&mut bytes).await? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

//! Watching a job: server-sent events, over as many connections as it takes.

use crate::{Client, ClientError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use manyhands_protocol::JobId;
use manyhands_protocol::api::JobEvent;
use reqwest::Method;
use std::time::Duration;

/// Attempts to connect again, in a row, before watching ends with an error.
const ATTEMPTS: u32 = 6;

/// The pause before the first attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// The largest event that is believed.
const MAX_EVENT: usize = 16 << 20;

/// A job's events, until its end.
///
/// ```no_run
/// # async fn example(client: manyhands_client::Client, job: manyhands_protocol::JobId)
/// # -> Result<(), manyhands_client::ClientError> {
/// use manyhands_protocol::api::JobEvent;
/// let mut watch = client.watch(job);
/// while let Some(event) = watch.next().await? {
///     match event {
///         JobEvent::Job(job) => println!("{} of {}", job.done, job.tasks),
///         JobEvent::Log { text } => println!("{text}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    client: Client,
    job: JobId,
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    buffer: Lines,
    /// Lines shown, and to be passed over after the stream has begun anew.
    shown: u64,
    skip: u64,
    failures: u32,
    over: bool,
}

impl Watch {
    pub(crate) fn new(client: Client, job: JobId) -> Self {
        Self {
            client,
            job,
            body: None,
            buffer: Lines::default(),
            shown: 0,
            skip: 0,
            failures: 0,
            over: false,
        }
    }

    /// The next event; `None` after the one in which the job is over.
    ///
    /// # Errors
    /// When the coordinator refuses, or cannot be reached any more.
    pub async fn next(&mut self) -> Result<Option<JobEvent>, ClientError> {
        while !self.over {
            if let Some(event) = self.buffer.event() {
                if let Some(event) = self.take(event) {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.body.is_none() {
                self.connect().await?;
            }
            let body = self.body.as_mut().expect("connected");
            match body.next().await {
                Some(Ok(piece)) if self.buffer.push(&piece) => self.failures = 0,
                Some(Ok(_)) => return Err(ClientError::NotManyhands(self.client.url().into())),
                Some(Err(error)) => self.lost(self.client.unreachable(error)).await?,
                None => {
                    let reason = "the stream of events ended".into();
                    let url = self.client.url().into();
                    self.lost(ClientError::Unreachable { url, reason }).await?;
                }
            }
        }
        Ok(None)
    }

    /// The event, unless it was shown before.
    fn take(&mut self, event: JobEvent) -> Option<JobEvent> {
        match &event {
            JobEvent::Job(view) => self.over = view.state.is_over(),
            JobEvent::Log { .. } if self.skip > 0 => {
                self.skip -= 1;
                return None;
            }
            JobEvent::Log { .. } => self.shown += 1,
        }
        Some(event)
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let path = format!("jobs/{}/events", self.job);
        loop {
            let request = self.client.request(Method::GET, &path)?;
            match self.client.send(request).await {
                Ok(response) => {
                    self.body = Some(response.bytes_stream().boxed());
                    return Ok(());
                }
                Err(error @ ClientError::Unreachable { .. }) => self.lost(error).await?,
                Err(refused) => return Err(refused),
            }
        }
    }

    /// The connection broke: after a pause there may be another.
    async fn lost(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.body = None;
        self.buffer = Lines::default();
        self.skip = self.shown;
        if self.failures == ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * 2u32.pow(self.failures)).await;
        self.failures += 1;
        Ok(())
    }
}

/// Server-sent events from bytes: fields a line, an empty line between events.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    data: String,
}

impl Lines {
    /// Takes more bytes; false when there is no end of an event.
    fn push(&mut self, piece: &[u8]) -> bool {
        self.bytes.extend_from_slice(piece);
        self.bytes.len() + self.data.len() <= MAX_EVENT
    }

    /// The next whole event. Those of other releases' kinds are passed over.
    fn event(&mut self) -> Option<JobEvent> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line = self.bytes.split_to(end + 1);
            let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
            if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.strip_prefix(b" ").unwrap_or(data);
                self.data.push_str(&String::from_utf8_lossy(data));
            } else if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                if let Ok(event) = serde_json::from_str(&data) {
                    return Some(event);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_bytes_were_cut() {
        let stream = b": keep-alive\n\nevent: log\ndata: {\"event\":\"log\",\"text\":\"one\"}\n\n\
                       data: {\"event\":\"later\"}\n\ndata:{\"event\":\"log\",\"text\":\"t\xc3\xa9\"}\r\n\r\n";
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            let mut texts = Vec::new();
            for piece in stream.chunks(size) {
                assert!(lines.push(piece));
                while let Some(JobEvent::Log { text }) = lines.event() {
                    texts.push(text);
                }
            }
            assert_eq!(texts, ["one", "té"], "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..20).take_while(|_| lines.push(&piece)).count();
        assert_eq!(taken, 16);
    }
}

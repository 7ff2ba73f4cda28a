//! Watching a job: server-sent events, over as many connections as it takes.

use crate::retry::Pauses;
use crate::{Client, ClientError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobEvent, JobView};
use reqwest::Method;
use std::time::Duration;

/// The largest event that is believed.
const MAX_EVENT: usize = 16 << 20;

/// How long a stream may be silent: a coordinator says something every 15
/// seconds, if only that it is there.
const SILENCE: Duration = Duration::from_secs(45);

/// What one who watches learns.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// Something happened to the job.
    Event(JobEvent),
    /// The coordinator does not answer any more. Said once; watching goes on.
    Away {
        /// Why, for people.
        reason: String,
    },
    /// It answers again.
    Back,
}

/// A job's events, until its end.
///
/// A coordinator that does not answer is waited for without end: whoever wants
/// to stop earlier drops the `Watch`. [`next`](Self::next) is safe to cancel.
///
/// ```no_run
/// # async fn example(client: manyhands_client::Client, job: manyhands_protocol::JobId)
/// # -> Result<(), manyhands_client::ClientError> {
/// use manyhands_client::News;
/// use manyhands_protocol::api::JobEvent;
/// let mut watch = client.watch(job);
/// while let Some(news) = watch.next().await? {
///     match news {
///         News::Event(JobEvent::Job(job)) => println!("{} of {}", job.done, job.tasks),
///         News::Event(JobEvent::Log { text }) => println!("{text}"),
///         News::Away { reason } => println!("waiting for the coordinator: {reason}"),
///         News::Back => println!("it is back"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    client: Client,
    job: JobId,
    link: Link,
    pauses: Pauses,
    buffer: Lines,
    /// When the job was submitted, once it was seen: an id may mean another job
    /// on a coordinator that has forgotten all.
    submitted_ms: Option<u64>,
    /// Whether it was said that the coordinator is away.
    away: bool,
    over: bool,
}

/// The way to the events.
enum Link {
    /// To be connected, at once.
    Down,
    /// To be connected after a pause.
    Broken(tokio::time::Instant),
    Up(BoxStream<'static, reqwest::Result<Bytes>>),
}

impl Watch {
    pub(crate) fn new(client: Client, job: JobId) -> Self {
        Self {
            client,
            job,
            link: Link::Down,
            pauses: Pauses::default(),
            buffer: Lines::default(),
            submitted_ms: None,
            away: false,
            over: false,
        }
    }

    /// Takes for another job whatever has this id and is not the one that was
    /// submitted.
    #[must_use]
    pub fn of(mut self, job: &JobView) -> Self {
        self.submitted_ms = Some(job.submitted_ms);
        self
    }

    /// The next news; `None` after the event in which the job is over.
    ///
    /// # Errors
    /// When the coordinator refuses, when it has forgotten the job, and when
    /// something else answers.
    pub async fn next(&mut self) -> Result<Option<News>, ClientError> {
        while !self.over {
            if let Some(event) = self.buffer.event() {
                return self.take(event).map(Some);
            }
            let news = match &mut self.link {
                Link::Up(body) => match tokio::time::timeout(SILENCE, body.next()).await {
                    Ok(Some(Ok(piece))) if self.buffer.push(&piece) => {
                        self.pauses = Pauses::default();
                        None
                    }
                    Ok(Some(Ok(_))) => {
                        return Err(ClientError::NotManyhands(self.client.url().into()));
                    }
                    Ok(Some(Err(_))) => self.lost(&self.cut("the connection broke")),
                    Ok(None) => self.lost(&self.cut("the stream of events ended")),
                    Err(_) => self.lost(&self.cut("nothing came for a while")),
                },
                Link::Broken(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.connect().await?
                }
                Link::Down => self.connect().await?,
            };
            if news.is_some() {
                return Ok(news);
            }
        }
        Ok(None)
    }

    fn take(&mut self, event: JobEvent) -> Result<News, ClientError> {
        if let JobEvent::Job(view) = &event {
            let submitted = *self.submitted_ms.get_or_insert(view.submitted_ms);
            if submitted != view.submitted_ms {
                return Err(ClientError::Forgotten(self.job));
            }
            self.over = view.state.is_over();
        }
        Ok(News::Event(event))
    }

    async fn connect(&mut self) -> Result<Option<News>, ClientError> {
        let path = format!("jobs/{}/events", self.job);
        let mut request = self.client.request(Method::GET, &path)?;
        if let Some(id) = &self.buffer.last_id {
            request = request.header("Last-Event-ID", id);
        }
        match self.client.send(request).await {
            Ok(response) => {
                self.link = Link::Up(response.bytes_stream().boxed());
                Ok(std::mem::take(&mut self.away).then_some(News::Back))
            }
            Err(error) if error.may_pass() => Ok(self.lost(&error)),
            Err(error) if error.code() == Some("not_found") && self.submitted_ms.is_some() => {
                Err(ClientError::Forgotten(self.job))
            }
            Err(refused) => Err(refused),
        }
    }

    /// There is no connection any more: after a pause there may be another. What
    /// is said of it, if nothing was yet.
    fn lost(&mut self, error: &ClientError) -> Option<News> {
        self.buffer.start_anew();
        self.link = Link::Broken(tokio::time::Instant::now() + self.pauses.next());
        let reason = match error {
            ClientError::Unreachable { reason, .. } | ClientError::Cut { reason, .. } => {
                reason.clone()
            }
            other => other.to_string(),
        };
        let first = !std::mem::replace(&mut self.away, true);
        first.then_some(News::Away { reason })
    }

    fn cut(&self, reason: &str) -> ClientError {
        ClientError::Cut {
            url: self.client.url().into(),
            reason: reason.into(),
        }
    }
}

/// Server-sent events from bytes: fields a line, an empty line between events.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    data: String,
    id: Option<String>,
    /// The id of the last whole event that had one. The coordinator, told of
    /// it, leaves out what was seen; one that was started anew knows from it
    /// that its lines are others.
    last_id: Option<String>,
}

impl Lines {
    /// Takes more bytes; false when there is no end of an event.
    fn push(&mut self, piece: &[u8]) -> bool {
        self.bytes.extend_from_slice(piece);
        self.bytes.len() + self.data.len() <= MAX_EVENT
    }

    /// What is half there will not be completed.
    fn start_anew(&mut self) {
        self.bytes.clear();
        self.data.clear();
        self.id = None;
    }

    /// The next whole event. Those of other releases' kinds are passed over.
    fn event(&mut self) -> Option<JobEvent> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line = self.bytes.split_to(end + 1);
            let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
            if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.strip_prefix(b" ").unwrap_or(data);
                self.data.push_str(&String::from_utf8_lossy(data));
            } else if let Some(id) = line.strip_prefix(b"id:") {
                let id = id.strip_prefix(b" ").unwrap_or(id);
                // It becomes a header: what cannot be one is no id of ours.
                let fits = id.len() <= 64 && id.iter().all(u8::is_ascii_graphic);
                self.id = fits.then(|| String::from_utf8_lossy(id).into_owned());
            } else if line.is_empty() {
                if let Some(id) = self.id.take() {
                    self.last_id = Some(id);
                }
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
    fn the_last_id_is_that_of_a_whole_event() {
        let mut lines = Lines::default();
        assert!(
            lines.push(b"id: 7-0\ndata: {\"event\":\"log\",\"text\":\"a\"}\n\nid: 7-1\ndata: {")
        );
        assert!(lines.event().is_some() && lines.event().is_none());
        assert_eq!(lines.last_id.as_deref(), Some("7-0"));
        lines.start_anew();
        assert!(lines.push(b"data: {\"event\":\"log\",\"text\":\"b\"}\n\n"));
        assert!(lines.event().is_some());
        assert_eq!(
            lines.last_id.as_deref(),
            Some("7-0"),
            "half an event has no id"
        );
        assert!(lines.push(b"id: a\tb\n\n") && lines.event().is_none());
        assert_eq!(
            lines.last_id.as_deref(),
            Some("7-0"),
            "not fit for a header"
        );
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..20).take_while(|_| lines.push(&piece)).count();
        assert_eq!(taken, 16);
    }
}

//! One plain HTTP request, for what the client library does not ask: health and
//! metrics. Knows as much of HTTP as that takes.

use std::io::{self, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The status and the body of `http://HOST:PORT/PATH`.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn get(url: &str) -> io::Result<(u16, String)> {
    let wrong = |what: &str| io::Error::new(ErrorKind::InvalidData, format!("{url}: {what}"));
    let rest = url.strip_prefix("http://");
    let (host, path) = rest
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| wrong("no address of a page"))?;
    let mut stream = TcpStream::connect(host).await?;
    // To 1.0 nobody answers in chunks, nor leaves the connection open.
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| wrong("no whole answer"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| wrong("no status"))?, body.to_owned()))
}

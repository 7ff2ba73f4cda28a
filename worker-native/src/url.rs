//! From the link that people get to the socket's address.

/// A text that does not lead to a coordinator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// There is no TLS here yet.
    #[error(
        "{0}: encrypted connections are not supported yet; use http:// (a proxy may add TLS for browsers)"
    )]
    Encrypted(String),
    /// Not an address.
    #[error("{0:?} is not a coordinator's address; write http://HOST:PORT")]
    Invalid(String),
}

/// The WebSocket address of the coordinator at `link`: an `http://` or `ws://`
/// URL, or `HOST:PORT`.
pub(crate) fn socket_url(link: &str) -> Result<String, UrlError> {
    let invalid = || UrlError::Invalid(link.to_owned());
    let rest = match link.trim().split_once("://") {
        None => link.trim(),
        Some(("http" | "ws", rest)) => rest,
        Some(("https" | "wss", _)) => return Err(UrlError::Encrypted(link.to_owned())),
        Some(_) => return Err(invalid()),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let place = rest[..end].trim_end_matches('/');
    let place = place.strip_suffix("/ws").unwrap_or(place);
    let url = format!("ws://{place}/ws");
    let host = place.split('/').next().unwrap_or_default();
    let parsed: Result<tokio_tungstenite::tungstenite::http::Uri, _> = url.parse();
    if host.is_empty() || parsed.is_err() {
        return Err(invalid());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_socket() {
        for (link, socket) in [
            ("http://127.0.0.1:7272", "ws://127.0.0.1:7272/ws"),
            ("http://127.0.0.1:7272/", "ws://127.0.0.1:7272/ws"),
            (
                "http://lab.example/hands/?threads=2#now",
                "ws://lab.example/hands/ws",
            ),
            ("lab:7272", "ws://lab:7272/ws"),
            ("ws://lab:7272/ws", "ws://lab:7272/ws"),
            ("[::1]:7272", "ws://[::1]:7272/ws"),
        ] {
            assert_eq!(socket_url(link), Ok(socket.to_owned()), "{link}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(
            socket_url("https://lab/"),
            Err(UrlError::Encrypted("https://lab/".into()))
        );
        for link in ["", "http://", "ftp://lab", "http://two words", "/path"] {
            assert_eq!(
                socket_url(link),
                Err(UrlError::Invalid(link.into())),
                "{link}"
            );
        }
    }
}

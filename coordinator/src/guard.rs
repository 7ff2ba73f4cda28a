//! Who may ask: the checks of `Host`, `Origin` and the key, on every request.
//!
//! A page of some other site, open in the operator's browser, must not reach a
//! coordinator on the operator's machine: neither as itself (`Origin`) nor
//! under a name of its own that it points here (`Host`, DNS rebinding).

use crate::error::ApiError;
use axum::http::{HeaderMap, Method, Uri, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is checked, settled when the coordinator starts.
#[derive(Debug)]
pub(crate) struct Guard {
    listen: IpAddr,
    /// Names beyond addresses, in lower case.
    names: Vec<String>,
    key: Option<String>,
}

/// A `Host` that was found good: safe to be put into a header.
#[derive(Clone, Debug)]
pub(crate) struct GoodHost(pub(crate) String);

impl Guard {
    /// Beyond loopback, and where one was set, `key` is asked for by whatever
    /// changes state.
    pub(crate) fn new(listen: SocketAddr, allow_hosts: &[String], key: Option<String>) -> Self {
        Self {
            listen: listen.ip(),
            names: allow_hosts
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            key,
        }
    }

    /// Lets a request through or says why not.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<GoodHost, ApiError> {
        let host = self.host(uri, headers)?;
        check_origin(headers, &host)?;
        if needs_key(method, uri.path()) {
            self.check_key(uri, headers)?;
        }
        Ok(GoodHost(host))
    }

    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
        let named = headers
            .get(header::HOST)
            .map(|host| host.to_str().unwrap_or_default());
        let host = named
            .or_else(|| uri.authority().map(|host| host.as_str()))
            .unwrap_or_default();
        let refused = || {
            ApiError::Forbidden(format!(
                "this coordinator does not answer to the name {host:?}; \
                 --allow-host NAME lets it"
            ))
        };
        let name = without_port(host).ok_or_else(refused)?;
        if self.serves(&name.to_ascii_lowercase()) {
            Ok(host.to_owned())
        } else {
            Err(refused())
        }
    }

    /// Addresses cannot be pointed elsewhere as names can: beyond loopback any
    /// of them is this machine's, or a forwarder's before it.
    fn serves(&self, name: &str) -> bool {
        let address = match name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        match address {
            Some(address) => address.is_loopback() || !self.listen.is_loopback(),
            None => name == "localhost" || self.names.iter().any(|known| known == name),
        }
    }

    fn check_key(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let given = bearer
            .or_else(|| key_of_query(uri.query()?))
            .unwrap_or_default();
        // Hashes compare in constant time.
        if blake3::hash(given.as_bytes()) == blake3::hash(key.as_bytes()) {
            return Ok(());
        }
        Err(ApiError::Forbidden(
            "this needs the key that the coordinator printed when it started: \
             --key KEY, or the header `Authorization: Bearer KEY`"
                .into(),
        ))
    }
}

/// Reading and lending a hand are free; uploads may be read by those who may
/// upload.
fn needs_key(method: &Method, path: &str) -> bool {
    let reads = method == Method::GET || method == Method::HEAD;
    let lends = path == "/api/v1/goodbye";
    (!reads && !lends) || path.starts_with("/api/v1/blobs")
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let scheme_less = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    if scheme_less.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::Forbidden(format!(
        "a page of {origin:?} may not use this coordinator"
    )))
}

/// The name of `name[:port]`, if it is one that can be put into a header.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let digits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (digits && !name.is_empty() && name.bytes().all(plain)).then_some(name)
}

fn key_of_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("key="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        listen: &str,
        method: Method,
        path: &'static str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<(), String> {
        let allowed = ["lab.example".to_owned()];
        let key = (!listen.starts_with("127.")).then(|| "sesame".to_owned());
        let guard = Guard::new(listen.parse().unwrap(), &allowed, key);
        let map = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let outcome = guard.check(&method, &Uri::from_static(path), &map.collect());
        outcome.map(drop).map_err(|error| error.to_string())
    }

    const LOCAL: &str = "127.0.0.1:7272";
    const OPEN: &str = "0.0.0.0:7272";

    #[test]
    fn hosts() {
        let host = |listen, host| check(listen, Method::GET, "/", &[(header::HOST, host)]);
        for good in [
            "localhost:7272",
            "127.0.0.1:9",
            "[::1]:7272",
            "LAB.example",
            "localhost",
        ] {
            assert_eq!(host(LOCAL, good), Ok(()), "{good}");
            assert_eq!(host(OPEN, good), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:7272",
            "",
            "localhost:x",
            "a;b",
            "localhost.evil",
        ] {
            assert!(host(LOCAL, bad).is_err(), "{bad}");
            assert!(host(OPEN, bad).is_err(), "{bad}");
        }
        assert!(host(LOCAL, "192.168.1.7:7272").is_err());
        assert_eq!(host(OPEN, "192.168.1.7:7272"), Ok(()));
        assert_eq!(host(OPEN, "[fe80::1]:7272"), Ok(()));
        assert!(
            check(LOCAL, Method::GET, "/", &[]).is_err(),
            "no host at all"
        );
    }

    #[test]
    fn origins() {
        let origin = |origin| {
            let headers = [(header::HOST, "localhost:7272"), (header::ORIGIN, origin)];
            check(LOCAL, Method::POST, "/api/v1/jobs", &headers)
        };
        assert_eq!(origin("http://localhost:7272"), Ok(()));
        let foreign = "a page of \"http://evil.example\" may not use this coordinator";
        assert_eq!(origin("http://evil.example"), Err(foreign.into()));
        for bad in [
            "null",
            "http://localhost:8000",
            "http://127.0.0.1:7272",
            "ws://localhost:7272",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_key_is_for_what_changes_state() {
        let host = (header::HOST, "192.168.1.7:7272");
        let free = |method, path| check(OPEN, method, path, std::slice::from_ref(&host));
        for path in [
            "/",
            "/ws",
            "/api/v1/jobs",
            "/api/v1/jobs/1/result",
            "/api/v1/status",
        ] {
            assert_eq!(free(Method::GET, path), Ok(()), "{path}");
        }
        assert_eq!(free(Method::POST, "/api/v1/goodbye"), Ok(()));
        assert!(
            free(Method::POST, "/api/v1/jobs")
                .unwrap_err()
                .contains("--key")
        );
        assert!(free(Method::GET, "/api/v1/blobs/00").is_err());
        assert_eq!(free(Method::POST, "/api/v1/jobs?a=b&key=sesame"), Ok(()));
        let bearer = |key| {
            let headers = [host.clone(), (header::AUTHORIZATION, key)];
            check(OPEN, Method::POST, "/api/v1/jobs", &headers)
        };
        assert_eq!(bearer("Bearer sesame"), Ok(()));
        assert!(bearer("Bearer sesam").is_err());
        assert!(bearer("sesame").is_err());
    }
}

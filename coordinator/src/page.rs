//! The volunteers' page: the files of `www/`, embedded when this crate is built,
//! with the headers they are served under. Nothing here is computed per user.

use crate::guard::GoodHost;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use manyhands_protocol::BlobHash;
use std::path::{Component, Path};

struct Asset {
    name: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

const NOT_BUILT: &str = "The page is not built: run `cargo xtask web`, then build and start \
                         the coordinator again. Native workers do not need it.\n";

/// Whether the volunteers' page was there when this program was built. Without
/// it a coordinator still serves native workers and the API.
#[must_use]
pub fn page_is_built() -> bool {
    ASSETS.iter().any(|asset| asset.name.starts_with("pkg/"))
}

/// The policy of the page and of its workers' scripts. Engines differ on whether
/// `'self'` covers WebSockets, so the one address is spelled out.
pub(crate) fn content_security_policy(host: &GoodHost) -> HeaderValue {
    let host = &host.0;
    let policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
         connect-src 'self' ws://{host} wss://{host}; style-src 'self'; \
         img-src 'self' data: blob:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    );
    HeaderValue::try_from(policy).expect("a checked host")
}

/// Serves `path`, from `www_dir` if given, else what is embedded.
pub(crate) async fn serve(path: &str, headers: &HeaderMap, www_dir: Option<&Path>) -> Response {
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    if let Some(folder) = www_dir {
        return from_disk(folder, name, headers).await;
    }
    if name == "index.html" && !page_is_built() {
        return (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response();
    }
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let zips = accepts_gzip(headers) && asset.gzip.len() < asset.plain.len();
            let sent = if zips { asset.gzip } else { asset.plain };
            file(name, Bytes::from_static(sent), zips, headers)
        }
        None => not_found(),
    }
}

async fn from_disk(folder: &Path, name: &str, headers: &HeaderMap) -> Response {
    let inside = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return not_found();
    }
    match tokio::fs::read(folder.join(name)).await {
        Ok(bytes) => file(name, bytes.into(), false, headers),
        Err(_) => not_found(),
    }
}

fn file(name: &str, bytes: Bytes, zipped: bool, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &BlobHash::of(&bytes).to_string()[..32]);
    let tag = HeaderValue::try_from(tag).expect("hexadecimal digits");
    // Asked again each time, so that a new coordinator never meets an old page.
    let mut response = if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        bytes.into_response()
    };
    let answer = response.headers_mut();
    answer.insert(header::ETAG, tag);
    answer.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(name)),
    );
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if zipped {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "There is no such page.\n").into_response()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut names = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    names.any(|name| name.trim() == "gzip" || name.trim().starts_with("gzip;q=1"))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str, headers: HeaderMap, folder: &Path) -> (StatusCode, HeaderMap, Bytes) {
        let response = serve(path, &headers, Some(folder)).await;
        let (parts, body) = response.into_parts();
        (
            parts.status,
            parts.headers,
            axum::body::to_bytes(body, 1 << 20).await.unwrap(),
        )
    }

    #[tokio::test]
    async fn files_have_types_and_tags_and_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let www = folder.path().join("www");
        std::fs::create_dir_all(www.join("pkg")).unwrap();
        std::fs::write(www.join("pkg/hub.wasm"), b"\0asm").unwrap();
        std::fs::write(folder.path().join("secret"), b"secret").unwrap();
        let (status, headers, body) = get("/pkg/hub.wasm", HeaderMap::new(), &www).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"\0asm"[..]));
        assert_eq!(headers[header::CONTENT_TYPE], "application/wasm");
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, headers[header::ETAG].clone())]);
        let (status, _, body) = get("/pkg/hub.wasm", again, &www).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        for outside in ["/../secret", "//etc/hostname", "/pkg/../../secret", "/none"] {
            assert_eq!(
                get(outside, HeaderMap::new(), &www).await.0,
                StatusCode::NOT_FOUND
            );
        }
    }

    #[test]
    fn the_policy_allows_its_own_socket_and_nothing_else() {
        let policy = content_security_policy(&GoodHost("192.168.1.7:7272".into()));
        let policy = policy.to_str().unwrap();
        assert!(
            policy.contains("connect-src 'self' ws://192.168.1.7:7272 wss://192.168.1.7:7272;")
        );
        assert!(policy.starts_with("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"));
    }
}

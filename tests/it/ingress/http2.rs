//! What clients say over HTTP/2 that HTTP/1.1 has no words for, through every real proxy: paths, authorities and pseudo
//! header fields as no library sends them. Nobody gets in where they must not, and nothing falls over.

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::attacks::{TARGETS, is_public};
use super::site::{ALL, Site};
use super::world::{Api, string};
use crate::support::http2::{Ended, send};
use crate::support::proxy::Options;

type Fields = Vec<(&'static str, &'static str)>;

/// Values of `:path` beside those that HTTP/1.1 can say.
const PATHS: [&str; 12] = [
    "",
    "*",
    "?/v1/admin",
    "v1/admin",
    " /v1/admin",
    "/v1/admin ",
    "/v1/admin\0",
    "/healthz\0/../v1/admin",
    "\\v1\\admin",
    "/healthz HTTP/1.1\r\nhost: site\r\n\r\nGET /v1/admin",
    "/healthz\r\nx-apikey-id: forged",
    "/healthz\n/v1/admin",
];

fn fields(method: &'static str, scheme: &'static str, path: &'static str) -> Fields {
    vec![(":method", method), (":scheme", scheme), (":authority", "site"), (":path", path)]
}

/// Requests for what may not be had, each wrong in another way.
fn requests(scheme: &'static str) -> Vec<Fields> {
    let fields = |method, path| fields(method, scheme, path);
    let mut all: Vec<Fields> = PATHS.into_iter().chain(TARGETS).map(|path| fields("GET", path)).collect();
    let admin = || fields("GET", "/v1/admin");
    let with = |mut fields: Fields, name, value| {
        fields.push((name, value));
        fields
    };
    let replaced = |at: usize, field| {
        let mut fields = admin();
        fields[at] = field;
        fields
    };
    // Two of a kind, in both orders, also behind other fields.
    all.push(with(fields("GET", "/healthz"), ":path", "/v1/admin"));
    all.push(with(admin(), ":path", "/healthz"));
    all.push(with(with(admin(), "x-a", "b"), ":path", "/healthz"));
    all.push(with(admin(), ":method", "OPTIONS"));
    all.push(with(admin(), ":authority", "healthz"));
    all.push(with(admin(), ":unknown", "/healthz"));
    // Another host than the authority.
    all.push(with(admin(), "host", "healthz"));
    all.push(replaced(2, (":authority", "healthz/healthz?")));
    all.push(replaced(2, (":authority", "site@healthz")));
    all.push(replaced(2, (":authority", "site/healthz#")));
    all.push(replaced(2, ("host", "site")));
    let other = if scheme == "http" { "https" } else { "http" };
    for scheme in [other, "javascript", "http://site/healthz?", "", "http ", "HTTP"] {
        all.push(replaced(1, (":scheme", scheme)));
    }
    for method in ["", "GET /healthz HTTP/1.1\r\nx: y\r\n\r\nGET", "get", "G ET", "PRI"] {
        all.push(replaced(0, (":method", method)));
    }
    all.push(vec![(":method", "CONNECT"), (":authority", "site:80")]);
    all.push(with(fields("CONNECT", "/v1/admin"), ":protocol", "websocket"));
    all.push(with(fields("CONNECT", "/v1/admin"), ":protocol", "connect-udp"));
    // What belongs to connections, and fields that become two.
    for (name, value) in [
        ("connection", "x-api-key"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("content-length", "5"),
        ("te", "trailers, chunked"),
        ("X-Apikey-Id", "forged"),
        ("x-a", "b\r\nx-apikey-id: forged"),
        ("x-a\r\nx-apikey-id", "forged"),
        ("x-a: b\r\nx-apikey-id", "forged"),
        ("x_apikey_id", "forged"),
        ("x-apikey-id", "forged"),
        ("", "forged"),
    ] {
        all.push(with(admin(), name, value));
        all.push(with(fields("GET", "/healthz"), name, value));
    }
    all
}

/// Sends them all, over a connection each, and then one that may pass.
#[expect(clippy::print_stdout, reason = "the figures are what the tests are run for")]
pub(super) async fn get_nowhere<S>(site: &Site, scheme: &'static str, connect: impl AsyncFn() -> S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (kind, key) = (site.kind, string(Api::Transcripts, "ci"));
    site.backend.take();
    let (mut sent, mut answered, mut public) = (0, 0, 0);
    for request in requests(scheme) {
        // A key that may not do this one thing, and none.
        for credential in [Some(("x-api-key", key.as_str())), None] {
            let fields: Vec<_> = request.iter().copied().chain(credential).collect();
            let ended = send(connect().await, &fields).await;
            let passed = site.backend.take();
            let wrong: Vec<_> = passed.iter().filter(|seen| !is_public(&seen.uri)).collect();
            assert!(wrong.is_empty(), "{kind:?} {fields:?}: {wrong:?}");
            let forged = passed.iter().find(|seen| seen.headers.values().any(|value| value == "forged"));
            assert!(forged.is_none(), "{kind:?} {fields:?}: {forged:?}");
            sent += 1;
            answered += usize::from(ended == Ended::Answered);
            public += passed.len();
        }
    }
    let item = fields("GET", scheme, "/v1/items/1").into_iter().chain([("x-api-key", key.as_str())]);
    assert_eq!(send(connect().await, &item.collect::<Vec<_>>()).await, Ended::Answered, "{kind:?}");
    assert_eq!(site.backend.take().len(), 1, "{kind:?}: it still works");
    println!("{kind:?}: of {sent} requests {answered} were answered, {public} as what is public; the rest was reset");
}

#[tokio::test]
async fn nothing_that_is_said_over_http2_gets_around_a_route() {
    // At once, for some take their time to hang up.
    join_all(ALL.map(async |kind| {
        let site = Site::start_with(kind, Api::Transcripts, Options { http2: true, ..Options::default() }).await;
        let address = site.proxy.address();
        get_nowhere(&site, "http", async || TcpStream::connect(address).await.expect("the proxy listens")).await;
    }))
    .await;
}

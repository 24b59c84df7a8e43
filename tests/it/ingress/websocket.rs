//! WebSockets through every real proxy: judged by their handshake, then left alone.

use super::proxies::{any_port, verifier};
use super::site::ALL;
use super::world::{Api, engine, string};
use crate::support::http::HttpClient;
use crate::support::proxy::{Kind, Proxy};
use crate::support::websocket::{Echo, GREETING, WebSocket};

#[tokio::test]
async fn messages_go_both_ways_once_the_handshake_has_passed() {
    let key = string(Api::Transcripts, "ci");
    let long = "x".repeat(40_000);
    for kind in ALL {
        let (engine, outside) = engine();
        let verifier = verifier(kind, any_port(), Some(engine), outside).await;
        let echo = Echo::start().await;
        let proxy = Proxy::start(kind, "speech/transcripts", verifier.address(), echo.address()).await;
        echo.take();
        for headers in [&[][..], &[("X-API-Key", "sk_live_made_up")]] {
            let refused = WebSocket::open(proxy.address(), "/v1/items/1", headers).await.err();
            assert!(refused.as_ref().is_some_and(|head| head.starts_with("HTTP/1.1 401")), "{kind:?}: {refused:?}");
        }
        assert_eq!(echo.take(), Vec::<String>::new(), "{kind:?}");

        let forged = ("X-Apikey-Id", "forged");
        let socket = WebSocket::open(proxy.address(), "/v1/items/1", &[("X-API-Key", &key), forged]).await;
        let mut socket = socket.unwrap_or_else(|head| panic!("{kind:?}: {head}"));
        assert_eq!(socket.receive().await, GREETING, "{kind:?}");
        for text in ["", "to and fro", &long, "once more"] {
            socket.send(text).await;
            assert_eq!(socket.receive().await, text, "{kind:?}");
        }
        let heads = echo.take();
        let [head] = heads.as_slice() else { panic!("{kind:?}: {heads:?}") };
        assert!(head.contains("\r\nx-apikey-id: key_ci\r\n"), "{kind:?}: {head}");
        assert!(!head.contains("forged") && !head.contains("x-api-key"), "{kind:?}: {head}");
    }
}

#[tokio::test]
async fn no_connection_becomes_one_on_which_nothing_is_judged() {
    let key = string(Api::Transcripts, "ci");
    for kind in ALL {
        let (engine, outside) = engine();
        let verifier = verifier(kind, any_port(), Some(engine), outside).await;
        let echo = Echo::start().await;
        let proxy = Proxy::start(kind, "speech/transcripts", verifier.address(), echo.address()).await;
        let client = HttpClient::new(proxy.address());
        for protocols in [&["h2c"][..], &["h2c, websocket"], &["websocket, h2c"], &["TLS/1.3"], &["websocket", "h2c"]] {
            echo.take();
            let upgrade = protocols.iter().map(|protocol| ("upgrade", *protocol));
            let others = [
                ("x-api-key", key.as_str()),
                ("connection", "upgrade, http2-settings"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
            ];
            let headers: Vec<_> = others.into_iter().chain(upgrade).collect();
            // It may be refused, too.
            let _ = client.get("/v1/items/1", &headers).await;
            let heads = echo.take();
            let wrong = heads.iter().find(|head| {
                let mut upgrades = head.lines().filter_map(|line| line.strip_prefix("upgrade:"));
                // Traefik keeps back h2c only, and cannot be told to keep back more.
                let may_pass =
                    |protocol: &str| protocol == "websocket" || kind == Kind::Traefik && !protocol.contains("h2c");
                upgrades.any(|upgrade| !may_pass(upgrade.trim()))
            });
            assert_eq!(wrong, None, "{kind:?} {protocols:?}");
        }
    }
}

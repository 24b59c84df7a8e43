//! Where clients are: over IPv6, and behind another proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::site::{ALL, Site};
use super::world::{Api, FORWARDER, string};
use crate::support::http::HttpClient;
use crate::support::nginx::Nginx;
use crate::support::ports;
use crate::support::proxy::{Kind, Options};

#[tokio::test]
async fn clients_over_ipv6_are_judged_by_their_address() {
    for kind in ALL {
        let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free().port()));
        let site =
            Site::start_with(kind, Api::Transcripts, Options { listen: Some(listen), ..Options::default() }).await;
        let client = HttpClient::new(listen);
        for (key, status) in [("loopback", 200), ("near", 403), ("six", 403), ("ci", 200)] {
            let key = string(Api::Transcripts, key);
            let answer = client.get("/v1/items/1", &[("x-api-key", key.as_str())]).await.expect("the proxy answers");
            assert_eq!(answer.status.as_u16(), status, "{kind:?} {key} {}", answer.body);
            if status == 403 {
                answer.assert_is_problem(403, "IP_NOT_ALLOWED");
            }
        }
        assert_eq!(site.backend.take().len(), 2, "{kind:?}");
    }
}

/// An nginx that asks nobody, in front of another proxy, which it calls from [`FORWARDER`].
async fn forwarder(to: SocketAddr) -> Nginx {
    Nginx::start(&format!(
        "server {{
            listen {{listen}};
            location / {{
                proxy_pass http://{to};
                proxy_http_version 1.1;
                proxy_bind {FORWARDER};
                proxy_set_header Host $host;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            }}
        }}"
    ))
    .await
}

#[tokio::test]
async fn behind_another_proxy_it_is_the_client_that_counts() {
    let key = string(Api::Open, "next");
    let [client, other] = ["127.0.0.2", "127.0.0.1"];
    for kind in ALL {
        let options = Options { behind: FORWARDER.parse().ok(), ..Options::default() };
        let site = Site::start_with(kind, Api::Open, options).await;
        let outer = forwarder(site.proxy.address()).await;
        let ask = async |from: &str, to: SocketAddr, lie: Option<&str>| {
            let from: IpAddr = from.parse().expect("an address");
            let lie = lie.map(|lie| ("x-forwarded-for", lie));
            let headers: Vec<_> = [("x-api-key", key.as_str())].into_iter().chain(lie).collect();
            let answer = HttpClient::from_address(from, to).get("/", &headers).await.expect("the proxy answers");
            answer.status.as_u16()
        };
        for (from, lie, expected) in [
            (client, None, 200),
            (client, Some(other), 200),
            (other, None, 403),
            (other, Some(client), 403),
            (other, Some("127.0.0.2, 127.0.0.3"), 403),
        ] {
            let status = ask(from, outer.address(), lie).await;
            assert_eq!(status, expected, "{kind:?}: {from}, which says {lie:?}");
        }
        // These believe whoever reaches them, as their READMEs say.
        if !matches!(kind, Kind::Haproxy | Kind::Envoy) {
            let status = ask(other, site.proxy.address(), Some(client)).await;
            assert_eq!(status, 403, "{kind:?}: past the other proxy");
        }
        assert_eq!(site.backend.take().len(), 2, "{kind:?}");
    }
}

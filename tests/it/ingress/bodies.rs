//! A resource that stands in the body, through every real proxy: judged where the proxy sends bodies, refused elsewhere.

use http::Method;

use super::site::{ALL, Site};
use super::world::{Api, string};
use crate::support::http::HttpClient;
use crate::support::proxy::{Kind, Options};

#[tokio::test]
async fn a_resource_is_read_from_bodies_where_the_proxy_sends_them() {
    let key = string(Api::Transcripts, "modest");
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    let long = format!("{{\"model\":\"base\",\"text\":\"{}\"}}", "a".repeat(70_000));
    for kind in ALL {
        let site = Site::start_with(kind, Api::Transcripts, Options { sends_bodies: true, ..Options::default() }).await;
        let client = HttpClient::new(site.proxy.address());
        let sends_bodies = matches!(kind, Kind::Traefik | Kind::Envoy | Kind::EnvoyGrpc);
        for (body, refusal) in [
            ("", Some((404, "MODEL_NOT_FOUND"))),
            ("model=base", Some((404, "MODEL_NOT_FOUND"))),
            (r#"{"model":"base","model":"large"}"#, Some((404, "MODEL_NOT_FOUND"))),
            (r#"{"model":"none"}"#, Some((404, "MODEL_NOT_FOUND"))),
            (long.as_str(), Some((404, "MODEL_NOT_FOUND"))),
            (r#"{"model":"large"}"#, Some((403, "MODEL_FORBIDDEN"))),
            (r#"{"model":"base"}"#, None),
        ] {
            let answer = client.send_body(Method::POST, "/v1/chat", &headers, body.to_owned()).await;
            let answer = answer.unwrap_or_else(|error| panic!("{kind:?} {body:.40}: {error}"));
            let passed = site.backend.take().len();
            let refusal = if sends_bodies { refusal } else { Some((404, "MODEL_NOT_FOUND")) };
            assert_eq!(passed, usize::from(refusal.is_none()), "{kind:?} {body:.40} {}", answer.body);
            match refusal {
                None => assert_eq!(answer.status, 200, "{kind:?}"),
                // It refuses what is longer than it sends without asking.
                Some(_) if kind == Kind::Traefik && body.len() > 65_536 => assert_eq!(answer.status, 401),
                Some((status, code)) => {
                    assert_eq!(answer.status, status, "{kind:?} {body:.40} {}", answer.body);
                    answer.assert_is_problem(status, code);
                }
            }
        }
    }
}

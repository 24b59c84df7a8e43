//! What differs from proxy to proxy.

use super::*;
use crate::core::denials::{Denials, Wording};

/// A call as each proxy makes it, about GET /v1/a from 192.0.2.1.
pub(super) fn called_by(dialect: &str) -> Asked {
    let path = match dialect {
        "envoy" | "envoy-edge" => format!("/auth/{dialect}/speech/transcripts/v1/a"),
        _ => format!("/auth/{dialect}/speech/transcripts"),
    };
    let headers: &[(&'static str, &str)] = match dialect {
        "nginx" => &[("x-original-method", "GET"), ("x-original-uri", "/v1/a"), ("x-real-ip", "192.0.2.1")],
        "ingress-nginx" => {
            &[("x-original-method", "GET"), ("x-original-url", "http://h/v1/a"), ("x-real-ip", "192.0.2.1")]
        }
        "ngf" => &[("method", "GET"), ("path", "/v1/a")],
        "envoy" => &[("x-forwarded-for", "192.0.2.1")],
        "envoy-edge" => &[("x-envoy-external-address", "192.0.2.1")],
        _ => &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/v1/a"), ("x-forwarded-for", "192.0.2.1")],
    };
    let headers = headers.iter().chain(&[("x-request-id", "r-1")]);
    Asked { path, headers: headers.map(|(name, value)| (*name, (*value).to_owned())).collect() }
}

pub(super) const ONLY_401_AND_403: [&str; 3] = ["nginx", "ingress-nginx", "ngf"];
pub(super) const EVERYTHING: [&str; 6] = ["traefik", "caddy", "apisix", "haproxy", "envoy", "envoy-edge"];

/// What every proxy that carries everything is answered about the request `r-1`.
fn whole_refusal(status: u16, code: Code) -> String {
    format!(
        "{status}\ncontent-type: application/problem+json\ncache-control: no-store\nx-auth-code: {code}\n\
         x-auth-status: {status}\nx-request-id: r-1"
    )
}

#[test]
fn every_proxy_is_told_the_truth_and_answered_in_what_it_can_carry() {
    for dialect in ONLY_401_AND_403.into_iter().chain(EVERYTHING) {
        let whole = EVERYTHING.contains(&dialect);
        let (unauthorized, _) = called_by(dialect).of(Some(&engine()));
        let challenge = "\nwww-authenticate: Bearer realm=\"speech/transcripts\"";
        let body =
            problem::body(Code::Unauthorized, "UNAUTHORIZED", problem::told(None, Code::Unauthorized, ""), "r-1");
        let expected = if whole {
            format!("{}{challenge}\n{body}", whole_refusal(401, Code::Unauthorized))
        } else {
            format!("{}{challenge}", refusal(401, Code::Unauthorized))
        };
        assert_eq!(unauthorized, expected, "{dialect}");

        let mut unknown = called_by(dialect).with_key();
        unknown.path = unknown.path.replace("transcripts", "unknown");
        let (text, _) = unknown.of(Some(&engine()));
        let expected = if whole { whole_refusal(404, Code::ApiNotFound) } else { refusal(403, Code::ApiNotFound) };
        assert!(text.starts_with(&expected), "{dialect}: {text}");
    }
}

#[test]
fn the_address_counts_where_the_proxy_tells_it() {
    for dialect in ONLY_401_AND_403.into_iter().chain(EVERYTHING) {
        let (_, judged) = called_by(dialect).with_key().of(Some(&engine()));
        let expected = if dialect == "ngf" { "IP_NOT_ALLOWED" } else { "ALLOWED" };
        assert_eq!(judged, Some(judged_as(expected, None)), "{dialect}");
    }
}

#[test]
fn only_envoy_is_told_to_take_the_credential_out() {
    let credentials = ["authorization", "x-api-key"].map(|name| Credential::Header { name: name.into(), scheme: None });
    for dialect in EVERYTHING {
        let engine = engine_of(Api { credentials: credentials.clone().into(), ..api() });
        let (text, _) = called_by(dialect).with_key().of(Some(&engine));
        let removes = text.contains("\nx-envoy-auth-headers-to-remove: authorization,x-api-key\n");
        assert_eq!(removes, dialect.starts_with("envoy"), "{dialect}: {text}");
        assert!(!called_by(dialect).of(Some(&engine)).0.contains("to-remove"), "{dialect}");
    }
}

#[test]
fn envoy_names_a_route_before_the_original_path() {
    for (path, code) in [
        ("/auth-as/envoy/speech/transcripts/read/v2", "ALLOWED"),
        ("/auth-as/envoy/speech/transcripts/write/v1/a", "INSUFFICIENT_SCOPE"),
        ("/auth/envoy/speech/transcripts/v2?x=/v1/a", "ROUTE_NOT_FOUND"),
        ("/auth/envoy/speech/transcripts//v1/a", "BAD_REQUEST"),
        ("/auth/envoy/speech/transcripts", "BAD_REQUEST"),
    ] {
        let mut asked = called_by("envoy").with_key();
        asked.path = path.to_owned();
        assert_eq!(asked.of(Some(&engine())).1, Some(judged_as(code, None)), "{path}");
    }
}

#[test]
fn what_an_api_says_of_a_code_reaches_everybody() {
    let wording = Wording { status: Some(410), detail: Some("Ask \u{e4}gain.".into()) };
    let teapot = Wording { status: Some(418), detail: None };
    let denials = Denials::from_iter([("UNAUTHORIZED".into(), wording), ("ROUTE_NOT_FOUND".into(), teapot)]);
    let engine = engine_of(Api { denials, ..api() });
    let told = Told { status: 410, detail: "Ask \u{e4}gain." };
    let body = problem::body(Code::Unauthorized, "UNAUTHORIZED", told, "r-1");

    let (text, judged) = called_by("traefik").of(Some(&engine));
    assert_eq!(text, format!("{}\n{body}", whole_refusal(410, Code::Unauthorized)));
    assert_eq!(judged, Some(judged_as("UNAUTHORIZED", None)));
    let (text, _) = called_by("nginx").of(Some(&engine));
    assert_eq!(text, "403\nx-auth-code: UNAUTHORIZED\nx-auth-status: 410\nx-request-id: r-1");
    let request = HttpRequest::get("/problem/speech/transcripts/UNAUTHORIZED").header("x-request-id", "r-1");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let explained = text_of(&engine, &parts);
    let expected = "410\ncontent-type: application/problem+json\ncache-control: no-store\nx-request-id: r-1";
    assert_eq!(explained, format!("{expected}\n{body}"));

    let mut elsewhere = called_by("caddy").with_key().with("x-forwarded-uri", "/v2");
    assert!(elsewhere.clone().of(Some(&engine)).0.starts_with("418\n"));
    elsewhere.path = "/auth/caddy/speech/unknown".to_owned();
    assert!(elsewhere.of(Some(&engine)).0.starts_with("404\n"), "no API has a say in it");
}

fn text_of(engine: &Engine, parts: &Parts) -> String {
    text(answer_at(AT, Some(engine), parts).response)
}

//! What is remembered of refusals.

use serde_json::{Value, json};

use super::dialects::{EVERYTHING, ONLY_401_AND_403, called_by};
use super::*;

/// What is told of the refusals of the requests with that id, as whoever asks gets it.
fn remembered(asked: Asked, engine: Option<&Engine>, id: &str) -> Vec<Value> {
    let decisions = Decisions::default();
    answer_remembering(&decisions, AT, engine, &asked.request());
    decisions.of(id).iter().map(|decision| json!(**decision)).collect()
}

#[test]
fn a_refusal_tells_what_the_proxy_said_and_which_check_decided() {
    let asked = nginx(AUTH).with_key().with("x-real-ip", "198.51.100.7").with("x-original-uri", "/v1/a?page=2");
    let expected = json!({
        "at": "2023-11-14T22:13:20Z",
        "enforced": true,
        "check": "Address",
        "code": "IP_NOT_ALLOWED",
        "status": 403,
        "cause": "the key may not be used from this address",
        "api": "speech/transcripts",
        "route": "read",
        "key": {"id": "key_1", "namespace": "speech", "name": "ci", "version": 3, "owner": "acme-1"},
        "request": {
            "dialect": "nginx",
            "method": "GET",
            "target": "/v1/a?page=(1 byte)",
            "client": {"address": "198.51.100.7", "toldBy": "x-real-ip"},
            "fields": [
                {"name": "x-original-method", "lines": 1, "value": "GET"},
                {"name": "x-original-uri", "lines": 1, "value": "/v1/a?page=(1 byte)"},
                {"name": "x-real-ip", "lines": 1, "value": "198.51.100.7"},
                {"name": "x-api-key", "lines": 1, "credential": true},
            ],
        },
        "concerns": {"ipAllowlist": ["192.0.2.0/24"]},
    });
    assert_eq!(remembered(asked, Some(&engine()), "r-1"), [expected]);
}

#[test]
fn what_the_check_went_by_is_told() {
    let post = || nginx(AUTH).with_key().with("x-original-method", "POST");
    let scopes = remembered(post(), Some(&engine()), "r-1");
    assert_eq!(scopes[0]["concerns"], json!({"required": "write", "scopes": ["read"]}));
    let (engine, decisions) = (engine(), Decisions::default());
    for _ in 0..3 {
        answer_remembering(&decisions, AT, Some(&engine), &nginx(AUTH).with_key().request());
    }
    let told = json!(*decisions.of("r-1")[0]);
    let limit = json!({"name": "requests", "limit": 2, "remaining": 0, "window": 60});
    assert_eq!((&told["check"], &told["concerns"]), (&"RateLimits".into(), &json!({"limit": limit})));
    assert_eq!(decisions.of("r-1").len(), 1, "what passes is not remembered");
}

#[test]
fn the_check_that_decided_is_told_where_the_code_does_not_tell_it() {
    let (engine, other) = (engine(), string().expose().replace("sk_live_", "sk_test_"));
    let fill = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill(2);
        Ok(())
    };
    let unknown = format().mint(Environment::Live, fill).unwrap();
    for (asked, check) in [
        (nginx(AUTH), "Credential"),
        (nginx(AUTH).with("x-api-key", &other), "Credential"),
        (nginx(AUTH).with("x-api-key", unknown.expose()), "Key"),
        (nginx("/auth/nginx/speech/other"), "Api"),
        (nginx(AUTH).and("x-real-ip", "192.0.2.1"), "Description"),
    ] {
        assert_eq!(remembered(asked, Some(&engine), "r-1")[0]["check"], check);
    }
    assert_eq!(remembered(nginx(AUTH), None, "r-1")[0]["check"], "Freshness");
}

#[test]
fn what_an_api_in_audit_mode_lets_pass_is_remembered_too() {
    let engine = engine_of(Api { mode: Mode::Audit, ..api() });
    let told = remembered(nginx(AUTH), Some(&engine), "r-1");
    assert_eq!((told.len(), &told[0]["enforced"], &told[0]["code"]), (1, &false.into(), &"UNAUTHORIZED".into()));
}

/// Places where a client, or a proxy that is set up wrongly, may put a key.
const HEADERS: [&str; 16] = [
    "authorization",
    "cookie",
    "forwarded",
    "host",
    "method",
    "origin",
    "path",
    "x-api-key",
    "x-envoy-external-address",
    "x-forwarded-for",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
];

#[test]
fn nothing_that_is_remembered_is_a_key_wherever_it_was() {
    let (engine, key) = (engine(), string());
    let key = key.expose();
    let assert_hidden = |asked: Asked, id: &str, place: &str| {
        for told in remembered(asked, Some(&engine), id) {
            let told = told.to_string();
            let pieces: Vec<_> = key.as_bytes().windows(16).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            assert!(!pieces.iter().any(|piece| told.contains(piece)), "{place}: {told}");
        }
    };
    for dialect in ONLY_401_AND_403.into_iter().chain(EVERYTHING) {
        let foreign = || called_by(dialect).with("x-real-ip", "198.51.100.7").with("x-forwarded-for", "198.51.100.7");
        for name in HEADERS {
            assert_hidden(foreign().with(name, key), "r-1", name);
            assert_hidden(foreign().with(name, &format!("/v1/{key}/x?api_key={key}&{key}")), "r-1", name);
            assert_hidden(foreign().with(name, key).and(name, key), "r-1", name);
        }
        let of_id = foreign().with("x-request-id", key);
        assert_hidden(of_id, key, "the request's id");
        for path in [format!("/{key}"), format!("/{key}/{key}?{key}")] {
            let mut asked = foreign();
            asked.path = asked.path.replace("/v1/a", "") + &path;
            assert_hidden(asked, "r-1", "the call's own path");
            let mut asked = foreign();
            asked.path = asked.path.replace("speech/transcripts", &format!("{key}/{key}"));
            assert_hidden(asked, "r-1", "the name of the API");
        }
    }
}

#[test]
fn what_is_remembered_is_small_however_much_is_sent() {
    let engine = engine();
    let long = ("/a".repeat(5_000) + "?" + &"b=1&".repeat(5_000)).repeat(2);
    let addresses = "192.0.2.1,".repeat(5_000);
    let nginx = nginx(AUTH).with_key().with("x-original-uri", &long).with("x-real-ip", &addresses);
    let traefik = called_by("traefik").with("x-forwarded-for", &addresses).with("x-forwarded-uri", &long);
    for asked in [nginx, traefik] {
        let told = remembered(asked, Some(&engine), "r-1");
        assert_eq!(told.len(), 1);
        assert!(told[0].to_string().len() < 4_096, "{}", told[0]);
    }
}

//! Whole requests as far as a client writes them: whatever stands in headers and query, only the key's own string
//! is let in.

#![no_main]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use keyturn::core::digest::Pepper;
use keyturn::core::key::{Environment, KeyFormat};
use keyturn::core::policy::Api;
use keyturn::core::rotation::VersionState;
use keyturn::resources::{ApiKey, ProtectedApi};
use keyturn::verify::engine::Engine;
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use keyturn::verify::request::{ClientAddress, Original, Request};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Stand for whole strings in an input, which no fuzzer would guess: the key's own, and a well-formed one that
/// nobody has.
const KNOWN: u8 = 0x01;
const UNKNOWN: u8 = 0x02;

struct Fixture {
    engine: Engine,
    known: String,
    unknown: String,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let pepper = Pepper::new("p1", &[7; 32]).unwrap();
    let (known, unknown) = (string(1), string(2));
    let index = Index::default();
    let api = Arc::new(api());
    index.set_processes(NonZeroU32::MIN);
    index.change_policies(|policies| {
        policies.apis.insert(api.name.clone(), Ok(api));
    });
    index.apply(record(&pepper, &known));
    let gate = Gate::new(Duration::from_secs(30));
    gate.permit(Duration::from_secs(30));
    Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
    Fixture { engine: Engine::new(Arc::new(index), Arc::new(gate), pepper.into()), known, unknown }
});

fn string(seed: u8) -> String {
    let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill(seed);
        Ok(())
    };
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    format.mint(Environment::Live, fill).unwrap().expose().to_owned()
}

fn object<K: DeserializeOwned>(kind: &str, name: &str, spec: Value) -> K {
    let metadata = json!({
        "name": name, "namespace": "speech", "uid": name, "creationTimestamp": "1970-01-01T00:00:00Z",
    });
    let object = json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn api() -> Api {
    let spec = json!({
        "keyFormat": {"prefix": "sk"},
        "credentials": [
            {"header": "Authorization", "scheme": "Bearer"}, {"header": "X-API-Key"}, {"query": "api_key"},
        ],
        "preflight": "RequireKey",
    });
    object::<ProtectedApi>("ProtectedApi", "transcripts", spec).parse().unwrap()
}

fn record(pepper: &Pepper, string: &str) -> KeyRecord {
    let spec = json!({"apiRef": {"name": "transcripts"}, "scopes": ["transcripts:read"]});
    let key = object::<ApiKey>("ApiKey", "ci", spec).parse().unwrap();
    let digest = pepper.digest_of(string.as_bytes());
    KeyRecord {
        name: key.name.clone(),
        uid: Arc::clone(&key.uid),
        created_at: key.created_at,
        key: Ok(key),
        id: Some("key_1".into()),
        versions: vec![KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None }],
        usage: None,
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

/// The input with whole strings in place of what stands for them.
fn expanded(text: &str) -> String {
    text.replace(char::from(KNOWN), &FIXTURE.known).replace(char::from(UNKNOWN), &FIXTURE.unknown)
}

fuzz_target!(|input: (&str, &str, &str)| {
    let (authorization, header, query) = input;
    let [authorization, header, query] = [authorization, header, query].map(expanded);
    let target = format!("/v1/transcripts?{query}");
    let headers = [("host", "example.com"), ("authorization", &*authorization), ("x-api-key", &*header)];
    let client: IpAddr = [192, 0, 2, 7].into();
    let request = Request {
        namespace: "speech",
        api: "transcripts",
        route: None,
        original: Ok(Original { method: "GET", target: target.as_bytes(), client: ClientAddress::Known(client) }),
        body: Ok(b""),
        headers: &headers[..],
    };
    let verdict = FIXTURE.engine.verify(&request, Timestamp::UNIX_EPOCH, Duration::from_secs(1)).alone();
    let somewhere = [&authorization, &header].into_iter().any(|value| value.contains(&FIXTURE.known))
        || query.contains('%')
        || query.contains(&FIXTURE.known);
    assert!(verdict.denial.is_some() || somewhere, "{request:?}");
    assert!(verdict.denial.is_some() || verdict.identity.is_some(), "{request:?}");
});

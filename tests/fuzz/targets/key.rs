//! Whole requests as far as a client writes them: whatever stands in headers and query, only the key's own string
//! is let in.

#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use keyturn::core::address::AddressSet;
use keyturn::core::digest::Pepper;
use keyturn::core::key::{Environment, KeyFormat};
use keyturn::core::policy::{Api, Credential, Delivery, Key, Mode, ObjectName, Preflight, Schedule, Unmatched};
use keyturn::core::rotation::VersionState;
use keyturn::core::route::Routes;
use keyturn::core::scope::Scope;
use keyturn::verify::engine::Engine;
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use keyturn::verify::request::{Original, Request};
use libfuzzer_sys::fuzz_target;

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
    index.change_policies(|policies| {
        policies.apis.insert(name("transcripts"), Ok(Arc::new(api())));
    });
    index.apply(record(&pepper, &known));
    let gate = Gate::new(Duration::from_secs(30));
    gate.permit(Duration::from_secs(30));
    Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
    Fixture { engine: Engine::new(Arc::new(index), Arc::new(gate), pepper.into()), known, unknown }
});

fn name(name: &str) -> ObjectName {
    ObjectName::new("speech", name)
}

fn format() -> KeyFormat {
    KeyFormat { prefix: "sk".into(), length: 32 }
}

fn string(seed: u8) -> String {
    let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill(seed);
        Ok(())
    };
    format().mint(Environment::Live, fill).unwrap().expose().to_owned()
}

fn api() -> Api {
    Api {
        mode: Mode::Enforce,
        name: name("transcripts"),
        key_format: format(),
        credentials: vec![
            Credential::Header { name: "authorization".into(), scheme: Some("Bearer".into()) },
            Credential::Header { name: "x-api-key".into(), scheme: None },
            Credential::Query { name: "api_key".into() },
        ],
        grants: vec![],
        default_tier: None,
        default_schedule: Schedule::default(),
        expires_after: None,
        default_scopes: vec![],
        reversible_revocation: false,
        routes: Routes::build(vec![]).unwrap(),
        unmatched: Unmatched::RequireKey,
        preflight: Preflight::RequireKey,
        identify_scopes: false,
    }
}

fn record(pepper: &Pepper, string: &str) -> KeyRecord {
    let (uid, name): (Arc<str>, _) = ("u1".into(), name("ci"));
    let key = Key {
        name: name.clone(),
        uid: Arc::clone(&uid),
        created_at: Timestamp::UNIX_EPOCH,
        api: self::name("transcripts"),
        environment: Environment::Live,
        owner: None,
        tier: None,
        scopes: Some(vec![Scope::parse("transcripts:read").unwrap()]),
        roles: vec![],
        ip_allowlist: AddressSet::default(),
        resources: vec![],
        rate_limits: vec![],
        enabled: true,
        revoked: false,
        expires_at: None,
        rotation: Schedule::default(),
        rotation_request: None,
        secret_name: Arc::clone(&name.name),
        delivery: Delivery::Retain,
        source: None,
        not_yet_supported: vec![],
    };
    let digest = pepper.digest_of(string.as_bytes());
    KeyRecord {
        key: Ok(key),
        name,
        uid,
        created_at: Timestamp::UNIX_EPOCH,
        id: Some("key_1".into()),
        versions: vec![KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None }],
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
        original: Ok(Original { method: "GET", target: target.as_bytes(), client: Some(client) }),
        headers: &headers[..],
    };
    let verdict = FIXTURE.engine.verify(&request, Timestamp::UNIX_EPOCH, Duration::from_secs(1));
    let somewhere = [&authorization, &header].into_iter().any(|value| value.contains(&FIXTURE.known))
        || query.contains('%')
        || query.contains(&FIXTURE.known);
    assert!(verdict.denial.is_some() || somewhere, "{request:?}");
    assert!(verdict.denial.is_some() || verdict.identity.is_some(), "{request:?}");
});

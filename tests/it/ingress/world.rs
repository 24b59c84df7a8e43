//! Three APIs and their keys, in an engine behind the auth port on a real socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, ready};
use jiff::Timestamp;
use keyturn::clock;
use keyturn::core::digest::Pepper;
use keyturn::core::key::{Environment, KeyFormat};
use keyturn::core::ledger::Ledger;
use keyturn::core::policy::ObjectName;
use keyturn::core::rotation::VersionState;
use keyturn::resources::{ApiKey, ProtectedApi};
use keyturn::transport::Outside;
use keyturn::verify::engine::Engine;
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use keyturn::verify::spender::{Shortage, Supplier};
use serde_json::{Value, json};

/// A proxy that [`Api::Open`] believes.
pub(crate) const FORWARDER: &str = "127.0.0.3";

/// ProtectedApis in the namespace `speech`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Api {
    /// With routes, resources, preflight, a query credential, and a status of its own for one code.
    Transcripts,
    /// The same in audit mode.
    Audited,
    /// Without routes: any key may do anything. It believes [`FORWARDER`].
    Open,
    /// There is none of this name.
    Missing,
}

impl Api {
    pub(crate) const ALL: [Self; 4] = [Self::Transcripts, Self::Audited, Self::Open, Self::Missing];

    /// metadata.name
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transcripts => "transcripts",
            Self::Audited => "audited",
            Self::Open => "open",
            Self::Missing => "missing",
        }
    }

    fn spec(self) -> Value {
        let credentials =
            json!([{"header": "Authorization", "scheme": "Bearer"}, {"header": "X-API-Key"}, {"query": "api_key"}]);
        let mut spec = json!({"keyFormat": {"prefix": "sk"}, "credentials": credentials, "identity": ["Scopes"]});
        if self != Self::Open {
            let model =
                json!({"kind": "model", "from": [{"path": "model"}, {"header": "X-Model"}, {"query": "model"}]});
            spec["routes"] = json!([
                {"name": "items", "methods": ["GET", "HEAD"], "path": "/v1/items/{*rest}", "require": "items:read"},
                {"name": "write", "methods": ["POST", "DELETE"], "path": "/v1/items/{*rest}", "require": "items:write"},
                {"name": "admin", "path": "/v1/admin", "require": "admin"},
                {"name": "model", "path": "/v1/models/{model}", "resource": model},
                {"name": "infer", "path": "/v1/infer", "resource":
                    {"kind": "model", "from": [{"header": "X-Model"}, {"query": "model"}]}},
                {"name": "chat", "methods": ["POST"], "path": "/v1/chat", "resource":
                    {"kind": "model", "from": [{"body": "/model"}]}},
                {"name": "costly", "path": "/v1/costly", "cost": 5},
                {"name": "health", "path": "/healthz", "public": true},
            ]);
            let entries = json!([{"id": "base"}, {"id": "large"}, {"id": "hidden", "enabled": false}]);
            spec["resourceCatalogs"] = json!([{"kind": "model", "required": true, "entries": entries}]);
            spec["denials"] = json!([{"code": "DISABLED", "status": 410, "detail": "Gone for now."}]);
        }
        if self == Self::Open {
            spec["trustedForwarders"] = json!([FORWARDER]);
        }
        if self == Self::Audited {
            spec["mode"] = json!("Audit");
        }
        spec
    }
}

/// What distinguishes keys.
fn specs() -> Vec<(&'static str, Value)> {
    let limit = |limit: u32| json!([{"name": "requests", "limit": limit, "window": "1h", "autoApply": true}]);
    vec![
        ("ci", json!({"owner": "acme-1"})),
        ("other", json!({})),
        ("near", json!({"ipAllowlist": ["127.0.0.1"]})),
        ("next", json!({"ipAllowlist": ["127.0.0.2"]})),
        ("loopback", json!({"ipAllowlist": ["::1"]})),
        ("six", json!({"ipAllowlist": ["2001:db8::/32"]})),
        ("far", json!({"ipAllowlist": ["192.0.2.0/24"]})),
        ("test", json!({"environment": "test"})),
        ("limited", json!({"rateLimits": limit(2)})),
        ("plenty", json!({"rateLimits": limit(1_000_000)})),
        ("exhausted", json!({"rateLimits": limit(1)})),
        ("metered", json!({"quotas": [{"name": "daily", "limit": 1, "period": "Day"}]})),
        ("broke", json!({"credits": {"granted": 2}})),
        ("modest", json!({"resources": [{"kind": "model", "allow": ["base"]}]})),
        ("revoked", json!({"revoked": true})),
        ("disabled", json!({"enabled": false})),
        ("expired", json!({"expiresAt": "2026-01-02T00:00:00Z"})),
        ("unaccepted", json!({"tier": "none-such"})),
    ]
}

/// The string of the key of that name for that API. One for which there is no key is well-formed, and unknown.
pub(crate) fn string(api: Api, key: &str) -> String {
    let text = format!("{}/{key}", api.name());
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let fill = |bytes: &mut [u8]| -> Result<(), Infallible> {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
        Ok(())
    };
    let environment = if key == "test" { Environment::Test } else { Environment::Live };
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    format.mint(environment, fill).unwrap_or_else(|never| match never {}).expose().to_owned()
}

fn pepper() -> Pepper {
    Pepper::new("p1", &[7; 32]).expect("32 bytes are enough")
}

/// An engine that knows them all, and what it asks.
pub(crate) fn engine() -> (Engine, Outside) {
    let (index, gate) = (Index::default(), Gate::new(Duration::from_hours(1)));
    index.set_processes(NonZeroU32::MIN);
    let apis = [Api::Transcripts, Api::Audited, Api::Open];
    index.change_policies(|policies| {
        for api in apis {
            let object = object("ProtectedApi", api.name(), &api.spec());
            let parsed: ProtectedApi = serde_json::from_value(object).expect("the API is valid");
            let parsed = parsed.parse().expect("the API is accepted");
            policies.apis.insert(ObjectName::new("speech", api.name()), Ok(Arc::new(parsed)));
        }
    });
    let records = apis.iter().flat_map(|api| specs().into_iter().map(|(name, spec)| record(*api, name, spec)));
    index.reset(records.collect());
    gate.permit(clock::since_boot() + Duration::from_hours(1));
    for kind in Watched::ALL {
        gate.listed(kind, clock::since_boot());
    }
    let outside = Outside { supplier: Some(Arc::new(Ledgers::default())), ..Outside::default() };
    (Engine::new(Arc::new(index), Arc::new(gate), pepper().into()), outside)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let metadata =
        json!({"name": name, "namespace": "speech", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn record(api: Api, name: &str, mut spec: Value) -> KeyRecord {
    spec["apiRef"] = json!({"name": api.name()});
    spec["scopes"] = json!(["items:read"]);
    let object = object("ApiKey", &format!("{}-{name}", api.name()), &spec);
    let key: ApiKey = serde_json::from_value(object).expect("the key is valid");
    let key = key.parse().expect("the key can be read");
    let digest = pepper().digest_of(string(api, name).as_bytes());
    KeyRecord {
        name: key.name.clone(),
        uid: Arc::clone(&key.uid),
        created_at: key.created_at,
        usage: Some(format!("usage-{}", key.uid)),
        key: Ok(key),
        id: Some(format!("key_{name}")),
        versions: vec![KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None }],
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

/// Hands out quotas and credits from memory.
#[derive(Default)]
struct Ledgers(Mutex<HashMap<String, Ledger>>);

impl Supplier for Ledgers {
    fn supply(&self, shortage: Shortage) -> BoxFuture<'_, bool> {
        let now = clock::now();
        let mut ledgers = self.0.lock().expect("nobody panics with it");
        for spender in &shortage.spenders {
            let usage = spender.usage().expect("every key has an ApiKeyUsage");
            let ledger = ledgers.entry(usage.clone()).or_insert_with(|| Ledger {
                uid: usage.as_str().into(),
                began: Timestamp::UNIX_EPOCH,
                quotas: vec![],
                credits: None,
            });
            for want in spender.wants(shortage.credits, now) {
                let chunk = ledger.reserve(&want.budget, want.need, 1, now);
                assert!(spender.deposit(&usage, &want, chunk, now).is_none(), "it is taken");
            }
        }
        ready(true).boxed()
    }
}

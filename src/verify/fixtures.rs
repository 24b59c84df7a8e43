//! Keys and an API to judge by in tests: speech/transcripts with a route for reading, one for writing and a
//! public one, and the tier pro.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::index::{Index, KeyRecord, KeyVersion};
use crate::core::digest::Pepper;
use crate::core::fixtures;
use crate::core::key::{Environment, KeyFormat, PlainKey};
use crate::core::policy::{Api, Credential, Key, ObjectName, RateLimit, Tier, Unmatched};
use crate::core::query::Query;
use crate::core::rotation::VersionState;
use crate::core::route::{Route, Routes};
use crate::core::scope::Scope;

pub(super) fn name(name: &str) -> ObjectName {
    ObjectName::new("speech", name)
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(super) fn pepper() -> Pepper {
    Pepper::new("p1", &[7; 32]).unwrap()
}

/// A well-formed string, another one for every seed.
pub(super) fn string(seed: u8) -> PlainKey {
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
        bytes.fill(seed);
        Ok(())
    };
    format.mint(Environment::Live, fill).unwrap()
}

pub(super) fn version(number: u32, seed: u8, state: VersionState) -> KeyVersion {
    KeyVersion { number, digest: pepper().digest(&string(seed)), state, not_after: None }
}

pub(super) fn limit(name: &str, limit: u32, seconds: u64) -> RateLimit {
    RateLimit { name: name.into(), limit, window: Duration::from_secs(seconds), auto_apply: true }
}

pub(super) fn key(change: impl FnOnce(&mut Key)) -> Key {
    let mut key = Key {
        owner: Some("acme-1".into()),
        scopes: Some(vec![Scope::parse("transcripts:read").unwrap()]),
        ..fixtures::key()
    };
    change(&mut key);
    key
}

/// The key speech/ci with uid u1, whose current version is `string(1)`.
pub(super) fn record(change: impl FnOnce(&mut Key)) -> KeyRecord {
    let key = key(change);
    KeyRecord {
        name: key.name.clone(),
        uid: Arc::clone(&key.uid),
        created_at: key.created_at,
        key: Ok(key),
        id: Some("key_1".to_owned()),
        versions: vec![version(1, 1, VersionState::Current)],
        usage: Some("usage-of-u1".to_owned()),
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

pub(super) fn route(name: &str, methods: &[&str], path: &str, require: Option<&str>) -> Route {
    Route {
        methods: methods.iter().map(|method| Arc::from(*method)).collect(),
        require: require.map(|query| Query::parse(query).unwrap()),
        ..fixtures::route(name, path)
    }
}

pub(super) fn api(change: impl FnOnce(&mut Api)) -> Arc<Api> {
    let header =
        |name: &str, scheme: Option<&str>| Credential::Header { name: name.into(), scheme: scheme.map(Into::into) };
    let routes = vec![
        route("read", &["GET"], "/v1/transcripts/{*rest}", Some("transcripts:read")),
        route("write", &["POST"], "/v1/transcripts", Some("transcripts:write")),
        Route { public: true, ..route("health", &[], "/healthz", None) },
    ];
    let mut api = Api {
        credentials: vec![
            header("authorization", Some("Bearer")),
            header("x-api-key", None),
            Credential::Query { name: "api_key".into() },
        ],
        routes: Routes::build(routes).unwrap(),
        unmatched: Unmatched::Deny,
        ..fixtures::api()
    };
    change(&mut api);
    Arc::new(api)
}

/// An index that knows the API, the tier and these keys.
pub(super) fn index(api: Arc<Api>, records: Vec<KeyRecord>) -> Arc<Index> {
    let index = Index::default();
    let pro = Tier { name: "pro".into(), rate_limits: vec![limit("requests", 3, 60)], ..Tier::default() };
    index.change_policies(|policies| {
        policies.apis.insert(api.name.clone(), Ok(api));
        policies.tiers.insert(name("pro"), Ok(Arc::new(pro)));
    });
    index.set_processes(NonZeroU32::MIN);
    index.reset(records);
    Arc::new(index)
}

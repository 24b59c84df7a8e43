//! A key, a version of it and an API that say as little as possible: what tests of any module start from.

use std::time::Duration;

use jiff::Timestamp;

use super::acceptance::{Accepted, Rejection};
use super::address::AddressSet;
use super::denials::Denials;
use super::digest::Pepper;
use super::key::{Environment, KeyFormat};
use super::lifecycle::{Record, Secret, World};
use super::owner::Owner;
use super::policy::{Api, Delivery, Key, Mode, ObjectName, Preflight, Schedule, Unmatched};
use super::rotation::{Version, VersionState};
use super::route::{Route, Routes};
use super::usage::object::UsageObject;

/// The key speech/ci of the API speech/transcripts, created at the epoch.
pub(crate) fn key() -> Key {
    Key {
        name: ObjectName::new("speech", "ci"),
        uid: "u1".into(),
        created_at: Timestamp::UNIX_EPOCH,
        api: ObjectName::new("speech", "transcripts"),
        environment: Environment::Live,
        owner: None,
        tier: None,
        scopes: None,
        roles: vec![],
        ip_allowlist: AddressSet::default(),
        resources: vec![],
        rate_limits: vec![],
        quotas: vec![],
        credits: None,
        enabled: true,
        revoked: false,
        expires_at: None,
        rotation: Schedule::default(),
        rotation_request: None,
        secret_name: "ci".into(),
        delivery: Delivery::Retain,
        source: None,
    }
}

/// One like it of another name, created so many seconds after the epoch.
pub(crate) fn key_named(name: &str, second: i64) -> Key {
    let created_at = Timestamp::from_second(second).unwrap();
    Key { name: ObjectName::new("speech", name), uid: name.into(), created_at, ..key() }
}

/// A version with a string of its own, minted at the epoch under p1.
pub(crate) fn version(number: u32, state: VersionState) -> Version {
    Version {
        number,
        digest: Pepper::new("p1", &[7; 32]).unwrap().digest_of(&number.to_be_bytes()),
        pepper: "p1".into(),
        start: "sk_live_abcd".into(),
        minted_at: Timestamp::UNIX_EPOCH,
        state,
        not_after: None,
        superseded_at: None,
        request: None,
        handover: None,
    }
}

/// The owner speech/acme.
pub(crate) fn owner() -> Owner {
    Owner {
        object: ObjectName::new("speech", "acme"),
        uid: "u1".into(),
        namespaces: vec![],
        tier: None,
        rate_limits: vec![],
        quotas: vec![],
        max_active_keys: None,
        usage: None,
    }
}

/// A route that any key may take, with any method.
pub(crate) fn route(name: &str, path: &str) -> Route {
    Route {
        name: name.into(),
        methods: vec![],
        path: path.into(),
        require: None,
        resource: None,
        cost: 1,
        charges: vec![],
        public: false,
    }
}

/// The API speech/transcripts, without credentials and routes.
pub(crate) fn api() -> Api {
    Api {
        name: ObjectName::new("speech", "transcripts"),
        mode: Mode::Enforce,
        key_format: KeyFormat { prefix: "sk".into(), length: 32 },
        credentials: vec![],
        grants: vec![],
        default_tier: None,
        default_schedule: Schedule::default(),
        expires_after: None,
        default_scopes: vec![],
        reversible_revocation: false,
        routes: Routes::default(),
        unmatched: Unmatched::RequireKey,
        preflight: Preflight::Pass,
        trusted_forwarders: AddressSet::default(),
        denials: Denials::default(),
        identify_scopes: false,
    }
}

/// A world in which there is nothing of the key but its ApiKeyUsage, and every verifier is up to date.
pub(crate) fn world<'a>(key: &'a Key, acceptance: &'a Result<Accepted, Rejection>) -> World<'a> {
    World {
        key,
        acceptance,
        record: Record { usage: Some("usage".into()), ..Record::default() },
        secret: Secret::Absent,
        moved_secrets: Vec::new(),
        import: None,
        redigested: Vec::new(),
        lost_pepper: None,
        staged: Vec::new(),
        usage: UsageObject { found: Some("usage".into()), ..UsageObject::default() },
        last_uses: Vec::new(),
        ledger: None,
        sealed: None,
        obstacle: None,
        acknowledged: Vec::new(),
        reversible_revocation: false,
        known_to_verifiers: true,
        waited: Duration::ZERO,
    }
}

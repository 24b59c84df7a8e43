//! A verifier with one key in it, and where its ApiKeyUsage is: what tests of what the feed writes start from.

pub(super) mod usages;

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::core::digest::Pepper;
use crate::core::fixtures;
use crate::core::key::{Environment, KeyFormat};
use crate::core::policy::{Api, Credential, Key};
use crate::core::rotation::VersionState;
use crate::verify::engine::{Engine, Judgement};
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::{Index, KeyRecord, KeyVersion};
use crate::verify::request::{ClientAddress, Original, Request};

pub(super) struct Verifier {
    pub(super) index: Arc<Index>,
    engine: Engine,
    string: String,
}

impl Verifier {
    /// The key is speech/ci, with uid u1, and its ApiKeyUsage has uid 1.
    pub(super) fn new(change: impl FnOnce(&mut Key)) -> Self {
        let format = KeyFormat { prefix: "sk".into(), length: 32 };
        let Ok::<_, Infallible>(string) = format.mint(Environment::Live, |bytes| {
            bytes.fill(3);
            Ok(())
        });
        let pepper = Pepper::new("p1", &[7; 32]).unwrap();
        let digest = pepper.digest(&string);
        let index = Arc::new(Index::default());
        index.set_processes(NonZeroU32::MIN);
        let credentials = vec![Credential::Header { name: "x-api-key".into(), scheme: None }];
        let api = Api { credentials, ..fixtures::api() };
        index.change_policies(|policies| {
            policies.apis.insert(api.name.clone(), Ok(Arc::new(api)));
        });
        let mut key = fixtures::key();
        change(&mut key);
        index.apply(KeyRecord {
            name: key.name.clone(),
            uid: Arc::clone(&key.uid),
            created_at: key.created_at,
            key: Ok(key),
            id: None,
            usage: Some("1".into()),
            versions: vec![KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None }],
            revoked_for_good: false,
            refused_by_controller: None,
        });
        let gate = Gate::new(Duration::from_secs(30));
        gate.permit(Duration::from_secs(30));
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
        let engine = Engine::new(Arc::clone(&index), Arc::new(gate), pepper.into());
        Self { index, engine, string: string.expose().to_owned() }
    }

    /// What becomes of a request with the key.
    pub(super) fn verify(&self, now: Timestamp) -> Judgement {
        let headers = [("x-api-key", self.string.as_str())];
        let original = Original { method: "GET", target: b"/", client: ClientAddress::Unknown };
        let request = Request {
            namespace: "speech",
            api: "transcripts",
            route: None,
            original: Ok(original),
            body: Ok(b""),
            headers: &headers[..],
        };
        self.engine.verify(&request, now, Duration::from_secs(1))
    }
}

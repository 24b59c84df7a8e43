//! What happens to a key, and where it must end whatever fails meanwhile.

use std::collections::BTreeMap;

use keyturn::resources::ApiKey;
use keyturn::resources::apikey::{KeyState, VersionState};
use keyturn::seal::PrivateKey;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::import::{create_secret, from_secret};
use super::super::peppers::{bytes, change as change_pepper};
use super::super::restore::secret_in_backup;
use super::super::usage::names_its_usage;
use super::super::world::{World, text};
use crate::support::wait::eventually;

/// The key that all of this is about.
pub(super) const KEY: &str = "ci";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scenario {
    Mint,
    Rotate,
    RotateWithoutGrace,
    LoseSecret,
    Rename,
    Retype,
    Revoke,
    /// With the acknowledgement there from the beginning.
    MintOnce,
    MintSealed,
    RotateToSealed,
    /// From a Secret.
    Import,
    /// Of a string that came back from a backup.
    Adopt,
    /// To another pepper, with the same string.
    Redigest,
}

/// Everything about a key and its Secrets that does not differ from run to run.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct End {
    state: Option<KeyState>,
    versions: Vec<(u32, VersionState)>,
    rotation_request: Option<String>,
    /// Type and status of each condition.
    conditions: BTreeMap<String, String>,
    /// Name of each Secret of the key, and the version whose string it holds.
    secrets: BTreeMap<String, Option<u32>>,
    /// Whether the ApiKeyUsage that the status names is there.
    usage: bool,
}

impl Scenario {
    pub(super) const ALL: [Self; 13] = [
        Self::Mint,
        Self::Rotate,
        Self::RotateWithoutGrace,
        Self::LoseSecret,
        Self::Rename,
        Self::Retype,
        Self::Revoke,
        Self::MintOnce,
        Self::MintSealed,
        Self::RotateToSealed,
        Self::Import,
        Self::Adopt,
        Self::Redigest,
    ];

    /// What is there before.
    pub(super) async fn prepare(self, world: &mut World) {
        world.start_controller().await;
        if !matches!(self, Self::Mint | Self::MintOnce | Self::MintSealed | Self::Import) {
            world.create_key(KEY, json!({})).await;
            Self::Mint.wait_for_the_end(world, "no fault").await;
        }
        world.stop_controller().await;
        if self == Self::Adopt {
            let secret = secret_in_backup(world.secrets().get(KEY).await.unwrap());
            // Nobody but the garbage collector is at work, and it does not take what is gone.
            world.secrets().delete(KEY, &DeleteParams::default()).await.unwrap();
            world.delete_key(KEY).await;
            world.secrets().create(&PostParams::default(), &secret).await.unwrap();
        }
    }

    /// What a user does; nobody is at work yet.
    pub(super) async fn act(self, world: &World) {
        match self {
            Self::Import => {
                create_secret(world, "old", "legacy/0123456789+abcdef==", true).await;
                world.create_key(KEY, from_secret("old")).await;
            }
            Self::Mint | Self::Adopt => {
                world.create_key(KEY, json!({})).await;
            }
            Self::Redigest => {
                let pepper = json!({"p2": bytes(&[2; 32]), "active": bytes(b"p2")});
                change_pepper(world, pepper).await;
            }
            Self::Rotate => {
                world.patch_key(KEY, json!({"rotation": {"request": {"id": "r1", "gracePeriod": "1h"}}})).await;
            }
            Self::RotateWithoutGrace => {
                world.patch_key(KEY, json!({"rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}})).await;
            }
            Self::LoseSecret => {
                world.secrets().delete(KEY, &DeleteParams::default()).await.unwrap();
            }
            Self::Rename => {
                world.patch_key(KEY, json!({"secret": {"name": "other"}})).await;
            }
            Self::Retype => {
                let secret = json!({"type": "kubernetes.io/basic-auth", "data": {"password": "$(apiKey)"}});
                world.patch_key(KEY, json!({"secret": secret})).await;
            }
            Self::Revoke => {
                world.patch_key(KEY, json!({"revoked": true})).await;
            }
            Self::MintOnce => {
                world.create_key(KEY, json!({"secret": {"delivery": "Once"}})).await;
                let change = json!({"metadata": {"annotations": {"keyturn.dev/delivered": "1"}}});
                world.keys().patch(KEY, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
            }
            Self::MintSealed => {
                world.create_key(KEY, json!({"secret": sealed()})).await;
            }
            Self::RotateToSealed => {
                let rotation = json!({"request": {"id": "r1", "gracePeriod": "1h"}});
                world.patch_key(KEY, json!({"rotation": rotation, "secret": sealed()})).await;
            }
        }
    }

    fn end(self) -> End {
        use VersionState::{Current, Grace, Retired};
        let revoked = self == Self::Revoke;
        let versions = match self {
            Self::Rotate | Self::LoseSecret | Self::RotateToSealed => vec![(2, Current), (1, Grace)],
            Self::RotateWithoutGrace => vec![(2, Current), (1, Retired)],
            _ => vec![(1, Current)],
        };
        let secrets = match self {
            Self::Revoke | Self::MintOnce | Self::MintSealed | Self::RotateToSealed => vec![],
            Self::Rename => vec![("other".to_owned(), Some(1))],
            _ => vec![(KEY.to_owned(), Some(versions[0].0))],
        };
        let holds = |holds: bool| if holds { "True" } else { "False" }.to_owned();
        End {
            state: Some(if revoked { KeyState::Revoked } else { KeyState::Active }),
            versions,
            rotation_request: matches!(self, Self::Rotate | Self::RotateWithoutGrace | Self::RotateToSealed)
                .then(|| "r1".to_owned()),
            conditions: [("Accepted", true), ("Enforced", true), ("Ready", !revoked), ("SecretSynced", !revoked)]
                .map(|(kind, is)| (kind.to_owned(), holds(is)))
                .into(),
            secrets: secrets.into_iter().collect(),
            usage: true,
        }
    }

    /// Waits until everything is as it must be in the end; `faults` tells what went wrong on the way.
    pub(super) async fn wait_for_the_end(self, world: &World, faults: &str) {
        let expected = self.end();
        eventually(&format!("{self:?} with {faults} ends as it does without"), async || {
            let key = world.keys().get(KEY).await.map_err(|error| error.to_string())?;
            let found = look(world, &key).await?;
            let observed = key.status.as_ref().and_then(|status| status.observed_generation);
            if observed == key.metadata.generation && found == expected {
                Ok(())
            } else {
                Err(format!("{found:#?} instead of {expected:#?}"))
            }
        })
        .await;
    }
}

fn sealed() -> Value {
    let (_, public) = PrivateKey::generate().unwrap();
    json!({"delivery": "Sealed", "sealTo": public})
}

async fn look(world: &World, key: &ApiKey) -> Result<End, String> {
    let status = key.status.clone().ok_or("there is no status")?;
    let pepper = world.pepper().await;
    let mut secrets = BTreeMap::new();
    for name in world.secret_names().await {
        let secret = world.secrets().get(&name).await.map_err(|error| error.to_string())?;
        let string = text(&secret, "api-key").unwrap_or_default();
        let digest = pepper.digest_of(string.as_bytes()).to_hex();
        let held = status.versions.iter().find(|version| version.digest == digest).map(|version| version.number);
        let proven = held.filter(|number| {
            let api = format!("{}/{}", key.namespace().unwrap_or_default(), key.spec.api_ref.name);
            let (id, number) = (status.id.as_deref().unwrap_or_default(), number.to_string());
            let parts = ["adopt", &key.namespace().unwrap_or_default(), KEY, &api, id, &number, &string];
            text(&secret, "api-key-proof") == Some(pepper.prove(&parts.map(str::as_bytes)))
        });
        secrets.insert(name, proven);
    }
    Ok(End {
        state: status.state,
        versions: status.versions.iter().map(|version| (version.number, version.state)).collect(),
        rotation_request: status.rotation_request,
        conditions: status.conditions.into_iter().map(|condition| (condition.type_, condition.status)).collect(),
        secrets,
        usage: names_its_usage(world, key).await,
    })
}

//! The custom resources: what people write, what the server refuses, what Keyturn answers in `status`, and
//! how a manifest becomes the values of [`crate::core`], once, at the border.
#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema repeats each struct, visibility included, inside a function"
)]

pub mod account;
pub mod apikey;
pub mod apikeyowner;
pub mod apikeyrole;
pub mod apikeytier;
pub mod apikeyusage;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod judging;
pub mod limits;
pub mod metadata;
pub mod names;
pub mod notices;
pub mod pepper;
pub mod protectedapi;
pub mod references;
pub mod rotation;

mod defaults;
mod parse;
mod rules;
mod selector;

pub use apikey::ApiKey;
pub use apikeyowner::ApiKeyOwner;
pub use apikeyrole::ApiKeyRole;
pub use apikeytier::ApiKeyTier;
pub use apikeyusage::ApiKeyUsage;
pub use crds::{CrdFile, all_crds, crd_files, crd_yaml};
pub use protectedapi::ProtectedApi;

//! Bytes that go through a real nginx with a key, from its log through the shipper and a verifier into the key's
//! ApiKeyUsage.

mod shipping;
mod trust;
mod world;

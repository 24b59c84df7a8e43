//! Bytes that go through a real nginx with a key, from its log through the shipper and a verifier into the key's
//! ApiKeyUsage; and through a real Envoy, which reports them itself.

mod envoy;
mod shipping;
mod trust;
mod world;

//! What tests of whole processes share. Everything here panics with a sentence when it cannot do its work,
//! and cleans up when it is dropped.

pub(crate) mod accounts;
pub(crate) mod apiserver;
pub(crate) mod apply;
pub(crate) mod backend;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod envoy;
pub(crate) mod etcd;
pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod installation;
pub(crate) mod keyturn;
pub(crate) mod network;
pub(crate) mod nginx;
pub(crate) mod own_cluster;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod wait;
pub(crate) mod websocket;

/// The repository.
pub(crate) fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

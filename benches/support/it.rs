//! The test support, as far as benchmarks with processes of their own need it.

#[path = "../../tests/it/support/accounts.rs"]
pub(crate) mod accounts;
#[path = "../../tests/it/support/apply.rs"]
pub(crate) mod apply;
#[path = "../../tests/it/support/backend.rs"]
pub(crate) mod backend;
#[path = "../../tests/it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../tests/it/support/etcd.rs"]
pub(crate) mod etcd;
#[path = "../../tests/it/support/http.rs"]
pub(crate) mod http;
#[path = "../../tests/it/support/keyturn.rs"]
pub(crate) mod keyturn;
#[path = "../../tests/it/support/nginx.rs"]
pub(crate) mod nginx;
#[path = "../../tests/it/support/ports.rs"]
pub(crate) mod ports;
#[path = "../../tests/it/support/process.rs"]
pub(crate) mod process;
#[path = "../../tests/it/support/wait.rs"]
pub(crate) mod wait;

pub(crate) fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

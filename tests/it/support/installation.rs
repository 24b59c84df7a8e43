//! Everything that stands between a client and an application: controller, verifier and nginx, all real.

use super::backend::Backend;
use super::cluster::Namespace;
use super::keyturn::Keyturn;
use super::nginx::Nginx;

pub(crate) struct Installation {
    pub(crate) nginx: Nginx,
    pub(crate) backend: Backend,
    _verifier: Keyturn,
    _controller: Keyturn,
    pub(crate) namespace: Namespace,
}

impl Installation {
    /// In a namespace of its own, in front of an application whose API has this name there.
    pub(crate) async fn protecting(api: &str) -> Self {
        let namespace = Namespace::create().await;
        let controller = Keyturn::controller(&namespace).await;
        let mut verifier = Keyturn::verifier(&namespace);
        verifier.ready().await;
        let backend = Backend::start().await;
        let api = format!("{}/{api}", namespace.name());
        let nginx = Nginx::protecting(&api, verifier.auth(), backend.address()).await;
        Self { nginx, backend, _verifier: verifier, _controller: controller, namespace }
    }
}

//! Everything from the client's side of one real proxy on.

use super::proxies::{any_port, verifier};
use super::world::{Api, engine};
use crate::nginx::verifier::Verifier;
use crate::support::backend::Backend;
use crate::support::proxy::{Kind, Options, Proxy};

pub(super) const ALL: [Kind; 6] =
    [Kind::Nginx, Kind::Traefik, Kind::Caddy, Kind::Haproxy, Kind::Envoy, Kind::EnvoyGrpc];

pub(super) struct Site {
    pub(super) kind: Kind,
    pub(super) proxy: Proxy,
    pub(super) backend: Backend,
    pub(super) verifier: Verifier,
}

impl Site {
    pub(super) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, Api::Transcripts, Options::default()).await
    }

    pub(super) async fn start_with(kind: Kind, api: Api, options: Options) -> Self {
        Self::start_edited(kind, api, options, |text| text).await
    }

    /// With `edit` of the configuration that a person is asked to edit.
    pub(super) async fn start_edited(
        kind: Kind,
        api: Api,
        options: Options,
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let (engine, outside) = engine();
        let (verifier, backend) = (verifier(kind, any_port(), Some(engine), outside).await, Backend::start().await);
        let api = format!("speech/{}", api.name());
        let proxy = Proxy::start_edited(kind, &api, verifier.address(), backend.address(), options, edit).await;
        backend.take();
        Self { kind, proxy, backend, verifier }
    }
}

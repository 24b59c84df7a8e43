//! The side that calls.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{TlsError, authorities, identity, provider};

/// Whom a client trusts, and how it proves who it is.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// Authorities by one of which the server's certificate must be signed; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// A certificate and its private key; `None`: the client shows none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Makes connections as the files say now.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn connector(&self) -> Result<TlsConnector, TlsError> {
        let roots = match &self.ca {
            Some(file) => authorities(file).await?,
            None => system_authorities()?,
        };
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(TlsError::Versions)?.with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, private) = identity(certificate, key).await?;
                let config = builder.with_client_auth_cert(chain, private);
                config.map_err(|error| TlsError::Identity(certificate.clone(), error))?
            }
        };
        Ok(Arc::new(config).into())
    }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Of what a system trusts some may be unreadable; what is left is trusted all the same.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthority) } else { Ok(roots) }
}

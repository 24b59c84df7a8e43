//! The side that is called.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::{TlsError, authorities, identity, provider};

/// How a server proves who it is, and how its callers do.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// The certificate, and those that it is signed by.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities by one of which a caller's certificate must be signed; `None`: callers need none.
    pub client_ca: Option<PathBuf>,
}

/// TLS for a listener. The files are read again when one of them has changed; as long as they cannot be used then, nobody
/// gets in.
pub struct ServerTls {
    files: ServerFiles,
    /// What is offered to callers as the protocol inside, the best first.
    protocols: &'static [&'static [u8]],
    known: Mutex<Option<(Stamp, Arc<ServerConfig>)>>,
}

/// Tells one state of the files from another.
type Stamp = Vec<(u64, u64, u64, i64, i64)>;

impl ServerTls {
    /// Reads the files, so that a mistake is told now.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn new(files: ServerFiles, protocols: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let tls = Self { files, protocols, known: Mutex::default() };
        tls.acceptor().await?;
        Ok(tls)
    }

    /// Accepts connections as the files say now.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let stamp = self.stamp().await?;
        let mut known = self.known.lock().await;
        let config = match &*known {
            Some((before, config)) if *before == stamp => Arc::clone(config),
            _ => {
                let config = Arc::new(self.read().await?);
                *known = Some((stamp, Arc::clone(&config)));
                config
            }
        };
        Ok(config.into())
    }

    async fn read(&self) -> Result<ServerConfig, TlsError> {
        let ServerFiles { certificate, key, client_ca } = &self.files;
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(TlsError::Versions)?;
        let builder = if let Some(file) = client_ca {
            let roots = Arc::new(authorities(file).await?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(TlsError::Clients)?)
        } else {
            builder.with_no_client_auth()
        };
        let (chain, private) = identity(certificate, key).await?;
        let config = builder.with_single_cert(chain, private);
        let mut config = config.map_err(|error| TlsError::Identity(certificate.clone(), error))?;
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    async fn stamp(&self) -> Result<Stamp, TlsError> {
        let ServerFiles { certificate, key, client_ca } = &self.files;
        let mut stamp = Stamp::new();
        for file in [Some(certificate), Some(key), client_ca.as_ref()].into_iter().flatten() {
            let found = metadata(file).await?;
            stamp.push((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()));
        }
        Ok(stamp)
    }
}

async fn metadata(file: &Path) -> Result<Metadata, TlsError> {
    tokio::fs::metadata(file).await.map_err(|error| TlsError::File(file.to_owned(), error))
}

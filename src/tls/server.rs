//! The side that is called.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

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

/// TLS for a listener. The files are read again when one of them has changed. As long as certificate and key cannot be used
/// then, the last that could are; as long as the authorities cannot, nobody can be told from anybody, and nobody gets in.
pub struct ServerTls {
    files: ServerFiles,
    /// What is offered to callers as the protocol inside, the best first.
    protocols: &'static [&'static [u8]],
    known: Mutex<Known>,
}

/// Tells one state of the files from another.
type Stamp = Vec<(u64, u64, u64, i64, i64)>;

/// What was read last.
struct Known {
    /// Of the files that all of it is from; `None`: some of it is not what the files say.
    stamp: Option<Stamp>,
    identity: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
    /// Why the identity is an older one than that of the files.
    trouble: Option<Arc<TlsError>>,
}

impl ServerTls {
    /// Reads the files, so that a mistake is told now.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn new(files: ServerFiles, protocols: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let stamp = files.stamp().await;
        let identity = files.identity().await?;
        let config = files.config(&identity, protocols).await?;
        let known = Known { stamp, identity, config, trouble: None };
        Ok(Self { files, protocols, known: Mutex::new(known) })
    }

    /// Accepts connections as the files say now, or with the identity that they had before.
    ///
    /// # Errors
    /// The authorities of callers can't be read, or are none.
    pub async fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let (config, _) = self.current().await?;
        Ok(config.into())
    }

    /// Why the files cannot be used, if they can't.
    pub async fn trouble(&self) -> Option<Arc<TlsError>> {
        self.current().await.map_or_else(|error| Some(Arc::new(error)), |(_, trouble)| trouble)
    }

    async fn current(&self) -> Result<(Arc<ServerConfig>, Option<Arc<TlsError>>), TlsError> {
        // Taken before the files are read: what changes meanwhile is read again.
        let stamp = self.files.stamp().await;
        let mut known = self.known.lock().await;
        if stamp.is_none() || known.stamp != stamp {
            let read = self.files.identity().await;
            let identity = read.as_ref().map_or_else(|_| Arc::clone(&known.identity), Arc::clone);
            // Not kept until the authorities are known, too: otherwise those before would go on being trusted.
            known.stamp = None;
            let config = self.files.config(&identity, self.protocols).await?;
            let trouble = read.err().map(Arc::new);
            let stamp = stamp.filter(|_| trouble.is_none());
            *known = Known { stamp, identity, config, trouble };
        }
        Ok((Arc::clone(&known.config), known.trouble.clone()))
    }
}

impl ServerFiles {
    /// What is shown to callers.
    async fn identity(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let (chain, private) = identity(&self.certificate, &self.key).await?;
        let identity = CertifiedKey::from_der(chain, private, &provider());
        identity.map(Arc::new).map_err(|error| TlsError::Identity(self.certificate.clone(), error))
    }

    /// With that identity, for callers of whom the authorities say now that they may.
    async fn config(&self, identity: &Arc<CertifiedKey>, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(TlsError::Versions)?;
        let builder = match self.callers().await? {
            Some(callers) => builder.with_client_cert_verifier(callers),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    async fn callers(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(file) = &self.client_ca else { return Ok(None) };
        let roots = Arc::new(authorities(file).await?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        verifier.map(Some).map_err(TlsError::Clients)
    }

    /// `None`: one of them is not there.
    async fn stamp(&self) -> Option<Stamp> {
        let mut stamp = Stamp::new();
        for file in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            let found = metadata(file).await?;
            stamp.push((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()));
        }
        Some(stamp)
    }
}

async fn metadata(file: &Path) -> Option<Metadata> {
    tokio::fs::metadata(file).await.ok()
}

//! TLS from files in PEM, which may be replaced at any time: what is read is what the files hold when a connection is made.

mod client;
mod server;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{self, RootCertStore};
use zeroize::Zeroizing;

pub use client::ClientFiles;
pub use server::{ServerFiles, ServerTls};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("reading {}: there is no certificate in PEM in it", .0.display())]
    NoCertificate(PathBuf),
    #[error("reading {}: there is no private key in PEM in it", .0.display())]
    NoKey(PathBuf, #[source] pem::Error),
    #[error("reading {}: a certificate in it is none", .0.display())]
    Certificate(PathBuf, #[source] pem::Error),
    #[error("reading {}: a certificate in it is no authority's", .0.display())]
    Authority(PathBuf, #[source] rustls::Error),
    #[error("using the certificate in {} with its private key", .0.display())]
    Identity(PathBuf, #[source] rustls::Error),
    #[error("checking certificates of clients")]
    Clients(#[source] VerifierBuilderError),
    #[error("choosing the versions of TLS")]
    Versions(#[source] rustls::Error),
    #[error("there is no authority that this system trusts; name the file of one")]
    NoAuthority,
}

/// A certificate with those that it is signed by, and its private key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

async fn identity(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let pem = Zeroizing::new(read(key).await?);
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::NoKey(key.to_owned(), error))?;
    Ok((certificates(certificate).await?, private))
}

async fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).await? {
        roots.add(certificate).map_err(|error| TlsError::Authority(file.to_owned(), error))?;
    }
    Ok(roots)
}

async fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file).await?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| TlsError::Certificate(file.to_owned(), error))?;
    if found.is_empty() { Err(TlsError::NoCertificate(file.to_owned())) } else { Ok(found) }
}

async fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(file).await.map_err(|error| TlsError::File(file.to_owned(), error))
}

//! Making a connection: TCP, TLS, logging in, and having the server know the script.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    TlsCertificates,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::script;
use super::settings::{ServerUrl, Settings};
use crate::secret_file::{self, Unreadable};

/// How long a connection may take until it can be used.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("reading {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("reading {}: it is no text", .0.display())]
    Text(PathBuf),
    #[error("reading {}: there is no certificate in PEM in it", .0.display())]
    NoCertificate(PathBuf),
    #[error("reading {}: a certificate in it is none", .0.display())]
    Certificate(PathBuf, #[source] RedisError),
    #[error("connecting")]
    Connect(#[source] RedisError),
    #[error("loading the script")]
    Script(#[source] RedisError),
    #[error("connecting: no answer within 1 s")]
    TimedOut,
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) settings: Arc<Settings>,
    config: AsyncConnectionConfig,
}

impl Connector {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        // How long to wait for what is said here, where several wait for several things.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Self { settings, config }
    }

    /// A connection to a server that knows the script, and by which digest.
    pub(super) async fn connect(&self, url: &ServerUrl) -> Result<(MultiplexedConnection, String), ConnectError> {
        timeout(CONNECT_TIMEOUT, async {
            let client = self.client(url).await?;
            let connection = client.get_multiplexed_async_connection_with_config(&self.config).await;
            let mut connection = connection.map_err(ConnectError::Connect)?;
            let load = redis::cmd("SCRIPT").arg("LOAD").arg(script::SOURCE).query_async(&mut connection).await;
            Ok((connection, load.map_err(ConnectError::Script)?))
        })
        .await
        .unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn client(&self, url: &ServerUrl) -> Result<Client, ConnectError> {
        let Settings { username, password_file, ca_file, .. } = &*self.settings;
        let mut login = RedisConnectionInfo::default().set_lib_name("keyturn", env!("CARGO_PKG_VERSION"));
        if let Some(username) = username {
            login = login.set_username(username);
        }
        if let Some(file) = password_file {
            login = login.set_password(password(file).await?.expose_secret());
        }
        let (host, port) = (url.host.clone(), url.port);
        let address = if url.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info().map_err(ConnectError::Connect)?;
        let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match ca_file {
            Some(file) if url.tls => {
                let pem = read(file).await?;
                // It would be taken for authorities of which there are none.
                if CertificateDer::pem_slice_iter(&pem).next().is_none() {
                    return Err(ConnectError::NoCertificate(file.clone()));
                }
                let root_cert = Some(pem);
                let certificates = TlsCertificates { client_tls: None, root_cert };
                Client::build_with_tls(info, certificates)
                    .map_err(|error| ConnectError::Certificate(file.clone(), error))
            }
            _ => Client::open(info).map_err(ConnectError::Connect),
        }
    }
}

impl Settings {
    /// Reads the files that it names, as they will be read for every connection.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn check(self) -> Result<Self, ConnectError> {
        let connector = Connector::new(Arc::new(self));
        for url in &connector.settings.urls {
            connector.client(url).await?;
        }
        Ok(Arc::unwrap_or_clone(connector.settings))
    }
}

async fn password(file: &Path) -> Result<SecretString, ConnectError> {
    let text = secret_file::read(file).await.map_err(|error| match error {
        Unreadable::File(error) => ConnectError::File(file.to_owned(), error),
        Unreadable::NoText => ConnectError::Text(file.to_owned()),
    })?;
    Ok(SecretString::from(text.trim()))
}

async fn read(file: &Path) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(file).await.map_err(|error| ConnectError::File(file.to_owned(), error))
}

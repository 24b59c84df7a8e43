//! The report port: options, and what they make.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;

use super::{listen, options};
use crate::tls::{ServerFiles, ServerTls, TlsError};
use crate::transport::report::server::PROTOCOLS;
use crate::transport::report::{TokenError, TokenFile};

/// Options of the port on which shippers of logs report what went through proxies.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_field_names, reason = "options have the names of the fields")]
pub(super) struct Reporting {
    /// Where log shippers report how many bytes went through proxies with each key, as `keyturn ship-nginx-log` does, and
    /// Envoy by its access log service (gRPC) [default: nowhere]. They have to prove who they are: by a token, a certificate, or both where both are asked for.
    #[arg(long, env = "KEYTURN_REPORT_LISTEN", value_name = "ADDRESS")]
    report_listen: Option<String>,
    /// A file with a token of at least 32 characters that log shippers have to show; while there are several lines, any of
    /// them is good. It is read again for every report.
    #[arg(long, env = "KEYTURN_REPORT_TOKEN_FILE", value_name = "FILE")]
    report_token_file: Option<OsString>,
    /// A file with the certificate of the report port in PEM, and those that it is signed by. It, the key and the authorities
    /// are read again when they have changed.
    #[arg(long, env = "KEYTURN_REPORT_TLS_CERT", value_name = "FILE")]
    report_tls_cert: Option<OsString>,
    /// A file with the private key of that certificate in PEM.
    #[arg(long, env = "KEYTURN_REPORT_TLS_KEY", value_name = "FILE")]
    report_tls_key: Option<OsString>,
    /// A file with the certificates of authorities in PEM, by one of which the certificates of log shippers have to be signed.
    #[arg(long, env = "KEYTURN_REPORT_CLIENT_CA", value_name = "FILE")]
    report_client_ca: Option<OsString>,
}

/// Why nobody can report as the options say.
#[derive(Debug, thiserror::Error)]
pub enum ReportingError {
    #[error("--report-listen={0:?} is no address; write it as HOST:PORT, such as 0.0.0.0:8082")]
    Address(String),
    #[error("{0} is of no use without --report-listen; leave it out, or say where to listen")]
    Unused(&'static str),
    #[error("--report-listen: anybody could report anything; say by --report-token-file or --report-client-ca who may")]
    Anybody,
    #[error("{0} is missing; give --report-tls-cert and --report-tls-key both, or neither")]
    HalfIdentity(&'static str),
    #[error("--report-client-ca needs TLS; give --report-tls-cert and --report-tls-key too")]
    NoTls,
    #[error(
        "--report-listen={0}: the token would be sent in the clear; give --report-tls-cert and --report-tls-key, or listen \
         on 127.0.0.1"
    )]
    InTheClear(SocketAddr),
    #[error("reading --report-token-file")]
    Token(#[source] TokenError),
    #[error("reading --report-tls-cert, --report-tls-key and --report-client-ca")]
    Tls(#[source] TlsError),
}

/// The options, checked.
#[derive(Debug)]
struct Settings {
    address: SocketAddr,
    token: Option<PathBuf>,
    tls: Option<ServerFiles>,
}

/// A report port that listens, and those who may report.
pub(super) struct ReportListener {
    pub(super) listener: TcpListener,
    pub(super) token: Option<TokenFile>,
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl Reporting {
    /// Listens where the options say; `None`: nowhere. A mistake in a file is told now, not when somebody reports.
    pub(super) async fn listener(self) -> Result<Option<ReportListener>, super::Error> {
        let Some(Settings { address, token, tls }) = self.settings().map_err(super::Error::Reporting)? else {
            return Ok(None);
        };
        let token = match token {
            Some(file) => Some(TokenFile::new(file).await.map_err(ReportingError::Token)?),
            None => None,
        };
        let tls = match tls {
            Some(files) => Some(Arc::new(ServerTls::new(files, PROTOCOLS).await.map_err(ReportingError::Tls)?)),
            None => None,
        };
        let listener = listen(address).await?;
        tracing::info!(%address, "serving the report port");
        Ok(Some(ReportListener { listener, token, tls }))
    }

    /// Charts set variables that are empty.
    fn settings(self) -> Result<Option<Settings>, ReportingError> {
        let token = options::file(self.report_token_file);
        let (cert, key, ca) = (
            options::file(self.report_tls_cert),
            options::file(self.report_tls_key),
            options::file(self.report_client_ca),
        );
        let Some(address) = self.report_listen.filter(|address| !address.is_empty()) else {
            let given = [
                (token, "--report-token-file"),
                (cert, "--report-tls-cert"),
                (key, "--report-tls-key"),
                (ca, "--report-client-ca"),
            ];
            let unused = given.into_iter().find_map(|(file, option)| file.map(|_| option));
            return unused.map_or(Ok(None), |option| Err(ReportingError::Unused(option)));
        };
        let address: SocketAddr = address.parse().map_err(|_| ReportingError::Address(address))?;
        if token.is_none() && ca.is_none() {
            return Err(ReportingError::Anybody);
        }
        let tls = match (cert, key, ca) {
            (Some(certificate), Some(key), client_ca) => Some(ServerFiles { certificate, key, client_ca }),
            (Some(_), None, _) => return Err(ReportingError::HalfIdentity("--report-tls-key")),
            (None, Some(_), _) => return Err(ReportingError::HalfIdentity("--report-tls-cert")),
            (None, None, Some(_)) => return Err(ReportingError::NoTls),
            (None, None, None) if address.ip().is_loopback() => None,
            (None, None, None) => return Err(ReportingError::InTheClear(address)),
        };
        Ok(Some(Settings { address, token, tls }))
    }
}

impl From<ReportingError> for super::Error {
    fn from(error: ReportingError) -> Self {
        Self::Reporting(error)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        reporting: Reporting,
    }

    fn settings(line: &str) -> Result<Option<Settings>, ReportingError> {
        let words = std::iter::once("keyturn").chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).reporting.settings()
    }

    #[test]
    fn without_a_proof_of_who_reports_nothing_listens() {
        for (line, told) in [
            ("--report-listen=8082", "\"8082\" is no address"),
            ("--report-listen=127.0.0.1:8082", "by --report-token-file or --report-client-ca who may"),
            ("--report-listen=0.0.0.0:8082 --report-tls-cert=/c --report-tls-key=/k", "anybody could report anything"),
            ("--report-listen=0.0.0.0:8082 --report-token-file=", "anybody could report anything"),
            ("--report-listen=0.0.0.0:8082 --report-token-file=/t", "--report-listen=0.0.0.0:8082: the token would be"),
            ("--report-listen=[::]:8082 --report-token-file=/t", "or listen on 127.0.0.1"),
            ("--report-listen=127.0.0.1:8082 --report-client-ca=/a", "--report-client-ca needs TLS"),
            ("--report-listen=[::1]:1 --report-token-file=/t --report-tls-cert=/c", "--report-tls-key is missing"),
            ("--report-listen=[::1]:1 --report-token-file=/t --report-tls-key=/c", "--report-tls-cert is missing"),
            ("--report-token-file=/t", "--report-token-file is of no use without --report-listen"),
            ("--report-listen= --report-client-ca=/a", "--report-client-ca is of no use without --report-listen"),
        ] {
            let told_of = settings(line).unwrap_err().to_string();
            assert!(told_of.contains(told), "{line}: {told_of}");
        }
    }

    #[test]
    fn nothing_given_listens_nowhere() {
        assert!(settings("").unwrap().is_none());
        assert!(settings("--report-listen= --report-token-file= --report-tls-cert=").unwrap().is_none());
    }

    #[test]
    fn what_is_given_is_used() {
        let plain = settings("--report-listen=127.0.0.1:8082 --report-token-file=/t").unwrap().unwrap();
        assert_eq!((plain.token, plain.tls.is_none()), (Some("/t".into()), true));
        let files = "--report-tls-cert=/c --report-tls-key=/k --report-client-ca=/a";
        let mutual = settings(&format!("--report-listen=0.0.0.0:8082 {files}")).unwrap().unwrap();
        let tls = mutual.tls.unwrap();
        assert_eq!((tls.certificate, tls.key, tls.client_ca), ("/c".into(), "/k".into(), Some("/a".into())));
        assert_eq!((mutual.token, mutual.address), (None, "0.0.0.0:8082".parse().unwrap()));
    }
}

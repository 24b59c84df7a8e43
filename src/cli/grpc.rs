//! The gRPC port: options, and what they make.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use clap::builder::FalseyValueParser;
use tokio::net::TcpListener;
use tracing::info;

use super::{listen, options};
use crate::tls::{ServerFiles, ServerTls, TlsError};
use crate::transport::grpc::server::PROTOCOL;

/// The port, which is listened on.
pub(super) struct Opened {
    pub(super) listener: TcpListener,
    /// `None`: in the clear.
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) route_by_host: bool,
}

/// Options of the gRPC port.
#[derive(Clone, Debug, Args)]
pub(super) struct GrpcOptions {
    /// Where Envoy asks over gRPC (envoy.service.auth.v3), with grpc.health.v1 beside it [default: nowhere].
    #[arg(
        long,
        env = "KEYTURN_GRPC_LISTEN",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true,
        value_parser = address
    )]
    grpc_listen: Address,
    /// A file with the certificate of the gRPC port in PEM, and those that it is signed by [default: no TLS]. It may be
    /// replaced at any time.
    #[arg(long, env = "KEYTURN_GRPC_TLS_CERT", value_name = "FILE")]
    grpc_tls_cert: Option<OsString>,
    /// A file with the certificate's private key in PEM.
    #[arg(long, env = "KEYTURN_GRPC_TLS_KEY", value_name = "FILE")]
    grpc_tls_key: Option<OsString>,
    /// A file with the certificates of authorities in PEM, by one of which the certificate of whoever asks over gRPC must
    /// be signed [default: whoever asks needs none].
    #[arg(long, env = "KEYTURN_GRPC_CLIENT_CA", value_name = "FILE")]
    grpc_client_ca: Option<OsString>,
    /// Judge gRPC requests that name no API by the one whose spec.hosts has their host. Whoever may write ProtectedApis
    /// may then claim hosts.
    #[arg(long, env = "KEYTURN_ROUTE_BY_HOST", value_parser = FalseyValueParser::new())]
    route_by_host: bool,
}

/// Where to listen, if anywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Address(Option<SocketAddr>);

/// Why the port can't be opened as the options say.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error("--grpc-tls-cert and --grpc-tls-key belong together; give both or neither")]
    HalfTls,
    #[error("--grpc-client-ca is of no use without TLS; give --grpc-tls-cert and --grpc-tls-key too")]
    ClientsWithoutTls,
    #[error("{0} is of no use without the gRPC port; give --grpc-listen=ADDRESS, or leave it out")]
    NoPort(&'static str),
    #[error("reading the files of the gRPC port's TLS")]
    Tls(#[source] TlsError),
}

impl GrpcOptions {
    /// Listens; `None`: there is to be no such port.
    pub(super) async fn open(self) -> Result<Option<Opened>, super::Error> {
        let files = self.files().map_err(super::Error::Grpc)?;
        let Address(Some(address)) = self.grpc_listen else { return Ok(None) };
        let tls = match files {
            // A mistake is told now, not when the first proxy connects.
            Some(files) => {
                Some(ServerTls::new(files, PROTOCOL).await.map_err(GrpcError::Tls).map_err(super::Error::Grpc)?)
            }
            None => None,
        };
        let listener = listen(address).await?;
        info!(%address, tls = tls.is_some(), "serving gRPC");
        Ok(Some(Opened { listener, tls: tls.map(Arc::new), route_by_host: self.route_by_host }))
    }

    /// Charts set variables that are empty.
    fn files(&self) -> Result<Option<ServerFiles>, GrpcError> {
        let (certificate, key) = (options::file(self.grpc_tls_cert.clone()), options::file(self.grpc_tls_key.clone()));
        let client_ca = options::file(self.grpc_client_ca.clone());
        if self.grpc_listen.0.is_none() {
            for (option, given) in [
                ("--grpc-tls-cert", certificate.is_some()),
                ("--grpc-tls-key", key.is_some()),
                ("--grpc-client-ca", client_ca.is_some()),
                ("--route-by-host", self.route_by_host),
            ] {
                if given {
                    return Err(GrpcError::NoPort(option));
                }
            }
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(ServerFiles { certificate, key, client_ca })),
            (None, None) if client_ca.is_some() => Err(GrpcError::ClientsWithoutTls),
            (None, None) => Ok(None),
            _ => Err(GrpcError::HalfTls),
        }
    }
}

/// Charts set variables that are empty.
fn address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Ok(Address(None));
    }
    text.parse().map(|address| Address(Some(address))).map_err(|_| "write it as 0.0.0.0:9090 or [::]:9090".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        grpc: GrpcOptions,
    }

    fn options(line: &[&str]) -> GrpcOptions {
        let line = Line::try_parse_from(std::iter::once("keyturn").chain(line.iter().copied()));
        line.unwrap_or_else(|error| panic!("{error}")).grpc
    }

    const LISTEN: &str = "--grpc-listen=127.0.0.1:9090";

    #[test]
    fn options_that_do_not_fit_are_refused_with_a_remedy() {
        for (line, part) in [
            (&[LISTEN, "--grpc-tls-cert=/c"][..], "give both or neither"),
            (&[LISTEN, "--grpc-tls-key=/k", "--grpc-tls-cert="], "give both or neither"),
            (&[LISTEN, "--grpc-client-ca=/ca"], "give --grpc-tls-cert and --grpc-tls-key too"),
            (&["--route-by-host"], "--route-by-host is of no use without the gRPC port"),
            (&["--grpc-tls-cert=/c", "--grpc-tls-key=/k"], "--grpc-tls-cert is of no use without the gRPC port"),
        ] {
            let error = options(line).files().unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
        let error = Line::try_parse_from(["keyturn", "--grpc-listen=9090"]).unwrap_err().to_string();
        assert!(error.contains("write it as 0.0.0.0:9090"), "{error}");
    }

    #[test]
    fn nothing_given_and_what_charts_leave_empty_opens_no_port() {
        for line in [&[][..], &["--grpc-listen=", "--grpc-tls-cert=", "--grpc-tls-key=", "--grpc-client-ca="]] {
            let options = options(line);
            assert_eq!(options.grpc_listen, Address(None));
            assert!(options.files().unwrap().is_none());
        }
    }

    #[test]
    fn what_is_given_is_used() {
        let options =
            options(&[LISTEN, "--grpc-tls-cert=/c", "--grpc-tls-key=/k", "--grpc-client-ca=/ca", "--route-by-host"]);
        let files = options.files().unwrap().unwrap();
        assert_eq!((files.certificate, files.key, files.client_ca), ("/c".into(), "/k".into(), Some("/ca".into())));
        assert_eq!(options.grpc_listen, Address("127.0.0.1:9090".parse().ok()));
        assert!(options.route_by_host);
    }
}

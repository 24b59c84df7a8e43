//! The gRPC port: options, and what they make.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::FalseyValueParser;
use tokio::net::TcpListener;
use tracing::info;

use super::listen;

/// The port, which is listened on.
pub(super) struct Opened {
    pub(super) listener: TcpListener,
    pub(super) route_by_host: bool,
}

/// Options of the gRPC port.
#[derive(Clone, Debug, Args)]
pub(super) struct Grpc {
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
    #[error("--route-by-host is of no use without the gRPC port; give --grpc-listen=ADDRESS, or leave it out")]
    NoPort,
}

impl Grpc {
    /// Listens; `None`: there is to be no such port.
    pub(super) async fn open(self) -> Result<Option<Opened>, super::Error> {
        let Some(address) = self.address().map_err(super::Error::Grpc)? else { return Ok(None) };
        let listener = listen(address).await?;
        info!(%address, "serving gRPC");
        Ok(Some(Opened { listener, route_by_host: self.route_by_host }))
    }

    fn address(&self) -> Result<Option<SocketAddr>, GrpcError> {
        match self.grpc_listen.0 {
            None if self.route_by_host => Err(GrpcError::NoPort),
            address => Ok(address),
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
        grpc: Grpc,
    }

    fn options(line: &[&str]) -> Grpc {
        let line = Line::try_parse_from(std::iter::once("keyturn").chain(line.iter().copied()));
        line.unwrap_or_else(|error| panic!("{error}")).grpc
    }

    #[test]
    fn options_that_do_not_fit_are_refused_with_a_remedy() {
        let error = options(&["--route-by-host"]).address().unwrap_err().to_string();
        assert!(error.contains("give --grpc-listen=ADDRESS"), "{error}");
        let error = Line::try_parse_from(["keyturn", "--grpc-listen=9090"]).unwrap_err().to_string();
        assert!(error.contains("write it as 0.0.0.0:9090"), "{error}");
    }

    #[test]
    fn nothing_given_and_what_charts_leave_empty_opens_no_port() {
        for line in [&[][..], &["--grpc-listen="]] {
            assert_eq!(options(line).address().unwrap(), None);
        }
    }

    #[test]
    fn what_is_given_is_used() {
        let options = options(&["--grpc-listen=127.0.0.1:9090", "--route-by-host"]);
        assert_eq!(options.address().unwrap(), "127.0.0.1:9090".parse().ok());
        assert!(options.route_by_host);
    }
}

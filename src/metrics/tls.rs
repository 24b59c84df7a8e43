//! The files of the ports that speak TLS.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Whether the files of TLS can be used.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles(Family<Labels, Gauge>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    port: TlsPort,
}

/// A port that may speak TLS.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum TlsPort {
    /// Where Envoy asks.
    Grpc,
    /// Where log shippers report.
    Report,
}

impl TlsFiles {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let files = Self::default();
        let help = "1 while the files of a port's TLS cannot be used, so that it is served with what was read before";
        registry.register("tls_files_unusable", help, files.0.clone());
        files
    }

    /// Whether what is in a port's files now can be used.
    pub fn set_usable(&self, port: TlsPort, usable: bool) {
        self.0.get_or_create(&Labels { port }).set(i64::from(!usable));
    }
}

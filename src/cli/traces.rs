//! Traces: options, and what they make.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use opentelemetry_otlp::ExporterBuildError;
use tokio::runtime::Handle;
use tracing::info;

use super::options;
use crate::call::{Caller, Url};
use crate::metrics::Metrics;
use crate::spans::{Settings, Spans};
use crate::tls::{ClientFiles, TlsError};

/// The usual name of the service.
const SERVICE: &str = "keyturn";

/// Options of traces. Those that OpenTelemetry has given a name are known by it in the environment.
#[derive(Clone, Debug, Args)]
pub(super) struct Traces {
    /// The collector that spans are sent to, by OTLP over HTTP: https://HOST:PORT, usually port 4318. Only requests of which
    /// the proxy or client has the trace recorded have spans [default: nothing is traced].
    #[arg(
        long = "otlp-endpoint",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        default_value = "",
        hide_default_value = true,
        value_parser = collector
    )]
    endpoint: Collector,
    /// A file with the certificates of authorities in PEM, by one of which the collector's is signed [default: those that
    /// the system trusts].
    #[arg(long = "otlp-ca-file", id = "otlp_ca_file", env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    ca_file: Option<OsString>,
    /// What the service is called in traces [default: keyturn].
    #[arg(long = "otlp-service-name", env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    service_name: Option<String>,
}

/// Where the collector is, if there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Collector(Option<Url>);

/// Why nothing can be traced as the options say.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("--otlp-ca-file is of no use without TLS; write --otlp-endpoint=https://HOST:PORT, or leave it out")]
    NoTls,
    #[error("reading the files that the options name")]
    Tls(#[source] TlsError),
    #[error("setting up the export of spans")]
    Export(#[source] ExporterBuildError),
}

impl Traces {
    /// Begins to export; `None`: nothing is to be traced.
    pub(super) async fn spans(self, metrics: Arc<Metrics>) -> Result<Option<Arc<Spans>>, TracesError> {
        let ca = options::file(self.ca_file);
        let Collector(Some(url)) = self.endpoint else { return Ok(None) };
        if ca.is_some() && !url.has_tls() {
            return Err(TracesError::NoTls);
        }
        info!(collector = %url, "requests that somebody follows are traced");
        let collector = Caller::new(url, ClientFiles { ca, identity: None }).await.map_err(TracesError::Tls)?;
        let service = self.service_name.filter(|name| !name.is_empty()).unwrap_or_else(|| SERVICE.to_owned());
        let settings = Settings { collector, service, instance: super::process_name() };
        let spans = Spans::new(settings, metrics, Handle::current()).map_err(TracesError::Export)?;
        Ok(Some(Arc::new(spans)))
    }
}

/// Charts set variables that are empty.
fn collector(text: &str) -> Result<Collector, String> {
    if text.is_empty() {
        return Ok(Collector(None));
    }
    text.parse().map(|url| Collector(Some(url))).map_err(|error: crate::call::UrlError| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        traces: Traces,
    }

    fn options(line: &[&str]) -> Result<Traces, String> {
        let line = Line::try_parse_from(std::iter::once("keyturn").chain(line.iter().copied()));
        line.map(|line| line.traces).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn options_that_do_not_fit_are_refused_with_a_remedy() {
        for (endpoint, part) in [
            ("collector:4318", "write it as https://HOST:PORT"),
            ("http://collector:4318/v1/traces", "end it after the port"),
        ] {
            let error = options(&["--otlp-endpoint", endpoint]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let options = options(&["--otlp-endpoint=http://collector:4318", "--otlp-ca-file=/ca"]).unwrap();
        let error = options.spans(Arc::new(Metrics::new())).await.unwrap_err().to_string();
        assert!(error.contains("write --otlp-endpoint=https://HOST:PORT"), "{error}");
    }

    #[tokio::test]
    async fn nothing_given_and_what_charts_leave_empty_traces_nothing() {
        for line in [&[][..], &["--otlp-endpoint=", "--otlp-ca-file=", "--otlp-service-name="]] {
            let spans = options(line).unwrap().spans(Arc::new(Metrics::new())).await.unwrap();
            assert!(spans.is_none());
        }
    }
}

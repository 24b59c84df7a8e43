//! `keyturn ship-nginx-log`: options, and what they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{block_on, shutdown};
use crate::call::Url;
use crate::core::duration;
use crate::shipper::{self, SendError, Sender};
use crate::tls::ClientFiles;

/// What to ship, and where to.
#[derive(Clone, Debug, Args)]
pub(super) struct ShipNginxLog {
    /// The access log in the format keyturn_bandwidth, as nginx opens it.
    #[arg(long, env = "KEYTURN_SHIP_FILE", value_name = "FILE")]
    file: PathBuf,
    /// The report port of the verifiers: https://HOST:PORT, or http://127.0.0.1:PORT on the same machine.
    #[arg(long, env = "KEYTURN_SHIP_TO", value_name = "URL")]
    to: Url,
    /// A file with the token to show. It is read again for every batch.
    #[arg(long, env = "KEYTURN_SHIP_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with the certificates of authorities in PEM, by one of which the report port's is signed [default: those that
    /// the system trusts].
    #[arg(long, env = "KEYTURN_SHIP_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with the certificate to show in PEM.
    #[arg(long, env = "KEYTURN_SHIP_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// A file with the private key of that certificate in PEM.
    #[arg(long, env = "KEYTURN_SHIP_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Where to note how far the log was read [default: beside it, with .shipped after its name].
    #[arg(long, env = "KEYTURN_SHIP_STATE_FILE", value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// How often to report. At least 1s.
    #[arg(long, env = "KEYTURN_SHIP_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = interval)]
    interval: Duration,
}

pub(super) const HELP: &str = "\
In nginx, with config/ingress/nginx beside its configuration:
  http { include keyturn-log.conf; … }
  and where the other access_log lines are:
  access_log /var/log/nginx/keyturn.log keyturn_bandwidth if=$keyturn_id;

Examples:
  keyturn ship-nginx-log --file /var/log/nginx/keyturn.log --to https://keyturn-reports.keyturn-system:8082 \\
      --ca-file ca.crt --token-file token
      shows the token that the verifiers have by --report-token-file
  keyturn ship-nginx-log --file /var/log/nginx/keyturn.log --to https://keyturn-reports.keyturn-system:8082 \\
      --ca-file ca.crt --client-cert nginx.crt --client-key nginx.key
      shows a certificate that is signed by --report-client-ca

The log may be rotated by renaming it; leave the last one uncompressed (delaycompress of logrotate). What the log holds
when the shipper is started for the first time is reported too.";

/// Why nothing is shipped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing says who reports; give --token-file, or --client-cert and --client-key")]
    Nobody,
    #[error("--to: the token would be sent in the clear; write https://, or http://127.0.0.1 on the same machine")]
    InTheClear,
    #[error("{0} is of no use without TLS; write --to=https://HOST:PORT")]
    NoTls(&'static str),
    #[error("reading the files that the options name")]
    Files(#[source] SendError),
    #[error("following the log")]
    Ship(#[source] shipper::Error),
}

/// Ships until it is told to go.
pub(super) fn run(options: ShipNginxLog) -> Result<(), super::Error> {
    block_on(async {
        let stop = shutdown::token()?;
        let options = options.settings().await?;
        Ok(shipper::run(options, &stop).await.map_err(Error::Ship)?)
    })
}

impl ShipNginxLog {
    async fn settings(self) -> Result<shipper::Options, Error> {
        self.check()?;
        let Self { file, to, token_file, ca_file, client_cert, client_key, state_file, interval } = self;
        let files = ClientFiles { ca: ca_file, identity: client_cert.zip(client_key) };
        let sender = Sender::new(to, token_file, files).await.map_err(Error::Files)?;
        let state = state_file.unwrap_or_else(|| file.with_added_extension("shipped"));
        Ok(shipper::Options { file, state, interval, sender })
    }

    fn check(&self) -> Result<(), Error> {
        if self.to.has_tls() {
            return if self.token_file.is_none() && self.client_cert.is_none() { Err(Error::Nobody) } else { Ok(()) };
        }
        if self.client_cert.is_some() {
            return Err(Error::NoTls("--client-cert"));
        }
        if self.ca_file.is_some() {
            return Err(Error::NoTls("--ca-file"));
        }
        match (&self.token_file, self.to.is_local()) {
            (None, _) => Err(Error::Nobody),
            (Some(_), false) => Err(Error::InTheClear),
            (Some(_), true) => Ok(()),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        short if short < Duration::from_secs(1) => Err("every batch is a connection; give at least 1s".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        ship: ShipNginxLog,
    }

    fn parse(line: &str) -> Result<ShipNginxLog, String> {
        let line = Line::try_parse_from("keyturn --file=/l".split(' ').chain(line.split(' ')));
        Ok(line.map_err(|error| error.to_string())?.ship)
    }

    #[test]
    fn mistakes_are_refused_with_a_remedy() {
        for (line, told) in [
            ("--token-file=/t", "--to <URL>"),
            ("--to=keyturn:8082", "write it as https://HOST:PORT"),
            ("--to=https://keyturn/v1", "end it after the port"),
            ("--to=https://keyturn --client-cert=/c", "--client-key <FILE>"),
            ("--to=https://keyturn --client-key=/k", "--client-cert <FILE>"),
            ("--to=https://keyturn --interval=999ms", "at least 1s"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
        for (line, told) in [
            ("--to=https://keyturn", "give --token-file, or --client-cert and --client-key"),
            ("--to=http://127.0.0.1:1", "give --token-file"),
            ("--to=http://keyturn:8082 --token-file=/t", "the token would be sent in the clear"),
            ("--to=http://127.0.0.1:1 --client-cert=/c --client-key=/k", "--client-cert is of no use without TLS"),
            ("--to=http://127.0.0.1:1 --token-file=/t --ca-file=/a", "--ca-file is of no use without TLS"),
        ] {
            let error = parse(line).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn whoever_proves_who_it_is_may_ship() {
        for line in [
            "--to=https://keyturn --token-file=/t",
            "--to=https://keyturn --client-cert=/c --client-key=/k --ca-file=/a",
            "--to=http://[::1]:8082 --token-file=/t",
        ] {
            assert!(parse(line).unwrap().check().is_ok(), "{line}");
        }
    }
}

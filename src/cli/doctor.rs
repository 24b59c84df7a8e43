//! `keyturn doctor`: what is wrong, and what to do.

mod ask;
mod report;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use futures::future::join_all;
use tokio::net::lookup_host;

use super::block_on;
use crate::call::Url;
use ask::{AskError, ask};
use report::{Answer, Report};

/// What to explain, and whom to ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Doctor {
    /// Explain why the request of this id was refused, or would have been outside of audit mode. It is in X-Request-Id of
    /// the answer, requestId of its body, and in the verifier's log.
    #[arg(long, value_name = "ID")]
    request: String,
    /// The health port of a verifier, as http://HOST:PORT; may be given several times. Of a name with several addresses
    /// each is asked.
    #[arg(
        long = "verifier",
        env = "KEYTURN_DOCTOR_VERIFIERS",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8081"
    )]
    verifiers: Vec<HealthPort>,
    /// How to say it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

pub(super) const HELP: &str = "\
Each verifier keeps its last 1,000 refusals in memory, without any key, so ask all of them, soon. Their Leases carry no
addresses: name them, or a headless Service that does.

Examples:
  kubectl -n keyturn-system port-forward pod/keyturn-verifier-7d4f8-x2x5k 8081
  keyturn doctor --request 6f1c2a
      asks that verifier
  keyturn doctor --request 6f1c2a --verifier http://10.0.0.7:8081 --verifier http://10.0.0.8:8081 -o json
      asks two of them, for a program";

/// For whom the answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where a health port is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct HealthPort(String);

impl FromStr for HealthPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url = text.parse().map_err(|_| REMEDY)?;
        if url.has_tls() { Err(REMEDY) } else { Ok(Self(url.authority())) }
    }
}

const REMEDY: &str = "write it as http://HOST:PORT, the port being that of /readyz";

/// Why nothing is explained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotKept(String),
    #[error("asking verifiers: nobody has answered; {0}")]
    NoAnswer(String),
    #[error("writing to standard output")]
    Write(#[source] io::Error),
}

/// Asks, and says what was answered.
pub(super) fn run(options: Doctor) -> Result<(), super::Error> {
    block_on(async {
        let answers = join_all(options.verifiers.iter().map(|verifier| ask_all(verifier, &options.request))).await;
        let report = Report { request_id: options.request, answers: answers.into_iter().flatten().collect() };
        if options.output == Output::Json {
            writeln!(io::stdout(), "{}", report.json()).map_err(Error::Write)?;
        } else if report.has_found() {
            write!(io::stdout(), "{}", report.table()).map_err(Error::Write)?;
        }
        Ok(report.verdict()?)
    })
}

/// Asks every address of that name.
async fn ask_all(HealthPort(authority): &HealthPort, request_id: &str) -> Vec<Answer> {
    let found = lookup_host(authority.as_str()).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(error) => {
            let told = Err(AskError::Resolve(error));
            return vec![Answer { verifier: authority.clone(), told }];
        }
    };
    let ask_one =
        async |address: SocketAddr| Answer { verifier: address.to_string(), told: ask(address, request_id).await };
    join_all(addresses.into_iter().map(ask_one)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_health_port_is_refused_with_a_remedy() {
        for text in [
            "",
            "10.0.0.7:8081",
            "https://k:8081",
            "http://",
            "http://k:8081/readyz",
            "http://u:p@k:8081",
            "http://k/?a",
        ] {
            assert_eq!(text.parse::<HealthPort>(), Err(REMEDY), "{text}");
        }
        for (text, expected) in [("http://k", "k:80"), ("http://k:8081/", "k:8081"), ("http://[::1]:1", "[::1]:1")] {
            assert_eq!(text.parse(), Ok(HealthPort(expected.to_owned())), "{text}");
        }
    }
}

//! `keyturn doctor`: what is wrong, and what to do.

mod ask;
mod find;
mod report;
mod restored;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use futures::future::join_all;
use jiff::Timestamp;
use tokio::net::lookup_host;

use super::options::OperatorNamespace;
use super::{block_on, client_that_asks_once};
use crate::call::Url;
use ask::{AskError, ask};
use find::{FindError, ask_installed};
use report::{Answer, Report};

/// What to explain, and whom to ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    question: Question,
    /// The health port of a verifier, as http://HOST:PORT; may be given several times. Of a name with several addresses
    /// each is asked [default: every verifier of the chart that runs in --operator-namespace, through the API server].
    #[arg(long = "verifier", env = "KEYTURN_DOCTOR_VERIFIERS", value_name = "URL", value_delimiter = ',')]
    verifiers: Vec<HealthPort>,
    #[command(flatten)]
    operator_namespace: OperatorNamespace,
    /// An audit log, or the log of a controller, for --since; may be given several times. Standard input: -
    #[arg(long = "audit-log", value_name = "FILE", default_value = "-")]
    audit_logs: Vec<PathBuf>,
    /// How to say it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// One of these.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Question {
    /// Explain why the request of this id was refused, or would have been outside of audit mode. It is in X-Request-Id of
    /// the answer, requestId of its body, and in the verifier's log.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// List what was done to keys since this instant and is undone when etcd is restored from a snapshot of then, with what
    /// to do. It goes by the audit log.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
}

pub(super) const HELP: &str = "\
Each verifier keeps its last 1,000 refusals in memory, without any key, so ask soon. Those that the chart has installed are
found and asked through the API server; you need the rights of config/rbac/doctor.yaml.

Examples:
  keyturn doctor --request 6f1c2a
      asks every verifier of the namespace keyturn-system
  keyturn doctor --request 6f1c2a --verifier http://10.0.0.7:8081 --verifier http://10.0.0.8:8081 -o json
      asks two of them, for a program
  keyturn doctor --since 2026-11-22T10:00:00Z --audit-log keyturn-audit.jsonl
      lists what a restore of that moment's snapshot has undone";

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
    #[error("no --verifier is named, and the cluster cannot be asked which there are")]
    Cluster(#[source] Box<super::Error>),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("asking verifiers: nobody has answered; {0}")]
    NoAnswer(String),
    #[error("reading the audit log")]
    Restored(#[from] restored::Error),
    #[error("writing to standard output")]
    Write(#[source] io::Error),
}

/// Answers the question that was put.
pub(super) fn run(options: Doctor) -> Result<(), super::Error> {
    let Question { request, since } = &options.question;
    if let Some(since) = since {
        let told = restored::tell(*since, &options.audit_logs, options.output).map_err(Error::Restored)?;
        return Ok(io::stdout().write_all(told.as_bytes()).map_err(Error::Write)?);
    }
    // The command line has one of the two.
    request.clone().map_or(Ok(()), |request_id| explain(request_id, &options))
}

/// Asks verifiers, and says what was answered.
fn explain(request_id: String, options: &Doctor) -> Result<(), super::Error> {
    block_on(async {
        let report = Report { answers: ask_everybody(&request_id, options).await?, request_id };
        if options.output == Output::Json {
            writeln!(io::stdout(), "{}", report.json()).map_err(Error::Write)?;
        } else if report.has_found() {
            write!(io::stdout(), "{}", report.table()).map_err(Error::Write)?;
        }
        Ok(report.verdict()?)
    })
}

/// Asks those that are named, or else those that are installed.
async fn ask_everybody(request_id: &str, options: &Doctor) -> Result<Vec<Answer>, Error> {
    let Doctor { verifiers, operator_namespace, .. } = options;
    if verifiers.is_empty() {
        let client = client_that_asks_once().await.map_err(|error| Error::Cluster(Box::new(error)))?;
        return Ok(ask_installed(&client, &operator_namespace.name(), request_id).await?);
    }
    let answers = join_all(verifiers.iter().map(|verifier| ask_all(verifier, request_id))).await;
    Ok(answers.into_iter().flatten().collect())
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

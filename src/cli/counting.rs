//! Where rate limits are counted: options, and what they make.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::options;
use crate::core::duration;
use crate::metrics::Metrics;
use crate::store::{self, ConnectError, ServerUrl, Settings, UrlError};
use crate::verify::store::OnStoreError;

/// A store that all processes share.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) shared: Arc<store::Store>,
    pub(super) on_error: OnStoreError,
}

/// Options of where rate limits are counted.
#[derive(Clone, Debug, Args)]
pub(super) struct Counting {
    /// Where rate limits are counted. In memory, each judging process admits its share of every limit; valkey counts
    /// for all of them together, in one server or cluster that speaks the protocol of Redis.
    #[arg(long, env = "KEYTURN_RATE_LIMIT_STORE", value_name = "STORE", default_value = "memory")]
    rate_limit_store: RateLimitStore,
    /// Where the server is: valkey://HOST:PORT, or valkeys:// with TLS (redis:// and rediss:// mean the same). Several,
    /// separated by commas, are servers of one cluster; one of them leads to the others.
    #[arg(long, env = "KEYTURN_VALKEY_URL", value_name = "URL", value_delimiter = ',')]
    // Read later: an error here would repeat what was given, which may hold a password.
    valkey_url: Vec<String>,
    /// The user to log in as [default: the default user].
    #[arg(long, env = "KEYTURN_VALKEY_USERNAME", value_name = "NAME")]
    valkey_username: Option<String>,
    /// A file that holds the password. It is read again for every connection.
    #[arg(long, env = "KEYTURN_VALKEY_PASSWORD_FILE", value_name = "FILE")]
    valkey_password_file: Option<OsString>,
    /// A file with the certificates of authorities in PEM that the servers' are signed by [default: those that the
    /// system trusts]. It is read again for every connection.
    #[arg(long, env = "KEYTURN_VALKEY_CA_FILE", value_name = "FILE")]
    valkey_ca_file: Option<OsString>,
    /// What to do with a request while the store has no answer: count in this process alone with its share of every
    /// limit, or refuse it.
    #[arg(long, env = "KEYTURN_ON_STORE_ERROR", value_name = "WHAT", default_value = "Local", ignore_case = true)]
    on_store_error: OnError,
    /// How long a request waits for the store. 1ms to 5s.
    #[arg(long, env = "KEYTURN_STORE_TIMEOUT", value_name = "DURATION", default_value = "100ms", value_parser = store_timeout)]
    store_timeout: Duration,
    /// How many requests wait for the store at once; for more, the store has no answer. 1 to 100,000.
    #[arg(long, env = "KEYTURN_STORE_MAX_WAITING", value_name = "COUNT", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    store_max_waiting: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum RateLimitStore {
    Memory,
    Valkey,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum OnError {
    Local,
    Deny,
}

/// Why rate limits can't be counted as the options say.
#[derive(Debug, thiserror::Error)]
pub enum CountingError {
    #[error("--rate-limit-store=valkey needs to know where: give --valkey-url=valkey://HOST:PORT")]
    NoUrl,
    #[error("--valkey-url is of no use with --rate-limit-store=memory; leave it out, or set that to valkey")]
    UnusedUrl,
    #[error("reading --valkey-url, number {0} of those given")]
    Url(usize, #[source] UrlError),
    #[error("--valkey-url: servers of one cluster are spoken to all with TLS or all without; spell them alike")]
    MixedUrls,
    #[error("reading --valkey-password-file and --valkey-ca-file")]
    Files(#[source] ConnectError),
}

impl Counting {
    /// The store that all processes share, which it starts to connect to; `None`: there is only the memory of each.
    pub(super) async fn store(self, metrics: Arc<Metrics>) -> Result<Option<Store>, CountingError> {
        let on_error = match self.on_store_error {
            OnError::Local => OnStoreError::Local,
            OnError::Deny => OnStoreError::Deny,
        };
        let Some(settings) = self.settings()? else { return Ok(None) };
        // A mistake is told now, not when the first request fails.
        let settings = settings.check().await.map_err(CountingError::Files)?;
        Ok(Some(Store { shared: Arc::new(store::Store::start(settings, metrics)), on_error }))
    }

    /// Charts set variables that are empty.
    fn settings(self) -> Result<Option<Settings>, CountingError> {
        let given = self.valkey_url.iter().map(|url| url.trim()).filter(|url| !url.is_empty());
        let urls = (1..).zip(given).map(|(number, url)| url.parse().map_err(|error| CountingError::Url(number, error)));
        let urls = urls.collect::<Result<Vec<ServerUrl>, _>>()?;
        match (self.rate_limit_store, &urls[..]) {
            (RateLimitStore::Memory, []) => return Ok(None),
            (RateLimitStore::Memory, _) => return Err(CountingError::UnusedUrl),
            (RateLimitStore::Valkey, []) => return Err(CountingError::NoUrl),
            (RateLimitStore::Valkey, [first, others @ ..]) => {
                if others.iter().any(|other| other.has_tls() != first.has_tls()) {
                    return Err(CountingError::MixedUrls);
                }
            }
        }
        Ok(Some(Settings {
            urls,
            username: self.valkey_username.filter(|name| !name.is_empty()),
            password_file: options::file(self.valkey_password_file),
            ca_file: options::file(self.valkey_ca_file),
            timeout: self.store_timeout,
            max_waiting: self.store_max_waiting as usize,
        }))
    }
}

fn store_timeout(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("no server answers in no time; give at least 1ms".into()),
        long if long > Duration::from_secs(5) => {
            Err("proxies do not wait that long for a verdict; give at most 5s".into())
        }
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
        counting: Counting,
    }

    fn settings(line: &[&str]) -> Result<Option<Settings>, CountingError> {
        let line = Line::try_parse_from(std::iter::once("keyturn").chain(line.iter().copied()));
        line.unwrap_or_else(|error| panic!("{error}")).counting.settings()
    }

    #[test]
    fn mistakes_are_refused_with_a_remedy() {
        for (line, part) in [
            (&["--rate-limit-store=redis"][..], "[possible values: memory, valkey]"),
            (&["--on-store-error=allow"], "[possible values: Local, Deny]"),
            (&["--store-timeout=0s"], "at least 1ms"),
            (&["--store-timeout=6s"], "at most 5s"),
            (&["--store-max-waiting=0"], "1..=100000"),
        ] {
            let line = Line::try_parse_from(std::iter::once("keyturn").chain(line.iter().copied()));
            let error = line.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn urls_that_do_not_fit_are_refused_and_not_repeated() {
        let valkey = "--rate-limit-store=valkey";
        assert!(matches!(settings(&[valkey]), Err(CountingError::NoUrl)));
        assert!(matches!(settings(&[valkey, "--valkey-url="]), Err(CountingError::NoUrl)));
        assert!(matches!(settings(&["--valkey-url=valkey://host"]), Err(CountingError::UnusedUrl)));
        assert!(matches!(settings(&[valkey, "--valkey-url=valkey://a,valkeys://b"]), Err(CountingError::MixedUrls)));
        let Err(error) = settings(&[valkey, "--valkey-url=valkey://a,valkey://:secret@b"]) else { panic!() };
        assert!(matches!(error, CountingError::Url(2, UrlError::Password)));
        assert!(!crate::telemetry::chain(&error).contains("secret"), "{error}");
    }

    #[test]
    fn nothing_given_counts_in_memory() {
        assert!(settings(&[]).unwrap().is_none());
        assert!(settings(&["--valkey-url=", "--valkey-password-file="]).unwrap().is_none());
    }

    #[test]
    fn what_is_given_is_used() {
        let line = [
            "--rate-limit-store=valkey",
            "--valkey-url=valkeys://a:7000,rediss://b",
            "--valkey-username=",
            "--valkey-password-file=/p",
            "--valkey-ca-file=/ca",
            "--store-timeout=50ms",
            "--store-max-waiting=8",
            "--on-store-error=deny",
        ];
        let settings = settings(&line).unwrap().unwrap();
        let urls: Vec<_> = settings.urls.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["valkeys://a:7000", "valkeys://b:6379"]);
        assert_eq!((settings.username, settings.max_waiting), (None, 8));
        assert_eq!(settings.timeout, Duration::from_millis(50));
        assert_eq!((settings.password_file, settings.ca_file), (Some("/p".into()), Some("/ca".into())));
    }
}

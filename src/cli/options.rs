//! The command line. Every option can be set in the environment too, as `--help` says.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::callers::Callers;
use super::counting::Counting;
use super::doctor::{self, Doctor};
use super::grpc::GrpcOptions;
use super::reporting::Reporting;
use super::ship_nginx_log::{self, ShipNginxLog};
use super::traces::Traces;
use crate::core::duration;
use crate::core::enforced::cadence::LEAST_MAX_STALENESS;
use crate::telemetry::LogFormat;

/// API keys as Kubernetes resources: minted into Secrets, rotated with overlap, revoked, and judged at the ingress.
#[derive(Debug, Parser)]
#[command(name = "keyturn", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) role: Role,
    #[command(flatten)]
    pub(super) log: Log,
}

/// What this process does.
#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// Mints, rotates and revokes: reconciles ApiKeys and writes their Secrets and status.
    Controller {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        leading: Leading,
    },
    /// Judges requests for the proxies that ask. Every replica serves; it reads no Secret but the pepper.
    Verifier {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        judging: Judging,
    },
    /// Controller and verifier in one process, for small clusters and for trying out.
    All {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        leading: Leading,
        #[command(flatten)]
        judging: Judging,
    },
    /// Prints the custom resource definitions, for `kubectl apply -f -`.
    Crds {
        /// Write one file for each kind into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Makes a key pair for delivery Sealed: the private key into a file, the public key on standard output.
    #[command(after_help = KEYGEN_HELP)]
    SealKeygen {
        /// Where to write the private key; only you may read it, and a file that exists is never overwritten.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
    /// Opens a sealed string with the private key: prints the key itself.
    #[command(after_help = OPEN_HELP)]
    SealOpen(SealOpen),
    /// Follows an access log of nginx and reports to verifiers how many bytes went through with each key.
    #[command(after_help = ship_nginx_log::HELP)]
    ShipNginxLog(ShipNginxLog),
    /// Says what is wrong and what to do: asks verifiers why a request was refused.
    #[command(after_help = doctor::HELP)]
    Doctor(Doctor),
}

const KEYGEN_HELP: &str = "\
Example:
  keyturn seal-keygen --key-file ci.pem
      prints 1,580 characters of base64; they go into the manifest:
        spec: {secret: {delivery: Sealed, sealTo: <the characters>}}
  kubectl get apikey ci -o json | keyturn seal-open --key-file ci.pem";

const OPEN_HELP: &str = "\
Examples:
  kubectl get apikey ci -o json | keyturn seal-open --key-file ci.pem
      opens the newest sealed string of the ApiKey ci
  kubectl annotate apikey ci keyturn.dev/delivered=1
      acknowledges version 1: its sealed string is removed from the status
  keyturn seal-open --key-file ci.pem --id key_4fJ2 --number 2 --sealed AbCd…
      opens status.versions[].sealed of version 2 by itself";

/// What to open, and with what.
#[derive(Clone, Debug, Args)]
pub(super) struct SealOpen {
    /// The private key that `keyturn seal-keygen` wrote.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// The version to open [default: the newest sealed one].
    #[arg(long, value_name = "NUMBER")]
    pub(super) number: Option<u32>,
    /// The sealed text itself; without it, an ApiKey is read.
    #[arg(long, value_name = "TEXT", requires_all = ["id", "number"], conflicts_with = "apikey")]
    pub(super) sealed: Option<String>,
    /// status.id of the ApiKey that the sealed text is from.
    #[arg(long, value_name = "ID", requires = "sealed")]
    pub(super) id: Option<String>,
    /// The ApiKey as JSON or YAML [default: standard input].
    #[arg(value_name = "FILE")]
    pub(super) apikey: Option<PathBuf>,
}

/// Options of every process that talks to the API server.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    /// The only namespace to look after [default: all namespaces].
    #[arg(long, env = "KEYTURN_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    operator_namespace: OperatorNamespace,
    /// Where to serve /livez, /readyz and /metrics.
    #[arg(long, env = "KEYTURN_HEALTH_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    pub(super) health_listen: SocketAddr,
}

/// Where Keyturn itself is.
#[derive(Clone, Debug, Args)]
pub(super) struct OperatorNamespace {
    /// The namespace of Keyturn's own objects, such as the pepper and Leases [default: the one that this process
    /// runs in, or keyturn-system outside a cluster].
    #[arg(long, env = "KEYTURN_OPERATOR_NAMESPACE", value_name = "NAME")]
    operator_namespace: Option<String>,
}

/// Options of a controller, of which one leads.
#[derive(Clone, Debug, Args)]
pub(super) struct Leading {
    /// For how long a controller leads without renewing its Lease. One that was killed is replaced after this and a
    /// tenth more, one that was told to stop at once. 2s to 1h.
    #[arg(long, env = "KEYTURN_LEADER_LEASE", value_name = "DURATION", default_value = "15s", value_parser = leader_lease)]
    pub(super) leader_lease: Duration,
    /// Where to append the audit log, one JSON object a line [default: the log on standard error, target audit].
    #[arg(long, env = "KEYTURN_AUDIT_FILE", value_name = "FILE")]
    audit_file: Option<OsString>,
}

impl Leading {
    /// Where to append the audit log, if not to the log. Charts set variables that are empty.
    pub(super) fn audit_file(&self) -> Option<&Path> {
        self.audit_file.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }
}

/// The file that an option names. Charts set variables that are empty.
pub(super) fn file(option: Option<OsString>) -> Option<PathBuf> {
    option.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Options of a process that judges keys.
#[derive(Clone, Debug, Args)]
pub(super) struct Judging {
    /// Where proxies ask. Plain HTTP: only they should be able to reach it.
    #[arg(long, env = "KEYTURN_AUTH_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub(super) auth_listen: SocketAddr,
    /// By how much the clock here may differ from the API server's before this process is not ready any more: expiry
    /// and grace are judged by it. At least 1s.
    #[arg(long, env = "KEYTURN_MAX_CLOCK_SKEW", value_name = "DURATION", default_value = "5s", value_parser = max_clock_skew)]
    pub(super) max_clock_skew: Duration,
    /// For how long to go on answering when the API server does not confirm that nothing is missed, such as while
    /// there is no control plane; after that, every request is refused. At least 10s.
    #[arg(long, env = "KEYTURN_MAX_STALENESS", value_name = "DURATION", default_value = "15m", value_parser = max_staleness)]
    pub(super) max_staleness: Duration,
    /// For how long to collect what a key is used for before it is written into its ApiKeyUsage: a process that is
    /// killed loses as much. All processes together write 20 times a second at most. At least 1s.
    #[arg(long, env = "KEYTURN_USAGE_INTERVAL", value_name = "DURATION", default_value = "10s", value_parser = usage_interval)]
    pub(super) usage_interval: Duration,
    /// For how long to keep serving after SIGTERM, until no proxy sends requests here any more.
    #[arg(long, env = "KEYTURN_DRAIN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(super) drain_delay: Duration,
    #[command(flatten)]
    pub(super) callers: Callers,
    #[command(flatten)]
    pub(super) grpc: GrpcOptions,
    #[command(flatten)]
    pub(super) counting: Counting,
    #[command(flatten)]
    pub(super) reporting: Reporting,
    #[command(flatten)]
    pub(super) traces: Traces,
}

/// Options of the log on standard error.
#[derive(Clone, Debug, Args)]
pub(super) struct Log {
    /// A level (error, warn, info, debug, trace), or directives such as info,keyturn::feed=debug.
    #[arg(long = "log-level", env = "RUST_LOG", value_name = "LEVEL", default_value = "info", global = true)]
    pub(super) level: String,
    /// A file that has such a level, which counts instead as soon as it is there, and changes at any time: a mounted
    /// ConfigMap for example. Of a file that is not there or empty nothing is taken.
    #[arg(long = "log-level-file", env = "KEYTURN_LOG_LEVEL_FILE", value_name = "FILE", global = true)]
    pub(super) level_file: Option<OsString>,
    /// How a line of the log looks.
    #[arg(
        long = "log-format",
        env = "KEYTURN_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        global = true
    )]
    pub(super) format: LogFormat,
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Json]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Text => "text",
            Self::Json => "json",
        }))
    }
}

/// Where Kubernetes tells a pod its own namespace.
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace that the documentation installs into.
const DEFAULT_OPERATOR_NAMESPACE: &str = "keyturn-system";

impl Common {
    /// The only namespace to look after. Charts set variables that are empty.
    pub(super) fn namespace(&self) -> Option<String> {
        self.namespace.clone().filter(|name| !name.is_empty())
    }

    /// The namespace of Keyturn's own objects.
    pub(super) fn operator_namespace(&self) -> String {
        self.operator_namespace.name()
    }
}

impl OperatorNamespace {
    pub(super) fn name(&self) -> String {
        let file = || std::fs::read_to_string(SERVICE_ACCOUNT_NAMESPACE).ok();
        let own = || file().map(|text| text.trim().to_owned());
        let named = self.operator_namespace.clone().filter(|name| !name.is_empty());
        named.or_else(own).unwrap_or_else(|| DEFAULT_OPERATOR_NAMESPACE.to_owned())
    }
}

fn leader_lease(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        broken if broken.subsec_nanos() > 0 => Err("give whole seconds, as leaseDurationSeconds takes them".into()),
        duration if duration < Duration::from_secs(2) => Err("renewing it takes time; give at least 2s".into()),
        duration if duration > Duration::from_hours(1) => {
            Err("nobody would lead for hours after a crash; give at most 1h".into())
        }
        duration => Ok(duration),
    }
}

fn max_clock_skew(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        broken if broken.subsec_nanos() > 0 => Err("the API server tells whole seconds; give whole seconds".into()),
        Duration::ZERO => Err("no two clocks are the same; give at least 1s".into()),
        duration => Ok(duration),
    }
}

/// The most that fits into `leaseDurationSeconds` and is still of any sense.
const MOST_MAX_STALENESS: Duration = Duration::from_hours(24 * 365);

fn max_staleness(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        short if short < LEAST_MAX_STALENESS => {
            let least = LEAST_MAX_STALENESS.as_secs();
            Err(format!("a healthy process needs some seconds to be sure that it is; give at least {least}s"))
        }
        long if long > MOST_MAX_STALENESS => Err("a revocation might not be known for years; give at most 365d".into()),
        broken if broken.subsec_nanos() > 0 => Err("give whole seconds, as leaseDurationSeconds takes them".into()),
        duration => Ok(duration),
    }
}

fn usage_interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        short if short < Duration::from_secs(1) => {
            Err("every write is one in etcd, for each key that is in use; give at least 1s".into())
        }
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_are_refused_with_a_remedy() {
        for (line, part) in [
            (&["keyturn"][..], "Usage"),
            (&["keyturn", "verify"], "verifier"),
            (&["keyturn", "verifier", "--max-clock-skew", "0s"], "at least 1s"),
            (&["keyturn", "all", "--max-clock-skew", "1500ms"], "whole seconds"),
            (&["keyturn", "controller", "--max-clock-skew", "5s"], "unexpected argument"),
            (&["keyturn", "verifier", "--max-staleness", "9s"], "at least 10s"),
            (&["keyturn", "verifier", "--max-staleness", "1 week"], "write days (90d)"),
            (&["keyturn", "verifier", "--max-staleness", "10s500ms"], "whole seconds"),
            (&["keyturn", "verifier", "--max-staleness", "366d"], "at most 365d"),
            (&["keyturn", "verifier", "--usage-interval", "999ms"], "at least 1s"),
            (&["keyturn", "verifier", "--auth-listen", "8080"], "invalid socket address"),
            (&["keyturn", "controller", "--leader-lease", "1s"], "at least 2s"),
            (&["keyturn", "controller", "--leader-lease", "1d"], "at most 1h"),
            (&["keyturn", "all", "--leader-lease", "2500ms"], "whole seconds"),
            (&["keyturn", "controller", "--auth-listen", "0.0.0.0:1"], "unexpected argument"),
            (&["keyturn", "seal-keygen"], "--key-file <FILE>"),
            (&["keyturn", "seal-open", "--key-file=k", "--sealed=x"], "--id <ID>"),
            (
                &["keyturn", "seal-open", "--key-file=k", "--sealed=x", "--id=i", "--number=1", "f"],
                "cannot be used with",
            ),
        ] {
            let error = Cli::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }

    #[test]
    fn a_verifier_needs_no_options() {
        let cli = Cli::try_parse_from(["keyturn", "verifier"]).unwrap();
        let Role::Verifier { common, judging } = cli.role else { panic!("{:?}", cli.role) };
        assert_eq!(common.namespace(), None);
        assert_eq!(judging.max_staleness, Duration::from_mins(15));
        assert_eq!(judging.max_clock_skew, Duration::from_secs(5));
    }

    #[test]
    fn an_empty_audit_file_is_none() {
        for (option, expected) in [("--audit-file=", None), ("--audit-file=/a", Some("/a"))] {
            let cli = Cli::try_parse_from(["keyturn", "all", option]).unwrap();
            let Role::All { leading, .. } = cli.role else { panic!("{:?}", cli.role) };
            assert_eq!(leading.audit_file(), expected.map(Path::new));
        }
    }

    #[test]
    fn an_empty_namespace_is_none() {
        let cli = Cli::try_parse_from(["keyturn", "controller", "--namespace=", "--operator-namespace=k"]).unwrap();
        let Role::Controller { common, .. } = cli.role else { panic!("{:?}", cli.role) };
        assert_eq!((common.namespace(), common.operator_namespace()), (None, "k".to_owned()));
    }
}

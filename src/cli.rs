//! The command line, and how the parts make a process.

mod callers;
mod controller;
mod counting;
mod crds;
mod doctor;
mod grpc;
mod health;
mod options;
mod reporting;
mod seal_keygen;
mod seal_open;
mod ship_nginx_log;
mod shutdown;
mod traces;
mod verifier;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::net::TcpListener;

use crate::feed::ServerClock;
use crate::metrics::Metrics;
use crate::telemetry::{self, LevelFile, TelemetryError};
use crate::transport::health::Health;

pub use options::Cli;
use options::{Common, Role};

/// How long connecting to the API server may take before it is tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("setting up the log")]
    Telemetry(#[source] TelemetryError),
    #[error("following --log-level-file")]
    LogLevelFile(#[source] io::Error),
    #[error("starting the runtime")]
    Runtime(#[source] io::Error),
    #[error("listening for signals")]
    Signal(#[source] io::Error),
    #[error("finding out how to reach the API server; give a KUBECONFIG or run in a cluster")]
    Config(#[source] kube::config::InferConfigError),
    #[error("setting up the API server's client")]
    Client(#[source] kube::Error),
    #[error("listening on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("serving {0}")]
    Serve(&'static str, #[source] io::Error),
    #[error("feeding the engine")]
    Feed(#[source] tokio::task::JoinError),
    #[error("counting rate limits as the options say")]
    Counting(#[source] counting::CountingError),
    #[error("listening to reports as the options say")]
    Reporting(#[source] reporting::ReportingError),
    #[error("opening the gRPC port as the options say")]
    Grpc(#[source] grpc::GrpcError),
    #[error("tracing requests as the options say")]
    Traces(#[source] traces::TracesError),
    #[error("opening --audit-file {}", .0.display())]
    AuditFile(PathBuf, #[source] io::Error),
    #[error("reconciling")]
    Controller(#[source] crate::controller::Error),
    #[error("writing the custom resource definitions as YAML")]
    Crds(#[source] serde_saphyr::ser::Error),
    #[error("writing {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("making a key pair")]
    SealKeygen(#[from] seal_keygen::Error),
    #[error("opening a sealed string")]
    SealOpen(#[from] seal_open::Error),
    #[error("shipping a log")]
    Ship(#[from] ship_nginx_log::Error),
    #[error("explaining")]
    Doctor(#[from] doctor::Error),
}

/// Does what the command line says, until it is done or told to stop.
///
/// # Errors
/// When the process cannot start or go on.
pub fn run(cli: Cli) -> Result<(), Error> {
    let level = telemetry::init(cli.log.format, &cli.log.level).map_err(Error::Telemetry)?;
    if let Some(file) = options::file(cli.log.level_file) {
        LevelFile::new(file, cli.log.level, level).follow().map_err(Error::LogLevelFile)?;
    }
    match cli.role {
        Role::Crds { dir } => crds::run(dir.as_deref()),
        Role::SealKeygen { key_file } => Ok(seal_keygen::run(&key_file)?),
        Role::SealOpen(options) => Ok(seal_open::run(&options)?),
        Role::ShipNginxLog(options) => ship_nginx_log::run(options),
        Role::Doctor(options) => doctor::run(options),
        Role::Controller { common, leading } => block_on(controller(common, leading)),
        Role::Verifier { common, judging } => block_on(verifier(common, judging)),
        Role::All { common, leading, judging } => block_on(all(common, leading, judging)),
    }
}

fn block_on(process: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Runtime::new().map_err(Error::Runtime)?.block_on(process)
}

async fn controller(common: Common, leading: options::Leading) -> Result<(), Error> {
    let shutdown = shutdown::token()?;
    let (client, operator_namespace) = (client().await?, common.operator_namespace());
    let controller = controller::Controller::new(leading);
    let metrics = Arc::new(Metrics::new());
    let health = Health {
        metrics: Arc::clone(&metrics),
        missing: Box::new(controller.missing()),
        remarks: Box::new(controller.remarks()),
        measure: Box::new(controller.measure()),
        decisions: None,
    };
    let reconciling = controller.run(client, metrics, common.namespace(), operator_namespace, shutdown.clone());
    health::beside(common.health_listen, health, Box::pin(reconciling)).await
}

async fn verifier(common: Common, judging: options::Judging) -> Result<(), Error> {
    let shutdown = shutdown::token()?;
    let clock = ServerClock::new(judging.max_clock_skew);
    let (client, operator_namespace) = (client_that_tells(&clock).await?, common.operator_namespace());
    let verifier = verifier::Verifier::new(client, clock, common.namespace(), operator_namespace, judging).await?;
    let health = verifier.health();
    health::beside(common.health_listen, health, verifier.run(shutdown)).await
}

/// Both in one process; when either ends, so does the other.
async fn all(common: Common, leading: options::Leading, judging: options::Judging) -> Result<(), Error> {
    let shutdown = shutdown::token()?;
    let clock = ServerClock::new(judging.max_clock_skew);
    let (client, operator_namespace) = (client_that_tells(&clock).await?, common.operator_namespace());
    let controller = controller::Controller::new(leading);
    let (namespace, own) = (common.namespace(), operator_namespace.clone());
    let verifier = verifier::Verifier::new(client.clone(), clock, namespace, own, judging).await?;
    let mut health = verifier.health();
    let (verifying, reconciling) = (health.missing, controller.missing());
    health.missing = Box::new(move || verifying().into_iter().chain(reconciling()).collect());
    let (verifying, reconciling) = (health.remarks, controller.remarks());
    health.remarks = Box::new(move || verifying().into_iter().chain(reconciling()).collect());
    let (verifying, reconciling) = (health.measure, controller.measure());
    health.measure = Box::new(move |metrics| {
        verifying(metrics);
        reconciling(metrics);
    });
    let metrics = Arc::clone(&health.metrics);
    let both = async {
        let reconciling = controller.run(client, metrics, common.namespace(), operator_namespace, shutdown.clone());
        tokio::try_join!(reconciling, verifier.run(shutdown.clone())).map(drop)
    };
    health::beside(common.health_listen, health, Box::pin(both)).await
}

/// In a pod this is the pod's name.
fn process_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn client() -> Result<Client, Error> {
    Client::try_from(config().await?).map_err(Error::Client)
}

/// A client whose answers tell that clock the time, and which sends nothing twice: whoever adds to what is stored has
/// to know whether the first request has taken effect.
async fn client_that_tells(clock: &ServerClock) -> Result<Client, Error> {
    let builder = ClientBuilder::try_from(config_without_retries().await?).map_err(Error::Client)?;
    Ok(builder.with_layer(clock).build())
}

/// A client for a person, who wants to see the first answer.
async fn client_that_asks_once() -> Result<Client, Error> {
    Client::try_from(config_without_retries().await?).map_err(Error::Client)
}

async fn config_without_retries() -> Result<Config, Error> {
    let mut config = config().await?;
    config.default_retry = false;
    Ok(config)
}

async fn config() -> Result<Config, Error> {
    let mut config = Config::infer().await.map_err(Error::Config)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))
}

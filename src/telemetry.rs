//! Logs: what is printed on standard error, and how an error is told.

mod level;

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

pub use level::LevelFile;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("reading the log level {0:?}; write a level (info) or directives (info,keyturn::feed=debug)")]
    Level(String, #[source] ParseError),
    #[error("setting up the log a second time")]
    AlreadySet(#[source] Box<dyn Error + Send + Sync>),
    #[error("changing the log level")]
    Change(#[source] Box<dyn Error + Send + Sync>),
}

/// Target of the lines of the audit log, where they go into the log.
pub const AUDIT_TARGET: &str = "audit";

/// Changes the level of a log that is set up.
pub struct Level(Box<dyn Fn(EnvFilter) -> Result<(), TelemetryError> + Send + Sync>);

impl Level {
    fn new<E>(change: impl Fn(EnvFilter) -> Result<(), E> + Send + Sync + 'static) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        Self(Box::new(move |filter| change(filter).map_err(|error| TelemetryError::Change(error.into()))))
    }

    /// As [`init`] reads it; what is none of that changes nothing.
    fn set(&self, level: &str) -> Result<(), TelemetryError> {
        self.0(filter(level)?)
    }
}

/// Sends the log of this process to standard error. `level` is a level or a list of directives as
/// `tracing_subscriber::EnvFilter` reads them. It silences the audit log only by naming its target.
///
/// # Errors
/// When `level` is neither, or a log was set up before.
pub fn init(format: LogFormat, level: &str) -> Result<Level, TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| Level::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| Level::new(move |filter| handle.reload(filter)))
        }
    }
    .map_err(TelemetryError::AlreadySet)
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let says_audit = level.split(',').any(|directive| directive.trim().starts_with(AUDIT_TARGET));
    let audit = if says_audit { String::new() } else { format!(",{AUDIT_TARGET}=info") };
    let filter = EnvFilter::builder().parse(format!("{level}{audit}"));
    filter.map_err(|error| TelemetryError::Level(level.to_owned(), error))
}

/// An error and its causes in one line, the nearest first. A cause that its effect already quotes is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut said = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !said.contains(&next) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {next}");
        }
        said = next;
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failure(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn a_chain_says_each_cause_once() {
        let refused = Failure("connection refused", None);
        let request = Failure("sending: connection refused", Some(Box::new(refused)));
        let listing = Failure("listing apikeys", Some(Box::new(request)));
        assert_eq!(chain(&listing), "listing apikeys: sending: connection refused");
    }

    #[test]
    fn only_its_own_directive_silences_the_audit_log() {
        for (level, expected) in [
            ("error", "audit=info,error"),
            ("warn,keyturn::feed=debug", "keyturn::feed=debug,audit=info,warn"),
            ("info,audit=off", "audit=off,info"),
        ] {
            assert_eq!(filter(level).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let error = init(LogFormat::Text, "keyturn=loud").err().unwrap();
        assert!(matches!(error, TelemetryError::Level(ref level, _) if level == "keyturn=loud"), "{error:?}");
    }
}

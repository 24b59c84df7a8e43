//! Options about who may call the auth port.

use clap::Args;

use crate::core::address::AddressSet;
use crate::metrics::Connections;
use crate::transport::server::Admission;

/// Who may ask, and how many at once.
#[derive(Clone, Debug, Args)]
pub(super) struct Callers {
    /// Addresses and ranges of the proxies that may ask, separated by commas [default: any]. Others are answered 403,
    /// and nothing is judged.
    #[arg(
        long,
        env = "KEYTURN_ALLOWED_PEERS",
        value_name = "CIDR,...",
        default_value = "",
        hide_default_value = true,
        value_parser = addresses
    )]
    allowed_peers: AddressSet,
    /// Connections of proxies that may be open at the same time; one more is closed at once.
    #[arg(long, env = "KEYTURN_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 10_000, value_parser = count)]
    max_connections: usize,
}

impl Callers {
    pub(super) fn admission(&self, metrics: Connections) -> Admission {
        Admission::new(self.allowed_peers.clone(), self.max_connections, metrics)
    }
}

/// Charts set variables that are empty.
fn addresses(text: &str) -> Result<AddressSet, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    AddressSet::parse(entries).map_err(|error| error.to_string())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("no proxy could ask; give at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("this is no count; give a whole number, such as 10000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_with_a_remedy() {
        assert!(addresses("10.0.0.0/8,proxy").unwrap_err().contains("\"proxy\" is neither an IP address"));
        assert!(count("0").unwrap_err().contains("at least 1"));
        assert!(count("many").unwrap_err().contains("whole number"));
    }

    #[test]
    fn ranges_are_separated_by_commas_and_none_means_any() {
        assert_eq!(addresses(""), Ok(AddressSet::default()));
        assert_eq!(addresses("10.0.0.0/8, fd00::/8,"), Ok(AddressSet::parse(["10.0.0.0/8", "fd00::/8"]).unwrap()));
    }
}

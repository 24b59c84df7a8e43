//! Hosts: which API the requests for a host name are for, where verifiers are told to go by it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::acceptance::{Reason, Rejection};
use super::claimants::Claimants;
use super::policy::{Age, ObjectName};

/// Hosts that a message names; the others are counted.
const NAMED: usize = 4;

/// The hosts that a ProtectedApi claims. They are claimed whatever else it says: nobody is to be sent to another API
/// because the one that has the host made a mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostClaim {
    pub age: Age,
    /// In lower case, without ports.
    pub hosts: Vec<Arc<str>>,
}

/// What every ProtectedApi claims, and who has which host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostDirectory {
    claims: HashMap<ObjectName, HostClaim>,
    by_host: Claimants<Arc<str>>,
}

impl HostDirectory {
    /// The API of that name is new or has changed.
    pub fn enter(&mut self, name: &ObjectName, claim: HostClaim) {
        self.remove(name);
        if claim.hosts.is_empty() {
            return;
        }
        for host in &claim.hosts {
            self.by_host.enter(Arc::clone(host), &claim.age, name);
        }
        self.claims.insert(name.clone(), claim);
    }

    /// The API of that name is gone.
    pub fn remove(&mut self, name: &ObjectName) {
        let Some(claim) = self.claims.remove(name) else { return };
        for host in &claim.hosts {
            self.by_host.remove(host, &claim.age);
        }
    }

    /// Every API is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Every host with the API that has it, which is the oldest of those that claim it.
    pub fn holders(&self) -> impl Iterator<Item = (&Arc<str>, &ObjectName)> {
        self.by_host.holders()
    }

    /// Whether the API of that name has every host that it claims.
    ///
    /// # Errors
    /// Older ones have some of them.
    pub fn judge(&self, name: &ObjectName) -> Result<(), Rejection> {
        let hosts = self.claims.get(name).map_or(&[][..], |claim| &claim.hosts);
        let taken = hosts.iter().filter_map(|host| {
            let (_, holder) = self.by_host.holder(host)?;
            (holder != name).then(|| format!("{host:?} belongs to ProtectedApi {holder}"))
        });
        let taken: Vec<_> = taken.collect();
        if taken.is_empty() {
            return Ok(());
        }
        let others = taken.len().saturating_sub(NAMED);
        let more = if others > 0 { format!(", and so do {others} more to others") } else { String::new() };
        let named = taken[..taken.len() - others].join(", ");
        let message = format!("spec.hosts: {named}{more}; the older of two has a host, so remove it from one of them");
        Err(Rejection::new(Reason::HostTaken, message))
    }

    /// The other APIs that claim a host of the one of that name: what becomes of it may change what becomes of them.
    #[must_use]
    pub fn rivals(&self, name: &ObjectName) -> BTreeSet<ObjectName> {
        let hosts = self.claims.get(name).map_or(&[][..], |claim| &claim.hosts);
        let claimants = hosts.iter().flat_map(|host| self.by_host.of(host)).map(|(_, claimant)| claimant);
        claimants.filter(|claimant| *claimant != name).cloned().collect()
    }
}

/// The host name of an authority (RFC 3986, section 3.2), as APIs claim it; `None`: it has none.
#[must_use]
pub fn of_authority(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    // The root's dot names the same host (RFC 1034, section 3.1).
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || !host.bytes().all(is_name) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn claim(second: i64, uid: &str, hosts: &[&str]) -> HostClaim {
        let age = Age { created_at: Timestamp::from_second(second).unwrap(), uid: uid.into() };
        HostClaim { age, hosts: hosts.iter().map(|host| Arc::from(*host)).collect() }
    }

    fn name(name: &str) -> ObjectName {
        ObjectName::new("speech", name)
    }

    fn holder(directory: &HostDirectory, host: &str) -> Option<String> {
        let found = directory.holders().find(|(known, _)| ***known == *host);
        found.map(|(_, name)| name.to_string())
    }

    #[test]
    fn the_younger_of_two_is_told_which_host_it_lacks_and_who_has_it() {
        let mut directory = HostDirectory::default();
        directory.enter(&name("young"), claim(2, "a", &["b.example", "a.example"]));
        directory.enter(&name("old"), claim(1, "b", &["a.example", "c.example"]));
        assert_eq!(directory.judge(&name("old")), Ok(()));
        assert_eq!(
            directory.judge(&name("young")).unwrap_err().to_string(),
            "HostTaken: spec.hosts: \"a.example\" belongs to ProtectedApi speech/old; the older of two has a host, so remove it from one of them"
        );
        assert_eq!(holder(&directory, "a.example").as_deref(), Some("speech/old"));
        assert_eq!(holder(&directory, "b.example").as_deref(), Some("speech/young"));
        assert_eq!(directory.rivals(&name("old")), BTreeSet::from([name("young")]));
        directory.enter(&name("old"), claim(1, "b", &["c.example"]));
        assert_eq!(directory.judge(&name("young")), Ok(()));
        assert_eq!(holder(&directory, "a.example").as_deref(), Some("speech/young"));
        directory.remove(&name("young"));
        assert_eq!(holder(&directory, "a.example"), None);
        directory.clear();
        assert_eq!(holder(&directory, "c.example"), None);
    }

    #[test]
    fn of_many_hosts_that_are_taken_some_are_named() {
        let hosts = ["a", "b", "c", "d", "e", "f"];
        let mut directory = HostDirectory::default();
        directory.enter(&name("old"), claim(1, "a", &hosts));
        directory.enter(&name("young"), claim(2, "b", &hosts));
        let message = directory.judge(&name("young")).unwrap_err().message;
        assert!(message.contains("\"d\" belongs to ProtectedApi speech/old, and so do 2 more to others;"), "{message}");
    }

    #[test]
    fn what_is_no_name_of_a_host_leads_nowhere() {
        for authority in
            ["", ":80", ".", "[::1]:80", "::1", "a.example:80@evil", "user@a.example", "a b", "a.example:x", "é"]
        {
            assert_eq!(of_authority(authority), None, "{authority}");
        }
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:", "a.example"),
            ("a.example:8443", "a.example"),
            ("A.Example.:80", "a.example"),
            ("127.0.0.1:80", "127.0.0.1"),
        ] {
            assert_eq!(of_authority(authority).as_deref(), Some(host), "{authority}");
        }
    }

    proptest! {
        /// In whatever order APIs come, change and go.
        #[test]
        fn the_oldest_claim_has_the_host(changes in prop::collection::vec((0_u8..5, prop::collection::btree_set(0_u8..4, 0..4)), 1..24)) {
            let mut directory = HostDirectory::default();
            let mut claimed = BTreeMap::new();
            for (api, hosts) in changes {
                let (api_name, hosts) = (name(&api.to_string()), hosts.iter().map(u8::to_string).collect::<Vec<_>>());
                let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                // Two were made in the same second.
                let claim = claim(i64::from(api / 2), &api_name.name, &hosts);
                if hosts.is_empty() {
                    directory.remove(&api_name);
                } else {
                    directory.enter(&api_name, claim.clone());
                }
                claimed.insert(api, claim);
            }
            for host in (0..4_u8).map(|host| host.to_string()) {
                let oldest = claimed.iter().find(|(_, claim)| claim.hosts.iter().any(|claimed| **claimed == *host));
                prop_assert_eq!(holder(&directory, &host), oldest.map(|(api, _)| format!("speech/{api}")));
            }
            for (api, claim) in &claimed {
                let has_all = claim.hosts.iter().all(|host| holder(&directory, host) == Some(format!("speech/{api}")));
                prop_assert_eq!(directory.judge(&name(&api.to_string())).is_ok(), has_all);
            }
        }
    }
}

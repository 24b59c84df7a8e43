//! What the watch of ProtectedApis tells: the APIs, and which hosts they claim.

use kube::core::DeserializeGuard;

use super::{merge as merge_parsed, name};
use crate::core::hosts::HostDirectory;
use crate::core::policy::Policies;
use crate::feed::watch::Change;
use crate::resources::ProtectedApi;

/// Brings a change into the APIs and the hosts; answers whether there was one.
pub(super) fn merge(policies: &mut Policies, change: Change<DeserializeGuard<ProtectedApi>>) -> bool {
    let hosts = &mut policies.hosts;
    match &change {
        Change::Listed(objects) => {
            hosts.clear();
            objects.iter().for_each(|object| claim(hosts, object));
        }
        Change::Applied(object) => claim(hosts, object),
        Change::Deleted(object) => name(object).iter().for_each(|name| hosts.remove(name)),
        Change::Bookmark => return false,
    }
    merge_parsed(&mut policies.apis, change, ProtectedApi::parse);
    true
}

/// An object that cannot be read keeps the hosts that it had: its requests must not go to another API's keys.
fn claim(hosts: &mut HostDirectory, object: &DeserializeGuard<ProtectedApi>) {
    if let (Some(name), Ok(api)) = (name(object), &object.0) {
        hosts.enter(&name, api.host_claim());
    }
}

//! Owners: whom keys are issued to, and which object speaks for whom.

use std::collections::HashMap;
use std::sync::Arc;

use super::acceptance::{Reason, Rejection};
use super::budget::Quota;
use super::claimants::Claimants;
use super::policy::{Age, ObjectName, RateLimit};

/// What an ApiKeyOwner says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    pub object: ObjectName,
    pub uid: Arc<str>,
    /// Other namespaces whose keys may claim the owner.
    pub namespaces: Vec<Arc<str>>,
    /// Of keys that name none.
    pub tier: Option<Arc<str>>,
    /// Shared by the owner's keys.
    pub rate_limits: Vec<RateLimit>,
    /// Shared by the owner's keys.
    pub quotas: Vec<Quota>,
    /// Keys that may be active at the same time; `None`: as many as the tier says.
    pub max_active_keys: Option<u32>,
    /// Uid of the ApiKeyUsage that holds what was spent of the quotas, once there is one.
    pub usage: Option<Arc<str>>,
}

/// An ApiKeyOwner's claim to speak for an external id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerClaim {
    /// What keys write as `owner`.
    pub external_id: Arc<str>,
    pub age: Age,
    /// What it says, or why that can't be honoured. Its external id is taken all the same: nobody may speak for
    /// an owner because the one who does made a mistake.
    pub owner: Result<Arc<Owner>, Rejection>,
}

/// An external id in a namespace.
type Id = (Arc<str>, Arc<str>);

/// Every ApiKeyOwner, and who speaks for which external id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnerDirectory {
    claims: HashMap<ObjectName, OwnerClaim>,
    by_id: Claimants<Id>,
}

impl OwnerDirectory {
    /// The object of that name is new or has changed.
    pub fn enter(&mut self, name: &ObjectName, claim: OwnerClaim) {
        self.remove(name);
        let id = (Arc::clone(&name.namespace), Arc::clone(&claim.external_id));
        self.by_id.enter(id, &claim.age, name);
        self.claims.insert(name.clone(), claim);
    }

    /// The object of that name is gone.
    pub fn remove(&mut self, name: &ObjectName) {
        let Some(claim) = self.claims.remove(name) else { return };
        self.by_id.remove(&(Arc::clone(&name.namespace), claim.external_id), &claim.age);
    }

    /// Every object is gone.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The oldest object that claims that external id, and what it says or why that can't be honoured.
    #[must_use]
    pub fn find(
        &self,
        namespace: &Arc<str>,
        external_id: &Arc<str>,
    ) -> Option<(ObjectName, Result<&Arc<Owner>, &Rejection>)> {
        let (_, oldest) = self.holder(namespace, external_id)?;
        let owner = self.claims.get(oldest)?.owner.as_ref();
        Some((oldest.clone(), owner))
    }

    /// What the owner with that external id says; `None` if nobody says anything about it that can be honoured.
    #[must_use]
    pub fn get(&self, namespace: &Arc<str>, external_id: &Arc<str>) -> Option<&Arc<Owner>> {
        self.find(namespace, external_id)?.1.ok()
    }

    /// Whether there is an object of that name and uid, whatever it says.
    #[must_use]
    pub fn knows(&self, name: &ObjectName, uid: &str) -> bool {
        self.claims.get(name).is_some_and(|claim| *claim.age.uid == *uid)
    }

    /// Whether some object claims that external id, though it may not be fit to speak for it.
    #[must_use]
    pub fn is_claimed(&self, namespace: &Arc<str>, external_id: &Arc<str>) -> bool {
        self.holder(namespace, external_id).is_some()
    }

    /// Whether the object of that name, which says this, counts.
    ///
    /// # Errors
    /// It says something that can't be honoured, or an older one has its external id.
    pub fn judge(&self, name: &ObjectName, claim: &OwnerClaim) -> Result<(), Rejection> {
        claim.owner.as_ref().map_err(Clone::clone)?;
        let id = &claim.external_id;
        match self.holder(&name.namespace, id) {
            Some((age, oldest)) if oldest != name && *age < claim.age => {
                let oldest = &oldest.name;
                let message = format!(
                    "spec.externalId: {id:?} belongs to ApiKeyOwner {oldest}, which is older; choose another one or delete one of the two"
                );
                Err(Rejection::new(Reason::ExternalIdTaken, message))
            }
            _ => Ok(()),
        }
    }

    /// What the object of that name claims.
    #[must_use]
    pub fn claim(&self, name: &ObjectName) -> Option<&OwnerClaim> {
        self.claims.get(name)
    }

    /// The other objects that claim the same external id as the one of that name: what becomes of it may change
    /// what becomes of them.
    pub fn rivals(&self, name: &ObjectName) -> impl Iterator<Item = ObjectName> {
        let id = self.claims.get(name).map(|claim| (Arc::clone(&name.namespace), Arc::clone(&claim.external_id)));
        let claimants = id.into_iter().flat_map(|id| self.by_id.of(&id));
        claimants.map(|(_, other)| other).filter(move |other| *other != name).cloned()
    }

    fn holder(&self, namespace: &Arc<str>, external_id: &Arc<str>) -> Option<(&Age, &ObjectName)> {
        self.by_id.holder(&(Arc::clone(namespace), Arc::clone(external_id)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::fixtures;

    fn claim(external_id: &str, second: i64, uid: &str) -> OwnerClaim {
        let age = Age { created_at: Timestamp::from_second(second).unwrap(), uid: uid.into() };
        let owner = Owner { namespaces: vec![uid.into()], ..fixtures::owner() };
        OwnerClaim { external_id: external_id.into(), age, owner: Ok(Arc::new(owner)) }
    }

    fn name(name: &str) -> ObjectName {
        ObjectName::new("speech", name)
    }

    /// What the directory makes of an object in it.
    fn judge(directory: &OwnerDirectory, object: &str) -> Result<(), Rejection> {
        directory.judge(&name(object), directory.claim(&name(object)).unwrap())
    }

    /// The uid of the object that speaks for an external id.
    fn speaker(directory: &OwnerDirectory, external_id: &str) -> Option<String> {
        let owner = directory.get(&"speech".into(), &external_id.into())?;
        Some(owner.namespaces[0].to_string())
    }

    #[test]
    fn the_younger_of_two_with_one_external_id_is_told_who_has_it() {
        for (first, second) in [((1, "b"), (2, "a")), ((1, "a"), (1, "b"))] {
            // In whatever order they are heard of.
            for younger_first in [false, true] {
                let mut directory = OwnerDirectory::default();
                let mut objects = [("old", first), ("young", second)];
                if younger_first {
                    objects.reverse();
                }
                for (object, (at, uid)) in objects {
                    directory.enter(&name(object), claim("acme", at, uid));
                }
                assert_eq!(judge(&directory, "old"), Ok(()));
                let taken = judge(&directory, "young").unwrap_err();
                assert_eq!(
                    taken.to_string(),
                    "ExternalIdTaken: spec.externalId: \"acme\" belongs to ApiKeyOwner old, which is older; choose another one or delete one of the two"
                );
                assert_eq!(speaker(&directory, "acme").as_deref(), Some(first.1));
                assert_eq!(directory.rivals(&name("old")).collect::<Vec<_>>(), [name("young")]);
                directory.remove(&name("old"));
                assert_eq!(judge(&directory, "young"), Ok(()));
                assert_eq!(speaker(&directory, "acme").as_deref(), Some(second.1));
                assert_eq!(directory.rivals(&name("young")).count(), 0);
            }
        }
    }

    #[test]
    fn one_that_cannot_be_honoured_keeps_its_external_id() {
        let mut directory = OwnerDirectory::default();
        let rejection = Rejection::new(Reason::Invalid, "spec.quotas: they cannot be read");
        directory.enter(&name("old"), OwnerClaim { owner: Err(rejection.clone()), ..claim("acme", 1, "a") });
        directory.enter(&name("young"), claim("acme", 2, "b"));
        assert_eq!(judge(&directory, "old"), Err(rejection));
        assert_eq!(judge(&directory, "young").unwrap_err().reason, Reason::ExternalIdTaken);
        assert_eq!(speaker(&directory, "acme"), None);
    }

    #[test]
    fn an_owner_that_changes_its_external_id_gives_the_old_one_up() {
        let mut directory = OwnerDirectory::default();
        directory.enter(&name("a"), claim("acme", 1, "a"));
        directory.enter(&name("a"), claim("other", 1, "a"));
        assert_eq!(["acme", "other"].map(|id| speaker(&directory, id)), [None, Some("a".to_owned())]);
        directory.clear();
        assert_eq!(speaker(&directory, "other"), None);
        assert_eq!(directory.by_id.holders().next(), None, "nothing is kept of what is gone");
    }

    #[test]
    fn an_owner_speaks_in_its_own_namespace_only() {
        let mut directory = OwnerDirectory::default();
        directory.enter(&ObjectName::new("team-a", "acme"), claim("acme", 1, "a"));
        assert_eq!(speaker(&directory, "acme"), None);
    }
}

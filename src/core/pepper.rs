//! The peppers of an installation: one makes digests, others may still be needed to recognise older ones.

use super::digest::Pepper;

/// Peppers that one installation may have at a time. A string that is presented is hashed once for each.
pub const MAX_PEPPERS: usize = 4;

/// Every pepper there is, exactly one of them active. Never empty.
#[derive(Clone, Debug)]
pub struct Peppers {
    /// The active one first.
    all: Vec<Pepper>,
}

impl Peppers {
    /// `others` are still recognised, but make no new digests.
    #[must_use]
    pub fn new(active: Pepper, others: impl IntoIterator<Item = Pepper>) -> Self {
        Self { all: std::iter::once(active).chain(others).collect() }
    }

    /// The one that makes digests.
    #[must_use]
    pub fn active(&self) -> &Pepper {
        &self.all[0]
    }

    /// All of them, the active one first.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Pepper> {
        self.all.iter()
    }

    /// The one that `status.versions[].pepper` names.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Pepper> {
        self.all.iter().find(|pepper| pepper.name() == name)
    }

    /// These, and of `former` those whose names these do not have.
    #[must_use]
    pub fn with(&self, former: &Self) -> Self {
        let kept = former.iter().filter(|pepper| self.by_name(pepper.name()).is_none());
        Self { all: self.iter().chain(kept).cloned().collect() }
    }
}

impl From<Pepper> for Peppers {
    fn from(only: Pepper) -> Self {
        Self { all: vec![only] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peppers(names: &[&str]) -> Peppers {
        let mut all = names.iter().map(|name| Pepper::new(name, &[7; 32]).unwrap());
        Peppers::new(all.next().unwrap(), all)
    }

    fn names(peppers: &Peppers) -> Vec<&str> {
        peppers.iter().map(Pepper::name).collect()
    }

    #[test]
    fn the_active_pepper_comes_first_and_each_is_found_by_name() {
        let peppers = peppers(&["p2", "p1"]);
        assert_eq!((peppers.active().name(), names(&peppers)), ("p2", vec!["p2", "p1"]));
        assert_eq!(peppers.by_name("p1").map(Pepper::name), Some("p1"));
        assert!(peppers.by_name("p3").is_none());
    }

    #[test]
    fn former_peppers_are_kept_behind_those_that_are_there() {
        assert_eq!(names(&peppers(&["p2", "p3"]).with(&peppers(&["p1", "p2"]))), ["p2", "p3", "p1"]);
    }
}

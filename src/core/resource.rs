//! Which resources, such as models, a request is for, and whether its key may use them.
//!
//! A request names a resource by a value. Where the API has a catalog of the kind, the value must be there; what is
//! not is told apart from what a key may not use. Without a catalog the value stands for itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::glob;
use super::pointer::Pointer;
use super::verdict::{Code, Denial};

/// What a key may use of one kind. Patterns ([`glob`]) of ids, names and groups.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Access {
    pub kind: Arc<str>,
    /// Empty: all that is not denied.
    pub allow: Box<[Arc<str>]>,
    /// Wins over `allow`.
    pub deny: Box<[Arc<str>]>,
}

/// The resources of one kind that an API knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Catalog {
    required: bool,
    deny_code: Option<Arc<str>>,
    entries: Vec<Entry>,
    by_value: HashMap<Arc<str>, Named>,
}

/// What a value names in a catalog.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Named {
    /// The entry at that place.
    One(usize),
    /// Several that are enabled.
    Several,
}

/// One resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    pub id: Arc<str>,
    pub name: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
    /// `false`: it is as good as unknown.
    pub enabled: bool,
}

/// A kind of resource, as requests for it are judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kind {
    name: Arc<str>,
    /// Codes of the two refusals, such as `MODEL_NOT_FOUND` and `MODEL_FORBIDDEN`.
    not_found: Arc<str>,
    forbidden: Arc<str>,
    /// `None`: every value stands for itself.
    catalog: Option<Catalog>,
}

/// Where the value is that names a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ValueSource {
    /// A parameter of the route's path, counted from 0.
    Path(usize),
    /// A header (lower-case name).
    Header(Arc<str>),
    /// A query parameter.
    Query(Arc<str>),
    /// A member of a JSON body.
    Body(Pointer),
}

/// Which resource the requests for a route are for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteResource {
    pub kind: Arc<Kind>,
    /// The first place that has a value counts.
    pub from: Box<[ValueSource]>,
}

/// What a value turns out to be.
#[derive(Debug, Eq, PartialEq)]
enum Resolved<'a> {
    Entry(&'a Entry),
    /// Nothing but itself: no catalog tells more, or the name of several resources.
    Itself(&'a str),
}

impl Kind {
    /// A kind, with its catalog if the API has one.
    #[must_use]
    pub fn new(name: &str, catalog: Option<Catalog>) -> Self {
        let code = |end: &str| format!("{}_{end}", name.to_ascii_uppercase().replace('-', "_")).into();
        let deny_code = catalog.as_ref().and_then(|catalog| catalog.deny_code.clone());
        let forbidden = deny_code.unwrap_or_else(|| code("FORBIDDEN"));
        Self { name: name.into(), not_found: code("NOT_FOUND"), forbidden, catalog }
    }

    /// The kind that problem documents of this code are about.
    #[must_use]
    pub fn code(&self, name: &str) -> Option<Code> {
        match name {
            name if *name == *self.not_found => Some(Code::ResourceNotFound),
            name if *name == *self.forbidden => Some(Code::ResourceForbidden),
            _ => None,
        }
    }

    /// Judges a request for the resource that `value` names.
    ///
    /// # Errors
    /// The resource is unknown, missing though one is required, or none that the key may use.
    pub fn judge(&self, value: Option<&str>, access: &[Access]) -> Result<(), Denial> {
        let Some(value) = value else {
            return match &self.catalog {
                Some(catalog) if catalog.required => Err(self.not_found("the request names no resource")),
                _ => Ok(()),
            };
        };
        let resolved = match &self.catalog {
            Some(catalog) => catalog.resolve(value).ok_or_else(|| self.not_found("no such resource is enabled"))?,
            None => Resolved::Itself(value),
        };
        let Some(access) = access.iter().find(|access| access.kind == self.name) else {
            return Ok(());
        };
        let is_among = |patterns: &[Arc<str>]| patterns.iter().any(|pattern| resolved.is(pattern));
        if is_among(&access.deny) {
            return Err(self.forbidden("the key is denied the resource"));
        }
        if !access.allow.is_empty() && !is_among(&access.allow) {
            return Err(self.forbidden("the resource is not among those that the key may use"));
        }
        Ok(())
    }

    /// A refusal of a request of which it is not clear what resource it is for.
    #[must_use]
    pub fn not_found(&self, cause: &'static str) -> Denial {
        Denial { told: Some(Arc::clone(&self.not_found)), ..Denial::new(Code::ResourceNotFound, cause) }
    }

    fn forbidden(&self, cause: &'static str) -> Denial {
        Denial { told: Some(Arc::clone(&self.forbidden)), ..Denial::new(Code::ResourceForbidden, cause) }
    }
}

impl Catalog {
    /// A catalog of these entries. `required`: a request for a route with this kind must name a resource.
    /// `deny_code`: what the API calls a refusal, if it is not to be made from the kind.
    #[must_use]
    pub fn new(required: bool, deny_code: Option<Arc<str>>, entries: Vec<Entry>) -> Self {
        let mut by_value = HashMap::new();
        // From the weakest kind of name to the strongest, each in place of what the one before it said.
        for of in [
            |entry: &Entry| entry.group.clone(),
            |entry: &Entry| entry.name.clone(),
            |entry: &Entry| Some(Arc::clone(&entry.id)),
        ] {
            let mut found: HashMap<Arc<str>, Named> = HashMap::new();
            for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.enabled) {
                if let Some(value) = of(entry) {
                    found.entry(value).and_modify(|named| *named = Named::Several).or_insert(Named::One(at));
                }
            }
            by_value.extend(found);
        }
        // Who asks for a hidden resource by its id must not get another one that bears the id as its name.
        for entry in entries.iter().filter(|entry| !entry.enabled) {
            by_value.remove(&entry.id);
        }
        Self { required, deny_code, entries, by_value }
    }

    /// By id, else by name, else by group; `None`: nothing that is enabled has it.
    fn resolve<'a>(&'a self, value: &'a str) -> Option<Resolved<'a>> {
        match self.by_value.get(value)? {
            Named::One(at) => self.entries.get(*at).map(Resolved::Entry),
            Named::Several => Some(Resolved::Itself(value)),
        }
    }
}

impl Resolved<'_> {
    fn is(&self, pattern: &str) -> bool {
        match self {
            Self::Entry(entry) => {
                let names = [Some(&entry.id), entry.name.as_ref(), entry.group.as_ref()];
                names.into_iter().flatten().any(|name| glob::matches(pattern, name))
            }
            Self::Itself(value) => glob::matches(pattern, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, name: &str, group: &str, enabled: bool) -> Entry {
        let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        Entry { id: id.into(), name: text(name), group: text(group), enabled }
    }

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let list = |patterns: &[&str]| patterns.iter().map(|pattern| Arc::from(*pattern)).collect();
        Access { kind: "runtime".into(), allow: list(allow), deny: list(deny) }
    }

    /// Two runtimes serve whisper-large, one whisper-small; the one of parakeet is off.
    fn runtimes(required: bool, deny_code: Option<&str>) -> Kind {
        let entries = vec![
            entry("1", "cpu-a", "whisper-large", true),
            entry("2", "default", "whisper-large", true),
            entry("3", "cpu-b", "whisper-small", true),
            entry("4", "old", "parakeet", false),
            entry("5", "4", "", true),
            entry("6", "twin", "", true),
            entry("7", "twin", "", true),
        ];
        Kind::new("runtime", Some(Catalog::new(required, deny_code.map(Arc::from), entries)))
    }

    fn told(kind: &Kind, value: Option<&str>, access: &[Access]) -> String {
        kind.judge(value, access).map_or_else(|denial| denial.name().to_owned(), |()| "ok".to_owned())
    }

    #[test]
    fn unknown_resources_are_told_apart_from_forbidden_ones() {
        let kind = runtimes(false, Some("MODEL_FORBIDDEN"));
        for (allow, deny, value, expected) in [
            (&[][..], &[][..], "9", "RUNTIME_NOT_FOUND"),
            (&[], &[], "", "RUNTIME_NOT_FOUND"),
            (&["*"], &[], "CPU-A", "RUNTIME_NOT_FOUND"),
            // Off: by id, by name and as the only one of its group; the id is nobody else's name either.
            (&["*"], &[], "4", "RUNTIME_NOT_FOUND"),
            (&["*"], &[], "old", "RUNTIME_NOT_FOUND"),
            (&["*"], &[], "parakeet", "RUNTIME_NOT_FOUND"),
            (&["cpu-*"], &[], "2", "MODEL_FORBIDDEN"),
            (&["cpu-*"], &[], "default", "MODEL_FORBIDDEN"),
            (&["cpu-?"], &[], "cpu-a", "ok"),
            (&["cpu-*"], &[], "1", "ok"),
            (&["1"], &[], "cpu-a", "ok"),
            (&["whisper-*"], &[], "2", "ok"),
            (&[], &["3"], "cpu-b", "MODEL_FORBIDDEN"),
            (&["*"], &["whisper-small"], "3", "MODEL_FORBIDDEN"),
            (&["cpu-b"], &["cpu-*"], "3", "MODEL_FORBIDDEN"),
            // A group of one is that one; of several, and so is a name that two have, it is itself.
            (&["cpu-b"], &[], "whisper-small", "ok"),
            (&["cpu-a"], &[], "whisper-large", "MODEL_FORBIDDEN"),
            (&["whisper-large"], &[], "whisper-large", "ok"),
            (&[], &["whisper-*"], "whisper-large", "MODEL_FORBIDDEN"),
            (&["6"], &[], "twin", "MODEL_FORBIDDEN"),
            (&["twin"], &[], "twin", "ok"),
            (&[], &[], "twin", "ok"),
        ] {
            assert_eq!(told(&kind, Some(value), &[access(allow, deny)]), expected, "{allow:?} {deny:?} {value}");
        }
    }

    #[test]
    fn only_the_access_to_its_own_kind_counts() {
        let other = Access { kind: "voice".into(), ..access(&["nothing"], &["*"]) };
        assert_eq!(told(&runtimes(false, None), Some("1"), std::slice::from_ref(&other)), "ok");
        assert_eq!(told(&runtimes(false, None), Some("1"), &[other, access(&[], &["1"])]), "RUNTIME_FORBIDDEN");
    }

    #[test]
    fn a_request_that_names_nothing_passes_unless_a_resource_is_required() {
        let strict = [access(&["cpu-*"], &["*"])];
        assert_eq!(told(&runtimes(true, None), None, &[]), "RUNTIME_NOT_FOUND");
        assert_eq!(told(&runtimes(false, None), None, &strict), "ok");
        assert_eq!(told(&Kind::new("runtime", None), None, &strict), "ok");
    }

    #[test]
    fn without_a_catalog_a_value_stands_for_itself() {
        let kind = Kind::new("runtime", None);
        for (allow, deny, value, expected) in [
            (&["gpt-*"][..], &[][..], "llama", "RUNTIME_FORBIDDEN"),
            (&["gpt-*"], &["gpt-5*"], "gpt-5-mini", "RUNTIME_FORBIDDEN"),
            (&["gpt-*"], &["gpt-5*"], "gpt-4", "ok"),
            (&[], &[], "anything", "ok"),
        ] {
            assert_eq!(told(&kind, Some(value), &[access(allow, deny)]), expected, "{allow:?} {deny:?} {value}");
        }
    }

    #[test]
    fn codes_are_made_from_the_kind() {
        let kind = Kind::new("voice-model", None);
        assert_eq!(kind.code("VOICE_MODEL_NOT_FOUND"), Some(Code::ResourceNotFound));
        assert_eq!(kind.code("VOICE_MODEL_FORBIDDEN"), Some(Code::ResourceForbidden));
        assert_eq!(kind.code("MODEL_FORBIDDEN"), None);
        assert_eq!(runtimes(false, Some("MODEL_FORBIDDEN")).code("RUNTIME_FORBIDDEN"), None);
    }
}

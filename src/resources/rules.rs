//! Building blocks of the CEL rules. A message names field, value and remedy; the server adds the path.

use kube::core::{Message, Rule};
use schemars::Schema;
use serde_json::json;

use crate::core::duration;

/// Letters, digits and punctuation of a scope.
pub(super) const SCOPE: &str = r"^[\w.:*/-]+$";
/// RFC 9110, section 5.6.2.
const TOKEN: &str = r"^[\w!#$%&*+.^`|~-]+$";
/// DNS-1123 subdomain: what Kubernetes takes for the name of an object.
const OBJECT_NAME: &str = r"^[a-z\d]+((-*|\.)[a-z\d]+)*$";
/// What Kubernetes takes for a data key of a Secret.
pub(super) const DATA_KEY: &str = r"^[-.\w]+$";
/// What codes such as `MODEL_NOT_FOUND` can be made of.
const RESOURCE_KIND: &str = "^[a-z][a-z0-9-]*$";
/// An owner's name, here and in its ApiKeyOwner.
const OWNER: &str = r"^[\w.-]+$";
/// RFC 6901, section 3.
const POINTER: &str = "^(/([^/~]|~[01])*)+$";
/// RFC 3339, upper-case, at most nanoseconds.
const TIMESTAMP: &str = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$";

/// A rule whose message is a CEL expression, so that it can quote values. The server bounds what the message
/// costs too: it may quote strings that have a `maxLength`, but no numbers, joined lists or keys of maps.
pub(super) fn rule(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(expression).message(Message::Expression(message.into()))
}

/// Attaches a rule to every item of a list.
pub(super) fn items(rule: Rule) -> impl FnMut(&mut Schema) {
    on("items", rule)
}

/// Attaches a rule to every value of a map.
pub(super) fn values(rule: Rule) -> impl FnMut(&mut Schema) {
    on("additionalProperties", rule)
}

fn on(inner: &'static str, rule: Rule) -> impl FnMut(&mut Schema) {
    move |schema| {
        let inner = schema.get_mut(inner).and_then(|inner| <&mut Schema>::try_from(inner).ok());
        if let (Some(inner), Ok(rule)) = (inner, serde_json::to_value(&rule)) {
            inner.insert("x-kubernetes-validations".to_owned(), json!([rule]));
        }
    }
}

/// A string that must match; `remedy` follows the value in the message.
fn matches(field: &str, pattern: &str, remedy: &str) -> Rule {
    rule(format!("self.matches(r'{pattern}')"), format!("'{field} \"' + self + '\" {remedy}'"))
}

/// What every field of type [`super::duration::Duration`] keeps.
pub(super) fn is_duration() -> Rule {
    rule(
        well_formed("self"),
        "'\"' + self + '\" is no duration; write days (90d) or hours, minutes, seconds, milliseconds (1h30m, 45s, 500ms)'",
    )
}

/// CEL: whether the field at `path` spells a duration. Guards what computes with it: the server tries every
/// rule, and one that cannot be computed is reported in the words of CEL.
fn well_formed(path: &str) -> String {
    format!("{path}.matches('{}')", duration::PATTERN)
}

/// CEL: the length in milliseconds of the duration that the field at `path` spells.
fn millis(path: &str) -> String {
    format!(
        "({path}.endsWith('d') ? int({path}.substring(0, {path}.size() - 1)) * 86400000 : duration({path}).getMilliseconds())"
    )
}

/// A duration with a lower bound, such as `1m`.
pub(super) fn at_least(field: &str, least: &str) -> Rule {
    rule(
        format!("!{} || {} >= duration('{least}').getMilliseconds()", well_formed("self"), millis("self")),
        format!("'{field} ' + self + ' is shorter than {least}; make it {least} or longer'"),
    )
}

/// A duration between two bounds, in milliseconds; `remedy` follows the value in the message.
pub(super) fn between(field: &str, least: u64, most: u64, remedy: &str) -> Rule {
    let (well_formed, millis) = (well_formed("self"), millis("self"));
    rule(
        format!("!{well_formed} || ({millis} >= {least} && {millis} <= {most})"),
        format!("'{field} ' + self + ' {remedy}'"),
    )
}

/// Of two optional durations the one at `shorter` must be the shorter one; `remedy` ends the message. The
/// object that the optional fields are members of must be there where `there` holds.
fn shorter(there: &str, shorter: &str, longer: &str, remedy: &str) -> Rule {
    let (shorter, longer) = (format!("self.{shorter}"), format!("self.{longer}"));
    rule(
        format!(
            "!({there}has({shorter}) && has({longer}) && {} && {}) || {} < {}",
            well_formed(&shorter),
            well_formed(&longer),
            millis(&shorter),
            millis(&longer),
        ),
        format!(
            "'rotation.{} ' + {shorter} + ' is not shorter than rotation.{} ' + {longer} + '; {remedy}'",
            &shorter["self.".len()..],
            &longer["self.".len()..],
        ),
    )
}

/// A grace period beside an interval.
pub(super) fn grace_within_interval() -> Rule {
    shorter("", "gracePeriod", "interval", "shorten gracePeriod or lengthen interval")
}

/// The grace period of a rotation request beside an interval.
pub(super) fn request_grace_within_interval() -> Rule {
    shorter("has(self.request) && ", "request.gracePeriod", "interval", "give this rotation a shorter one")
}

/// The name of an object.
pub(super) fn object_name(field: &str) -> Rule {
    matches(
        field,
        OBJECT_NAME,
        "is no name of an object; use lower-case letters, digits, - and ., beginning and ending with a letter or digit",
    )
}

/// The name of an owner.
pub(super) fn owner(field: &str) -> Rule {
    matches(field, OWNER, "is no name of an owner; use 1 to 255 letters, digits, _, . and -")
}

/// A scope.
pub(super) fn scope(field: &str) -> Rule {
    matches(field, SCOPE, "is no scope; use 1 to 128 letters, digits and . _ - : * /")
}

/// An address or a range.
pub(super) fn address(field: &str) -> Rule {
    rule(
        "isIP(self) || isCIDR(self)",
        format!(
            "'{field} \"' + self + '\" is neither an IP address nor a CIDR range; write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32'"
        ),
    )
}

/// A name that HTTP takes for a header, a method or an authentication scheme.
pub(super) fn token(field: &str) -> Rule {
    matches(field, TOKEN, "is no HTTP token; use letters, digits and hyphens only")
}

/// A name that HTTP takes for a method, in capitals as every method in use is.
pub(super) fn method(field: &str) -> Rule {
    matches(field, "^[A-Z][A-Z-]*$", "is no HTTP method; write it in capitals, such as GET")
}

/// A kind of resource, of which codes such as `MODEL_NOT_FOUND` are made. Two of those mean something else already.
pub(super) fn resource_kind(field: &str) -> Rule {
    rule(
        format!("self.matches(r'{RESOURCE_KIND}') && !(self in ['api', 'route'])"),
        format!(
            "'{field} \"' + self + '\" is no kind of resource; use lower-case letters, digits and hyphens, such as model, and neither api nor route'"
        ),
    )
}

/// A host name, without a port.
pub(super) fn host(field: &str) -> Rule {
    matches(
        field,
        OBJECT_NAME,
        "is no host name; write it in lower case without scheme and port, such as api.example.com",
    )
}

/// A JSON pointer to something inside of a document.
pub(super) fn pointer(field: &str) -> Rule {
    matches(
        field,
        POINTER,
        "is no JSON pointer (RFC 6901); write it as /runtime_id, with ~0 for ~ and ~1 for / in a name",
    )
}

/// An instant as a string. Its upper bound is what the time library can represent in every zone.
pub(super) fn timestamp(field: &str) -> Rule {
    Rule::new(format!("self.matches(r'{TIMESTAMP}') && timestamp(self) < timestamp('9999-12-30T00:00:00Z')")).message(
        format!("{field} is no instant before 9999-12-30; write a date and time that exist as 2027-01-31T00:00:00Z or 2027-01-31T00:00:00+01:00").as_str(),
    )
}

/// The name of a data key.
pub(super) fn data_key(field: &str) -> Rule {
    rule(
        format!("self.matches(r'{DATA_KEY}') && self != '.' && !self.startsWith('..')"),
        format!("'{field} \"' + self + '\" is no data key of a Secret; use letters, digits, -, _ and .'"),
    )
}

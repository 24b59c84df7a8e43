//! What `spec.secret.data` and `spec.secret.type` make of a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use zeroize::Zeroizing;

use super::build::Contents;
use crate::resources::apikey::{SecretTemplate, SecretType};

/// The data key that a Secret of that type must have, and its contents must be JSON.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// The data that the manifest adds, with its placeholders filled.
pub(super) fn data(template: &SecretTemplate, contents: &Contents<'_>) -> BTreeMap<String, ByteString> {
    let is_json = |key: &str| template.type_ == SecretType::DockerConfigJson && key == DOCKER_CONFIG;
    let fill = |(key, text): (&String, &String)| {
        let encode = if is_json(key) { in_json } else { as_it_is };
        (key.clone(), ByteString(fill(text, contents, encode).into_bytes()))
    };
    template.data.iter().map(fill).collect()
}

fn as_it_is(value: &str) -> Zeroizing<String> {
    Zeroizing::new(value.to_owned())
}

/// As it is written between the quotes of a JSON string: imported strings may contain quotes themselves.
fn in_json(value: &str) -> Zeroizing<String> {
    // There is no text that JSON could not hold.
    let quoted = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
    as_it_is(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default())
}

/// Fills placeholders in one pass: what is put in is not searched for placeholders again.
fn fill(text: &str, contents: &Contents<'_>, encode: fn(&str) -> Zeroizing<String>) -> String {
    let number = contents.number.to_string();
    let values = [
        ("$(apiKey)", contents.string.expose()),
        ("$(keyId)", contents.id),
        ("$(start)", contents.start),
        ("$(version)", &number),
    ]
    .map(|(name, value)| (name, encode(value)));
    // Reserved at once: growing would leave copies behind that nobody wipes.
    let room = values.iter().map(|(_, value)| value.len()).max().unwrap_or(0) * text.matches("$(").count();
    let mut filled = String::with_capacity(text.len() + room);
    let mut rest = text;
    while let Some(at) = rest.find("$(") {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let known = values.iter().find_map(|(name, value)| Some((value.as_str(), from.strip_prefix(name)?)));
        // The schema lets no other placeholder pass; one that is there all the same is nobody's to guess.
        let (value, after) = known.unwrap_or_else(|| from.split_at(2));
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The type as the API server spells it.
pub(super) const fn type_of(template: &SecretTemplate) -> &'static str {
    match template.type_ {
        SecretType::Opaque => "Opaque",
        SecretType::BasicAuth => "kubernetes.io/basic-auth",
        SecretType::DockerConfigJson => "kubernetes.io/dockerconfigjson",
    }
}

/// Why the API server would not take the Secret, which no schema can tell.
pub(super) fn mistake(template: &SecretTemplate) -> Option<String> {
    if template.type_ != SecretType::DockerConfigJson {
        return None;
    }
    let text = template.data.get(DOCKER_CONFIG).map_or("", String::as_str);
    // What is filled in is encoded so that it changes nothing about that.
    let error = serde_json::from_str::<serde_json::Value>(text).err()?;
    Some(format!(
        "spec.secret.data[{DOCKER_CONFIG}] is no JSON ({error}), as type kubernetes.io/dockerconfigjson demands; write it as {{\"auths\": {{\"registry.example.com\": {{\"username\": \"ci\", \"password\": \"$(apiKey)\"}}}}}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::key::PlainKey;

    fn template(type_: SecretType, text: &str) -> SecretTemplate {
        let data = BTreeMap::from([(DOCKER_CONFIG.to_owned(), text.to_owned())]);
        SecretTemplate { type_, data, ..SecretTemplate::default() }
    }

    #[test]
    fn placeholders_are_filled_wherever_they_stand() {
        let string = PlainKey::new("sk_live_abcdefgh".to_owned());
        let contents = Contents { id: "key_1", start: "sk_live_abcd", number: 7, string: &string, previous: None };
        for (text, expected) in [
            ("", ""),
            ("no placeholder: $ ( $x", "no placeholder: $ ( $x"),
            ("TOKEN=$(apiKey)\n", "TOKEN=sk_live_abcdefgh\n"),
            ("$(apiKey)$(apiKey)", "sk_live_abcdefghsk_live_abcdefgh"),
            ("$$(keyId)/$(version)/$(start)é", "$key_1/7/sk_live_abcdé"),
            // Past the schema: left as it is.
            ("$(apikey) $(", "$(apikey) $("),
        ] {
            assert_eq!(fill(text, &contents, as_it_is), expected);
        }
    }

    #[test]
    fn an_imported_string_breaks_no_json() {
        let string = PlainKey::new(r#"a"b\c"#.to_owned());
        let contents = Contents { id: "key_1", start: "a", number: 1, string: &string, previous: None };
        let template = template(SecretType::DockerConfigJson, r#"{"password": "$(apiKey)"}"#);
        let filled = data(&template, &contents);
        let read: serde_json::Value = serde_json::from_slice(&filled[DOCKER_CONFIG].0).unwrap();
        assert_eq!(read["password"], string.expose());
    }

    #[test]
    fn a_docker_config_must_be_json() {
        for (text, mistaken) in [("", true), ("{", true), ("1e999", true), ("{}", false), ("[\"$(apiKey)\"]", false)] {
            assert_eq!(mistake(&template(SecretType::DockerConfigJson, text)).is_some(), mistaken, "{text}");
            assert_eq!(mistake(&template(SecretType::Opaque, text)), None);
        }
    }
}

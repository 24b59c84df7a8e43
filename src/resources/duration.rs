//! A duration as a manifest spells it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rules;
use crate::core::duration::{self, DurationError};

/// A duration such as `90d`, `2160h`, `1m30s` or `500ms`. Keeps its spelling, so that an object that is read
/// and written back is unchanged.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// Its length.
    ///
    /// # Errors
    /// A spelling that the schema refuses.
    pub fn parse(&self) -> Result<std::time::Duration, DurationError> {
        duration::parse(&self.0)
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": duration::MAX_LENGTH,
            "x-kubernetes-validations": [rules::is_duration()],
        })
    }
}

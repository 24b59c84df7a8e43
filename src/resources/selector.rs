//! Label selectors: from Kubernetes' own type to what [`crate::core`] judges by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use schemars::Schema;
use serde_json::json;

use super::parse::invalid;
use crate::core::acceptance::Rejection;
use crate::core::selector::{Operator, Requirement, Selector};

/// Every operator by name.
const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// What the selector at `field` comes to.
pub(super) fn parse(field: &str, selector: &LabelSelector) -> Result<Selector, Rejection> {
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| Ok(Requirement { key: key.clone(), operator: Operator::In([value.clone()].into()) }));
    let expressions = selector.match_expressions.iter().flatten().enumerate().map(|(at, expression)| {
        let operator = operator(&format!("{field}.matchExpressions[{at}]"), expression)?;
        Ok(Requirement { key: expression.key.clone(), operator })
    });
    Ok(Selector::new(labels.chain(expressions).collect::<Result<_, _>>()?))
}

fn operator(field: &str, expression: &LabelSelectorRequirement) -> Result<Operator, Rejection> {
    let values = expression.values.as_deref().unwrap_or_default();
    let set = || values.iter().cloned().collect();
    let name = expression.operator.as_str();
    match (name, values.is_empty()) {
        ("In", false) => Ok(Operator::In(set())),
        ("NotIn", false) => Ok(Operator::NotIn(set())),
        ("Exists", true) => Ok(Operator::Exists),
        ("DoesNotExist", true) => Ok(Operator::DoesNotExist),
        ("In" | "NotIn", true) => {
            Err(invalid(&format!("{field}.values"), format_args!("{name} needs values; write one or more")))
        }
        ("Exists" | "DoesNotExist", false) => {
            let cause = format_args!("{name} takes no values, but {:?} is there; remove them", values.join(", "));
            Err(invalid(&format!("{field}.values"), cause))
        }
        _ => {
            let cause = format_args!("{name:?} is none; write In, NotIn, Exists or DoesNotExist");
            Err(invalid(&format!("{field}.operator"), cause))
        }
    }
}

/// Lets the server refuse an operator that there is not, which the type's own schema takes for any string.
pub(super) fn known_operators(schema: &mut Schema) {
    let operator = schema.pointer_mut("/properties/matchExpressions/items/properties/operator");
    if let Some(operator) = operator.and_then(serde_json::Value::as_object_mut) {
        operator.insert("enum".to_owned(), json!(OPERATORS));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed(selector: Value) -> Result<Selector, Rejection> {
        parse("from.selector", &serde_json::from_value(selector).unwrap())
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]})
    }

    #[test]
    fn names_what_is_wrong_with_an_expression() {
        for (selector, expected) in [
            (expression("in", &["a"]), "operator: \"in\" is none; write In, NotIn, Exists or DoesNotExist"),
            (expression("In", &[]), "values: In needs values; write one or more"),
            (expression("NotIn", &[]), "values: NotIn needs values; write one or more"),
            (expression("Exists", &["a"]), "values: Exists takes no values, but \"a\" is there; remove them"),
            (
                expression("DoesNotExist", &["a"]),
                "values: DoesNotExist takes no values, but \"a\" is there; remove them",
            ),
        ] {
            let expected = format!("Invalid: from.selector.matchExpressions[0].{expected}");
            assert_eq!(parsed(selector).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn labels_and_expressions_are_all_required() {
        let requirement = |key: &str, operator| Requirement { key: key.to_owned(), operator };
        let both = json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}, {"key": "x", "operator": "Exists"}],
        });
        let expected = Selector::new(vec![
            requirement("team", Operator::In(["a".to_owned()].into())),
            requirement("stage", Operator::NotIn(["test".to_owned()].into())),
            requirement("x", Operator::Exists),
        ]);
        assert_eq!(parsed(both), Ok(expected));
        assert_eq!(parsed(json!({})), Ok(Selector::default()));
    }
}

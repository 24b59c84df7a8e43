//! Label selectors, as Kubernetes means them (apimachinery, `LabelSelectorAsSelector`).

use std::collections::{BTreeMap, BTreeSet};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Requirements that all have to hold; without any, everything is selected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector(Vec<Requirement>);

/// What one label has to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    pub operator: Operator,
}

/// How a label is compared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operator {
    In(BTreeSet<String>),
    /// Holds for an object without the label too.
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self(requirements)
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Labels {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn requirement(key: &str, operator: Operator) -> Requirement {
        Requirement { key: key.to_owned(), operator }
    }

    #[test]
    fn each_operator_holds_as_kubernetes_says() {
        let values = || BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        // By operator: whether it holds without the label, with one of the values, with another value.
        for (operator, expected) in [
            (Operator::In(values()), [false, true, false]),
            (Operator::NotIn(values()), [true, false, true]),
            (Operator::Exists, [false, true, true]),
            (Operator::DoesNotExist, [true, false, false]),
        ] {
            let selector = Selector::new(vec![requirement("team", operator.clone())]);
            let objects = [labels(&[("other", "a")]), labels(&[("team", "b")]), labels(&[("team", "c")])];
            assert_eq!(objects.map(|labels| selector.selects(&labels)), expected, "{operator:?}");
        }
    }

    #[test]
    fn all_requirements_have_to_hold_and_none_selects_everything() {
        let both = Selector::new(vec![
            requirement("team", Operator::In(["a".to_owned()].into())),
            requirement("suspended", Operator::DoesNotExist),
        ]);
        assert!(both.selects(&labels(&[("team", "a")])));
        assert!(!both.selects(&labels(&[("team", "a"), ("suspended", "")])));
        assert!(!both.selects(&labels(&[])));
        assert!(Selector::default().selects(&labels(&[])));
    }
}

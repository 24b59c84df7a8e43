//! The CustomResourceDefinitions, as they are applied to a cluster and kept in `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ApiKeyUsage, ProtectedApi};

/// A file of `crds/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CrdFile {
    /// `<plural>.yaml`.
    pub name: String,
    /// YAML of one CustomResourceDefinition.
    pub content: String,
}

/// All kinds.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        ApiKey::crd(),
        ApiKeyOwner::crd(),
        ApiKeyRole::crd(),
        ApiKeyTier::crd(),
        ApiKeyUsage::crd(),
        ProtectedApi::crd(),
    ];
    crds.iter_mut().for_each(follow_conventions);
    crds
}

/// One CustomResourceDefinition as YAML.
///
/// # Errors
/// What the serialiser answers.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

/// All files of `crds/`, one a kind.
///
/// # Errors
/// What the serialiser answers.
pub fn crd_files() -> Result<Vec<CrdFile>, serde_saphyr::ser::Error> {
    let file = |crd: CustomResourceDefinition| -> Result<CrdFile, serde_saphyr::ser::Error> {
        let plural = &crd.spec.names.plural;
        Ok(CrdFile { name: format!("{plural}.yaml"), content: crd_yaml(&crd)? })
    };
    all_crds().into_iter().map(file).collect()
}

/// Rust's types say two things that Kubernetes says otherwise: an optional field is left out, never null; and
/// there are no unsigned formats.
fn follow_conventions(crd: &mut CustomResourceDefinition) {
    let versions = crd.spec.versions.iter_mut();
    let schemas = versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(walk);
}

fn walk(schema: &mut JSONSchemaProps) {
    if schema.x_kubernetes_preserve_unknown_fields != Some(true) {
        schema.nullable = None;
    }
    match schema.format.as_deref() {
        Some("uint8" | "uint16") => schema.format = Some("int32".to_owned()),
        Some("uint32" | "uint64") => schema.format = Some("int64".to_owned()),
        _ => {}
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        walk(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        walk(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        walk(values);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_files_in_crds_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        let kept: BTreeMap<String, String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
            .collect();
        let generated: BTreeMap<String, String> =
            crd_files().unwrap().into_iter().map(|file| (file.name, file.content)).collect();
        let stale: Vec<&String> =
            generated.iter().filter(|(name, text)| kept.get(*name) != Some(text)).map(|(name, _)| name).collect();
        assert!(stale.is_empty(), "{stale:?} in crds/ are out of date; run: make crds");
        let left_over: Vec<&String> = kept.keys().filter(|name| !generated.contains_key(*name)).collect();
        assert!(left_over.is_empty(), "{left_over:?} in crds/ belong to no kind; delete them");
    }

    #[test]
    fn every_field_is_documented() {
        fn visit(path: &str, schema: &JSONSchemaProps, missing: &mut Vec<String>) {
            for (name, property) in schema.properties.iter().flatten() {
                let path = format!("{path}.{name}");
                // The server documents these itself.
                let known = matches!(name.as_str(), "metadata" | "apiVersion" | "kind" | "status" | "spec");
                if property.description.is_none() && !known {
                    missing.push(path.clone());
                }
                visit(&path, property, missing);
            }
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                visit(&format!("{path}[]"), items, missing);
            }
        }
        let mut missing = Vec::new();
        for crd in all_crds() {
            let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            visit(&crd.spec.names.kind, schema, &mut missing);
        }
        assert!(missing.is_empty(), "without a doc comment: {missing:#?}");
    }
}

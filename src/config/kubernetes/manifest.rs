//! What the pods of a template are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Pod;
use crate::config::keys::Table;
use crate::config::limits::Host;
use crate::config::mistakes::Mistake;
use crate::config::section::Section;
use crate::plan::pod::CONTAINER;
use crate::plan::{Confinement, PodTemplate};

/// The rest of the pods of a template's agents; nothing where they are no pods.
pub(in crate::config) fn template(
    section: &Section<'_>,
    above: &Pod,
    (confinement, host): (&Confinement, &Host<'_>),
) -> Option<Arc<PodTemplate>> {
    let table = section.table("kubernetes", Table::Pod);
    // It is read in any case, as mistakes in it are.
    let pod = super::pod(&table, above);
    let executor = host.pods.as_ref()?;
    let overrides = pod.overrides.as_ref().map_or_else(|| json!({}), as_json);
    let manifest = manifest(&pod, confinement);
    let Some(image) = pod.image else {
        let (place, below) = if section.exists() {
            (section.span(), format!("[{}]", table.title()))
        } else {
            (executor, "[agents.default.kubernetes]".to_owned())
        };
        let title = format!("`{}` has no image for its pods", section.title());
        let help = format!(
            "write `image = \"registry.example/agents:1\"` in `[kubernetes]` for all templates, or \
             in `{below}`"
        );
        let related = Some(executor).filter(|executor| *executor != place);
        section.sink.note_absence(
            Mistake::at(place, title)
                .label("nothing to run")
                .related(related, "agents are pods")
                .help(help),
        );
        return None;
    };
    Some(Arc::new(PodTemplate { image, manifest, overrides }))
}

fn manifest(pod: &Pod, confinement: &Confinement) -> Value {
    let named = |names: &[String]| -> Vec<Value> {
        names.iter().map(|name| json!({ "name": name })).collect()
    };
    let raw = |value: &Option<toml::Value>| value.as_ref().map_or(Value::Null, as_json);
    let from = |names: &[String]| -> Vec<Value> {
        named(names).into_iter().map(|secret| json!({ "secretRef": secret })).collect()
    };
    let mut container = said([
        ("imagePullPolicy", json!(pod.image_pull_policy)),
        (
            "resources",
            said([("requests", json!(pod.requests)), ("limits", json!(limits(pod, confinement)))]),
        ),
        ("envFrom", json!(from(&pod.env_from))),
        ("securityContext", security(confinement)),
    ]);
    if let Some(container) = container.as_object_mut() {
        container.insert("name".to_owned(), json!(CONTAINER));
    }
    let metadata = said([("labels", json!(pod.labels)), ("annotations", json!(pod.annotations))]);
    let spec = said([
        ("serviceAccountName", json!(pod.service_account)),
        ("imagePullSecrets", json!(named(&pod.image_pull_secrets))),
        ("nodeSelector", json!(pod.node_selector)),
        ("tolerations", raw(&pod.tolerations)),
        ("affinity", raw(&pod.affinity)),
        ("containers", json!([container])),
    ]);
    said([("metadata", metadata), ("spec", spec)])
}

/// `limits` of the template hold where the pod's own say nothing.
fn limits(pod: &Pod, confinement: &Confinement) -> BTreeMap<String, String> {
    let mut limits = pod.limits.clone();
    let own = [
        ("memory", confinement.limits.memory.map(bytes)),
        ("cpu", confinement.limits.cpu.map(|thousandths| format!("{thousandths}m"))),
    ];
    for (resource, amount) in own {
        if let Some(amount) = amount {
            limits.entry(resource.to_owned()).or_insert(amount);
        }
    }
    limits
}

/// In the largest unit that says it all.
fn bytes(bytes: u64) -> String {
    let units = [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    match units.iter().find(|(_, factor)| bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Whom its processes run as is a number: what else there is was refused.
fn security(confinement: &Confinement) -> Value {
    let number = |id: &Option<String>| json!(id.as_ref().and_then(|id| id.parse::<u32>().ok()));
    let escalation = if confinement.no_new_privs { json!(false) } else { Value::Null };
    said([
        ("allowPrivilegeEscalation", escalation),
        ("runAsUser", number(&confinement.user)),
        ("runAsGroup", number(&confinement.group)),
    ])
}

/// An object without what says nothing.
fn said<const N: usize>(parts: [(&str, Value); N]) -> Value {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Object(object) => !object.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    let parts = parts.into_iter().filter(|(_, value)| says(value));
    Value::Object(parts.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

/// Of what was looked at before, so that there is nothing in it that is not JSON.
fn as_json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

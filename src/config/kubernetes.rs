//! Agents as pods: `runner.executor`, `[kubernetes]`, and a template's own table in its place.

mod manifest;
mod syntax;

use std::collections::BTreeMap;

use toml::Value;

use super::keys::Table;
use super::limits::Host;
use super::mistakes::{Mistake, Span};
use super::section::{Fallback, Found, Section, Word};
use super::{Cluster, ExecutorKind};

pub(super) use manifest::template;
pub use syntax::is_dns_label as is_namespace;

/// What runs agents in pods.
pub(super) const LAUNCHER: [&str; 2] = ["python", "-m"];

const PULL_POLICIES: [(&str, &str); 3] =
    [("Always", "Always"), ("IfNotPresent", "IfNotPresent"), ("Never", "Never")];

/// What a file says of pods: `[kubernetes]`, or a template for its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Pod {
    image: Option<String>,
    image_pull_policy: Option<&'static str>,
    image_pull_secrets: Vec<String>,
    service_account: Option<String>,
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
    node_selector: BTreeMap<String, String>,
    tolerations: Option<Value>,
    affinity: Option<Value>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    env_from: Vec<String>,
    overrides: Option<Value>,
}

/// `runner.executor`: what agents are, and where that is said if they are pods. One that runs its
/// agents one way does not find them the other way.
pub(super) fn executor(
    runner: &Section<'_>,
    cluster: impl FnOnce(Option<&Cluster>) -> Cluster,
    running: Option<&ExecutorKind>,
) -> (ExecutorKind, Option<Span>) {
    let pods = runner.choice("executor", &[("local", false), ("kubernetes", true)], false);
    let (was, here) = match running {
        None => (None, None),
        Some(ExecutorKind::Local) => (Some(("local", false, "processes of this machine")), None),
        Some(ExecutorKind::Kubernetes(cluster)) => {
            (Some(("kubernetes", true, "pods of a cluster")), Some(cluster))
        }
    };
    if let Some((word, _, agents)) =
        was.filter(|(_, was, _)| *was != pods.value && !pods.is_wrong())
    {
        let title = format!(
            "`runner.executor` cannot change while the runner runs: its agents are {agents}, and \
             nobody would look after them"
        );
        let span = pods.span().unwrap_or_else(|| runner.span());
        let help = format!("write `executor = {word:?}`, or {STOP}");
        runner.sink.note(Mistake::at(span, title).label("another one").help(help));
    }
    // It is read in any case, as mistakes in it are.
    let cluster = cluster(here.filter(|_| pods.value));
    let place = pods.span().filter(|_| pods.value).cloned();
    (if pods.value { ExecutorKind::Kubernetes(cluster) } else { ExecutorKind::Local }, place)
}

const STOP: &str = "stop the runner, and start it with this file";

/// Which cluster, and how much of it. `running` is the one that the agents are in already.
pub(super) fn cluster(section: &Section<'_>, running: Option<&Cluster>) -> Cluster {
    let context = section.text("context", Fallback::nothing("production"));
    let wrong = context.span().filter(|_| context.value.is_empty());
    if let Some(span) = wrong {
        let title = format!("`{}` must not be empty", section.name("context"));
        let help = "write one that `kubectl config get-contexts` shows, or leave it out for the \
                    current one";
        section.sink.note(Mistake::at(span, title).label("no context").help(help));
    }
    let namespace = section.text("namespace", Fallback::nothing("agents"));
    if let Some(span) = namespace.span().filter(|_| !syntax::is_dns_label(&namespace.value)) {
        let title = format!("`{}` is no name of a namespace", section.name("namespace"));
        let help = "write up to 63 small letters, digits and dashes, such as `namespace = \
                    \"agents\"`";
        section.sink.note(Mistake::at(span, title).label("not a name").help(help));
    }
    if let Some(running) = running {
        stays(section, "context", &context, running.context.as_deref());
        stays(section, "namespace", &namespace, running.namespace.as_deref());
    }
    let qps = section.number("qps", f64::MIN..=f64::MAX, 50.0);
    if let Some(span) = qps.span().filter(|_| qps.value <= 0.0) {
        let title = format!("`{}` must be more than 0", section.name("qps"));
        let help = "write how many requests in a second, such as `qps = 50`";
        section.sink.note(Mistake::at(span, title).label("not more than 0").help(help));
    }
    let burst = section.whole("burst", 1..=i64::from(u32::MAX), 100).value;
    Cluster {
        context: context.holding(),
        namespace: namespace.holding(),
        qps: qps.value,
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
    }
}

fn stays(section: &Section<'_>, key: &'static str, found: &Found<String>, running: Option<&str>) {
    let now = found.clone().holding();
    if found.is_wrong() || now.as_deref() == running {
        return;
    }
    let title = format!(
        "`{}` cannot change while the runner runs: nobody would look after the agents that are \
         there",
        section.name(key)
    );
    let span = found.span().unwrap_or_else(|| section.span());
    let help = match running {
        Some(running) => format!("write `{key} = {running:?}`, or {STOP}"),
        None => format!("leave out `{key}`, or {STOP}"),
    };
    section.sink.note(Mistake::at(span, title).label("another one").help(help));
}

/// What the section says of pods, and where it says nothing, what is above it.
pub(super) fn pod(section: &Section<'_>, above: &Pod) -> Pod {
    let (requests, limits) = resources(section, above);
    let raw = |key, default: &Option<Value>| section.raw(key, default.as_ref()).holding();
    let policy = Fallback { default: above.image_pull_policy, example: "IfNotPresent" };
    let pod = Pod {
        image: image(section, above),
        image_pull_policy: section.choice("image_pull_policy", &PULL_POLICIES, policy).holding(),
        image_pull_secrets: names(section, "image_pull_secrets", &above.image_pull_secrets),
        service_account: service_account(section, above),
        requests,
        limits,
        node_selector: labels(section, "node_selector", &above.node_selector),
        tolerations: section.raws("tolerations", above.tolerations.as_ref()).holding(),
        affinity: raw("affinity", &above.affinity),
        labels: labels(section, "labels", &above.labels),
        annotations: annotations(section, above),
        env_from: names(section, "env_from", &above.env_from),
        overrides: raw("pod", &above.overrides),
    };
    if let (Some(given), Some(Value::Table(pod))) = (section.key_span("pod"), &pod.overrides) {
        no_manifest(section, &given, pod);
    }
    pod
}

fn image(section: &Section<'_>, above: &Pod) -> Option<String> {
    let example = "registry.example/agents:1";
    let image = section.text("image", Fallback { default: above.image.as_deref(), example });
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
    if let Some(span) = image.span().filter(|_| !printable(&image.value)) {
        let title = format!("`{}` is no name of an image", section.name("image"));
        let help = format!("write, for example, `image = {example:?}`");
        section.sink.note(Mistake::at(span, title).label("not an image").help(help));
    }
    image.holding()
}

fn service_account(section: &Section<'_>, above: &Pod) -> Option<String> {
    let default = above.service_account.as_deref();
    let account = section.text("service_account", Fallback { default, example: "agents" });
    if let Some(span) = account.span() {
        name(section, "service_account", &(account.value.clone(), span.clone()));
    }
    account.holding()
}

/// Names of objects.
fn names(section: &Section<'_>, key: &'static str, above: &[String]) -> Vec<String> {
    let default = (!above.is_empty()).then_some(above);
    let names = section.words(key, default, &["credentials"]);
    if names.span().is_some() {
        names.value.iter().for_each(|word| name(section, key, word));
    }
    let names = names.holding().unwrap_or_default();
    names.into_iter().map(|(name, _)| name).collect()
}

fn name(section: &Section<'_>, key: &str, (name, span): &Word) {
    if syntax::is_dns_name(name) {
        return;
    }
    let title = format!("`{}`: Kubernetes has nothing by the name {name:?}", section.name(key));
    let help = "write small letters, digits, dashes and dots, as `kubectl get` shows it";
    section.sink.note(Mistake::at(span, title).label("not a name").help(help));
}

/// Amounts stand in place of all that would be taken over, as `limits` do.
fn resources(
    section: &Section<'_>,
    above: &Pod,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let table = section.table("resources", Table::Resources);
    let amounts = |key, above: &BTreeMap<String, String>| {
        let above = if table.exists() { &BTreeMap::new() } else { above };
        let strings = table.added(key, above);
        for ((resource, place), (amount, span)) in &strings.given {
            if !syntax::is_label_key(resource) {
                let title = format!("`{}`: {resource:?} is no resource", table.name(key));
                let help = "write `cpu`, `memory`, or one that `kubectl describe node` shows";
                table.sink.note(Mistake::at(place, title).label("not a resource").help(help));
            }
            if !syntax::is_quantity(amount) {
                let title = format!(
                    "`{}`: {amount:?} is no amount as Kubernetes writes it",
                    table.name(key)
                );
                let meant = syntax::meant(amount)
                    .unwrap_or(if resource == "cpu" { "500m" } else { "512Mi" }.to_owned());
                let help = format!(
                    "write, for example, `{} = {meant:?}`",
                    super::section::written(resource)
                );
                table.sink.note(Mistake::at(span, title).label("not an amount").help(help));
            }
        }
        strings.all
    };
    (amounts("requests", &above.requests), amounts("limits", &above.limits))
}

/// Labels of pods, or of the nodes that they may be on.
fn labels(
    section: &Section<'_>,
    key: &'static str,
    above: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let strings = section.added(key, above);
    for (name, (value, span)) in &strings.given {
        label_key(section, key, name);
        if !syntax::is_label_value(value) {
            let title = format!("`{}`: {value:?} is no value of a label", section.name(key));
            let help = "write up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit \
                        at both ends";
            section.sink.note(Mistake::at(span, title).label("not a value").help(help));
        }
    }
    strings.all
}

fn annotations(section: &Section<'_>, above: &Pod) -> BTreeMap<String, String> {
    let strings = section.added("annotations", &above.annotations);
    strings.given.iter().for_each(|(name, _)| label_key(section, "annotations", name));
    strings.all
}

fn label_key(section: &Section<'_>, key: &str, (name, span): &Word) {
    let (problem, help) = if !syntax::is_label_key(name) {
        (
            "is no name of a label",
            "write up to 63 letters, digits, `-`, `_` and `.`, after a domain and a `/` if it is \
             in one",
        )
    } else if key != "node_selector" && syntax::is_ours(name) {
        ("is the runner's own", "write another name: by it the runner finds its pods")
    } else {
        return;
    };
    let title = format!("`{}`: {name:?} {problem}", section.name(key));
    section.sink.note(Mistake::at(span, title).label("not a name").help(help));
}

/// What is merged is what a pod is to be, and not the whole of a manifest.
fn no_manifest(section: &Section<'_>, span: &Span, pod: &toml::Table) {
    let whole = ["apiVersion", "kind", "metadata", "spec"];
    if let Some(key) = whole.into_iter().find(|key| pod.contains_key(*key)) {
        let title = format!("`{}` is a pod's `spec`, which has no `{key}`", section.name("pod"));
        let help = "write what stands below `spec` in a manifest; `labels` and `annotations` are \
                    keys beside `pod`";
        section.sink.note(Mistake::at(span, title).label("more than a `spec`").help(help));
    }
}

/// Notes a key that means nothing for pods, if agents are pods.
pub(super) fn refuse(host: &Host<'_>, (section, key): (&Section<'_>, &str), why: &Refusal<'_>) {
    let (Some(executor), Some(span)) = (&host.pods, why.span) else { return };
    let title = format!("`{}` {}", section.name(key), why.problem);
    section.sink.note(
        Mistake::at(span, title)
            .label("not for pods")
            .related(Some(executor), "agents are pods")
            .help(why.help),
    );
}

/// Why a key means nothing for pods.
pub(super) struct Refusal<'a> {
    /// Where it is given; none: it is not.
    pub(super) span: Option<&'a Span>,
    pub(super) problem: &'a str,
    pub(super) help: &'a str,
}

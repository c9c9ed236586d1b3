//! Agents as pods: what their manifests come to, what is refused, and what cannot change.

use serde_json::{Value, json};

use super::*;
use crate::config::{Cluster, Config, ExecutorKind, explain};
use crate::plan::{Launch, Launcher, PodTemplate};

/// A file for a cluster with this in `[runner]`, and the rest below.
fn file(runner: &str, rest: &str) -> String {
    format!("[runner]\nexecutor = 'kubernetes'\n{runner}\n{rest}")
}

fn pod(text: &str) -> PodTemplate {
    let config = good(text);
    let pod = config.rules.templates[0].pod.as_ref().expect("a pod");
    PodTemplate::clone(pod)
}

fn container(text: &str) -> Value {
    pod(text).manifest["spec"]["containers"][0].clone()
}

const IMAGE: &str = "[kubernetes]\nimage = 'i'\n";

#[test]
fn agents_are_processes_unless_the_file_says_otherwise() {
    let template = "[kubernetes]\nqps = 7\n[agents.a]\nmodule = 'm'\nkubernetes = { image = 'i' }";
    for runner in ["", "executor = 'local'"] {
        let config = good(&format!("[runner]\n{runner}\n{template}"));
        assert_eq!(config.executor, ExecutorKind::Local);
        assert_eq!(config.rules.templates[0].pod, None);
    }
    let config = good(&file("", template));
    let cluster = Cluster { context: None, namespace: None, qps: 7.0, burst: 100 };
    assert_eq!(config.executor, ExecutorKind::Kubernetes(cluster));
    assert!(config.rules.templates[0].pod.is_some());
    // What nobody uses is checked all the same.
    assert_eq!(brief("[runner]\n[kubernetes]\nimage = ''\nqps = 0\n[jit]").len(), 2);
}

#[test]
fn the_least_that_a_pod_is() {
    let config = good(&file("", IMAGE));
    let template = &config.rules.templates[0];
    assert_eq!(template.cwd.as_os_str(), "");
    let Launch::Module { launcher, .. } = &template.launch else { panic!() };
    assert_eq!(*launcher, Launcher::Argv(vec!["python".into(), "-m".into()]));
    let expected = PodTemplate {
        image: "i".into(),
        manifest: json!({ "spec": { "containers": [{
            "name": "agent",
            "securityContext": { "allowPrivilegeEscalation": false },
        }] } }),
        overrides: json!({}),
    };
    assert_eq!(pod(&file("", IMAGE)), expected);
    let free = container(&file("no_new_privs = false", IMAGE));
    assert_eq!(free, json!({ "name": "agent" }));
}

#[test]
fn a_templates_values_stand_in_place_of_the_instances_and_its_maps_add_to_them() {
    let text = |own: &str| {
        format!(
            "{}\nlabels = {{ a = '1', b = '2' }}\nenv_from = ['x']\nresources.requests.cpu = '1'\n\
             [agents.t]\nmodule = 'm'\n[agents.t.kubernetes]\n{own}",
            file("", IMAGE)
        )
    };
    let of = |own: &str| pod(&text(own));
    let labels = |own: &str| of(own).manifest["metadata"]["labels"].clone();
    assert_eq!(labels(""), json!({ "a": "1", "b": "2" }));
    assert_eq!(labels("labels = { b = '3', c = '4' }"), json!({ "a": "1", "b": "3", "c": "4" }));
    assert_eq!(of("image = 'j'").image, "j");
    let own = |key: &str, own: &str| of(own).manifest["spec"]["containers"][0][key].clone();
    assert_eq!(own("envFrom", ""), json!([{ "secretRef": { "name": "x" } }]));
    assert_eq!(own("envFrom", "env_from = []"), Value::Null);
    assert_eq!(own("resources", ""), json!({ "requests": { "cpu": "1" } }));
    let limits = own("resources", "resources = { limits = { cpu = '2' } }");
    assert_eq!(limits, json!({ "limits": { "cpu": "2" } }));
    assert_eq!(own("resources", "resources = {}"), Value::Null);
}

#[test]
fn limits_of_the_template_are_those_of_its_container_unless_it_has_its_own() {
    let limits = |runner: &str, resources: &str| {
        container(&file(runner, &format!("{IMAGE}{resources}")))["resources"]["limits"].clone()
    };
    let both = "limits = { memory = '64MiB', cpu = 0.5 }";
    assert_eq!(limits(both, ""), json!({ "memory": "64Mi", "cpu": "500m" }));
    let own = "resources = { limits = { memory = '1Gi' } }";
    assert_eq!(limits(both, own), json!({ "memory": "1Gi", "cpu": "500m" }));
    assert_eq!(limits("limits.memory = 1048577", ""), json!({ "memory": "1048577" }));
    assert_eq!(limits("", ""), Value::Null);
}

#[test]
fn what_this_machine_can_enforce_is_no_matter_for_pods() {
    use crate::plan::{Enforceable, Limit};
    let missing = [(Limit::Memory, "no controller".to_owned())].into();
    let enforceable = Enforceable { missing, ..Enforceable::default() };
    let overrides = Overrides { enforceable, ..Overrides::default() };
    parse("test", &file("limits.memory = '64MiB'", IMAGE), &overrides).unwrap();
}

#[test]
fn what_is_raw_is_handed_on_as_it_is() {
    let pod = pod(&file(
        "",
        "[kubernetes]\nimage = 'i'\naffinity.nodeAffinity = { weight = 1 }\n\
         [kubernetes.pod]\nhostNetwork = true\nn = [0x10, 1.5, 's', [{}]]\n\
         [[kubernetes.tolerations]]\nkey = 'a'\n[[kubernetes.tolerations]]\nkey = 'b'\n",
    ));
    assert_eq!(pod.overrides, json!({ "hostNetwork": true, "n": [16, 1.5, "s", [{}]] }));
    let spec = &pod.manifest["spec"];
    assert_eq!(spec["affinity"], json!({ "nodeAffinity": { "weight": 1 } }));
    assert_eq!(spec["tolerations"], json!([{ "key": "a" }, { "key": "b" }]));
}

#[test]
fn every_template_needs_an_image() {
    let two = "[agents.a]\nmodule = 'm'\n[agents.b]\nmodule = 'm'\nkubernetes = { image = 'i' }";
    assert_eq!(
        brief(&file("", two)),
        [
            "4:9: `agents.a` has no image for its pods; write `image = \"registry.example/agents:1\"` \
          in `[kubernetes]` for all templates, or in `[agents.a.kubernetes]`"
        ]
    );
    let [implied] = &brief(&file("", ""))[..] else { panic!("not one mistake") };
    assert!(implied.starts_with("2:12: `agents.default` has no image"), "{implied}");
    good(&file("", "[agents]"));
}

#[test]
fn what_means_nothing_for_pods_is_refused() {
    for (runner, place, expected) in [
        ("limits = { pids = 7 }", "3:19", "podPidsLimit"),
        ("limits = { nofile = 64 }", "3:21", "ulimit -n"),
        ("sandbox = { read = ['/'] }", "3:1", "readOnlyRootFilesystem"),
        ("user = 'nobody'", "3:8", "`user = \"1000\"`"),
        ("group = 'nogroup'", "3:9", "`group = \"1000\"`"),
        ("group = '+1'", "3:9", "`group = \"1000\"`"),
        ("user = '2147483648'", "3:8", "securityContext"),
        ("launcher = 'uv-sync'", "3:12", "`launcher = [\"python\", \"-m\"]`"),
        ("containment = 'cgroup'", "3:15", "leave it out: a pod ends with all"),
        ("faulthandler = true", "3:16", "dump_traceback_later"),
    ] {
        let text = file(runner, IMAGE);
        let mistakes = brief(&text);
        let [mistake] = &mistakes[..] else { panic!("{runner}: {mistakes:?}") };
        assert!(mistake.starts_with(&format!("{place}: ")), "{mistake}");
        assert!(mistake.contains(expected), "{mistake}");
        assert!(rendered(&text).contains("agents are pods"), "{}", rendered(&text));
    }
    let cwd = |cwd: &str| file("", &format!("{IMAGE}[agents.a]\nmodule = 'm'\ncwd = '{cwd}'"));
    assert_eq!(good(&cwd("/srv")).rules.templates[0].cwd.as_os_str(), "/srv");
    for relative in ["srv/a", "./srv/a"] {
        let [mistake] = &brief(&cwd(relative))[..] else { panic!("{relative}: not one mistake") };
        assert!(mistake.starts_with("8:7: `agents.a.cwd` must be an absolute path"), "{mistake}");
        assert!(mistake.contains("write `cwd = \"/srv/a\"`"), "{mistake}");
    }
    let dumps = file(
        "faulthandler = false",
        &format!("{IMAGE}[agents.a]\nmodule = 'm'\nfaulthandler = true"),
    );
    let [mistake] = &brief(&dumps)[..] else { panic!("not one mistake") };
    assert!(
        mistake.starts_with("8:16: `agents.a.faulthandler` means nothing for pods"),
        "{mistake}"
    );
    let ids = container(&file("user = '1000'\ngroup = '0'\ncontainment = 'auto'", IMAGE));
    assert_eq!(ids["securityContext"]["runAsUser"], 1000);
    assert_eq!(ids["securityContext"]["runAsGroup"], 0);
}

#[test]
fn mistakes_about_pods_have_help() {
    for (wrong, expected) in [
        ("image = 'a b'", "write, for example, `image = "),
        ("image_pull_policy = 'always'", "write `image_pull_policy = \"Always\"`"),
        ("image_pull_secrets = 'a'", "write `image_pull_secrets = [\"a\"]`"),
        ("env_from = ['A_B']", "as `kubectl get` shows it"),
        ("service_account = 'a/b'", "as `kubectl get` shows it"),
        ("namespace = 'a.b'", "such as `namespace = \"agents\"`"),
        ("context = ''", "kubectl config get-contexts"),
        ("qps = -1", "such as `qps = 50`"),
        ("burst = 0", "such as `burst = 100`"),
        ("resources = { requests = { memory = '64MiB' } }", "`memory = \"64Mi\"`"),
        ("resources = { requests = { memory = '5 GB' } }", "`memory = \"5G\"`"),
        ("resources = { requests = { cpu = 'half' } }", "`cpu = \"500m\"`"),
        ("resources = { limits = { cpu = 1 } }", "write `\"1\"`, in quotes"),
        ("resources = { limits = { 'a b' = '1' } }", "kubectl describe node"),
        ("resources = { cpu = '1' }", "`cpu` belongs in `limits = { ... }`"),
        ("labels = { 'a b' = 'c' }", "after a domain and a `/`"),
        ("labels = { a = 'b/c' }", "with a letter or digit at both ends"),
        ("labels = { 'runner.dev/run' = '1' }", "by it the runner finds its pods"),
        ("annotations = { 'app.kubernetes.io/managed-by' = '1' }", "is the runner's own"),
        ("node_selector = ['a']", "must be a table of strings"),
        ("tolerations = { key = 'a' }", "write `tolerations = [{ ... }]`"),
        ("tolerations = ['a']", "write `tolerations = [{ ... }]`"),
        ("affinity = 'a'", "write `affinity = { ... }`"),
        ("pod = { metadata = {} }", "what stands below `spec`"),
        ("pod = { a = [2000-01-01] }", "write it in quotes: `\"2000-01-01\"`"),
        ("pod = { a = nan }", "write a finite number"),
        ("pod = { a = 9223372036854775808 }", "write a smaller number"),
        ("imagee = 'a'", "did you mean `image`?"),
    ] {
        let mistakes = brief(&format!("[kubernetes]\n{wrong}"));
        let [mistake] = &mistakes[..] else { panic!("{wrong}: {mistakes:?}") };
        assert!(mistake.starts_with("2:") && mistake.contains(expected), "{mistake}");
        if ["context", "namespace", "qps", "burst"].iter().any(|key| wrong.starts_with(key)) {
            continue;
        }
        let template = format!("[agents.a]\nmodule = 'm'\n[agents.a.kubernetes]\n{wrong}");
        assert_eq!(brief(&template).len(), 1, "{template}");
    }
    let [cluster] = &brief("[agents.a]\nmodule = 'm'\nkubernetes.context = 'c'")[..] else {
        panic!()
    };
    assert!(cluster.contains("`context` belongs in `[kubernetes]`"), "{cluster}");
    let deep =
        format!("[kubernetes]\npod = {}{}", "{ a = ".repeat(40), "{}".to_owned() + &"}".repeat(40));
    let [deep] = &brief(&deep)[..] else { panic!() };
    assert!(deep.contains("nested in more than 32 levels"), "{deep}");
}

#[test]
fn each_value_of_a_pod_has_an_origin() {
    let text = file(
        "",
        "[kubernetes]\nimage = 'i'\nlabels = { a = '1' }\nresources.limits.cpu = '1'\n\
         [agents.a]\nmodule = 'm'\nkubernetes.labels = { b = '2' }",
    );
    let (_, told) = explain("test", &text, &Overrides::default()).unwrap();
    let written = told.to_string();
    assert_eq!(good(&written), good(&text), "{written}");
    let origin = |path: &[&str], key: &str| {
        let table = told.tables.iter().find(|table| table.path == path).unwrap();
        let setting = table.settings.iter().find(|setting| setting.key == key).unwrap();
        format!("{} {:?}", setting.value, setting.origin)
    };
    let a = ["agents", "a", "kubernetes"];
    assert_eq!(origin(&a, "image"), "\"i\" File { line: 5, column: 9 }");
    assert_eq!(origin(&a, "labels"), "{ a = \"1\", b = \"2\" } File { line: 10, column: 21 }");
    let limits = origin(&["agents", "a", "kubernetes", "resources"], "limits");
    assert!(limits.starts_with("{ cpu = \"1\" } File { line: 7,"), "{limits}");
    assert_eq!(origin(&["kubernetes"], "qps"), "50.0 Default");
    // Where there are no pods, nothing of it holds.
    let text = text.replace("'kubernetes'", "'local'");
    let (_, told) = explain("test", &text, &Overrides::default()).unwrap();
    assert!(!told.to_string().contains("[kubernetes]"), "{told}");
}

fn running(config: &Config, text: &str) -> Result<Config, Mistakes> {
    let running = Some(config.executor.clone());
    parse("test", text, &Overrides { running, ..Overrides::default() })
}

#[test]
fn a_runner_that_runs_stays_with_its_executor_and_its_cluster() {
    let local = good("[runner]");
    let there = good(&file("", &format!("{IMAGE}context = 'c'")));
    let refused = |before: &Config, text: &str| running(before, text).unwrap_err().to_string();
    running(&local, "[runner]\nexecutor = 'local'\n[kubernetes]\ncontext = 'd'").unwrap();
    // The rest of it may change.
    running(&there, &file("", "[kubernetes]\nimage = 'j'\ncontext = 'c'\nqps = 1\nburst = 1"))
        .unwrap();

    assert_eq!(
        refused(&local, &file("", IMAGE)),
        "test:2:12: `runner.executor` cannot change while the runner runs: its agents are processes \
         of this machine, and nobody would look after them; write `executor = \"local\"`, or stop \
         the runner, and start it with this file"
    );
    let gone = refused(&there, "[jit]\n[runner]");
    assert!(gone.starts_with("test:2:2: `runner.executor` cannot change"), "{gone}");
    assert!(gone.contains("are pods of a cluster"), "{gone}");
    let other = refused(&there, &file("", &format!("{IMAGE}context = 'd'\nnamespace = 'n'")));
    let lines: Vec<_> = other.lines().collect();
    assert_eq!(lines.len(), 2, "{other}");
    assert!(lines[0].starts_with("test:6:11: `kubernetes.context` cannot change"), "{other}");
    assert!(lines[0].contains("write `context = \"c\"`"), "{other}");
    assert!(lines[1].starts_with("test:7:13: `kubernetes.namespace` cannot change"), "{other}");
    assert!(lines[1].contains("leave out `namespace`"), "{other}");
    // What is left out changes as well, and beside all other mistakes.
    let others = refused(&there, &file("max_agents = 0", IMAGE));
    assert_eq!(others.lines().count(), 2, "{others}");
    assert!(others.contains("test:4:2: `kubernetes.context` cannot change"), "{others}");
    // What is wrong already is not said to change.
    assert_eq!(running(&there, "[runner]\nexecutor = 'kubernete'").unwrap_err().len(), 1);
}

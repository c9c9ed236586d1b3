//! `runner export`: what it prints, word for word, and what it warns of or refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::{Settings, assert_snapshot};
use serde::Deserialize as _;
use serde_json::Value;
use serde_yaml_ng::Deserializer;
use tempfile::TempDir;

const FILE: &str = "# Foragers in a cluster.
[runner]
server = \"world.agents.svc:50052\"
tls = {}
executor = \"kubernetes\"

[kubernetes]
namespace = \"agents\"
image = \"registry.example/agents:1\"

[metrics]
listen = \"0.0.0.0:9464\"

[agents.default]
module = \"agents.forager\"
";

const LEAST: &str = "[runner]\nexecutor = 'kubernetes'\nserver = 'world:6443'\ninsecure = true\n\
                     [kubernetes]\nimage = 'i'\n";

fn with_file(name: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    dir
}

fn export(dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(["export", "kubernetes", "--image", "registry.example/runner:1"]);
    command.args(more).current_dir(dir).env_remove("RUST_LOG").output().unwrap()
}

/// What it prints of a file in which nothing is wrong.
fn printed(name: &str, text: &str, more: &[&str]) -> String {
    let dir = with_file(name, text);
    let output = export(dir.path(), &[&["--config", name], more].concat());
    assert_eq!(words(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    words(&output.stdout)
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn documents(stream: &str) -> Vec<Value> {
    let documents = Deserializer::from_str(stream);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn manifests() {
    let _bound = settings().bind_to_scope();
    assert_snapshot!("export", printed("foraging.toml", FILE, &[]));
    let least = printed("least.toml", LEAST, &["--replicas", "1"]);
    assert_snapshot!("export_least", least);
}

#[test]
fn as_json_it_is_a_list_of_the_same() {
    let list: Value = serde_json::from_str(&printed("a.toml", FILE, &["-o", "json"])).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    assert_eq!(list["items"], Value::Array(documents(&printed("a.toml", FILE, &[]))));
}

#[test]
fn the_file_is_in_it_byte_for_byte() {
    let tail = [
        "",
        "# no newline at the end",
        "# blanks at the end   \n\n\n",
        "# other\r\n# line ends\r\n",
        "#\ttabs\n# ---\n# \u{85}\u{2028}\u{feff} 日本 \u{1f41c}\n",
        "[agents.a]\nmodule = 'm'\nargs = ['''\n  - {a: \"b\"}\n...\n''']\n",
    ];
    for tail in tail {
        for text in [format!("{LEAST}{tail}"), format!("  \n{LEAST}{tail}")] {
            let printed = printed("least.toml", &text, &[]);
            let documents = documents(&printed);
            let data = &of_kind(&documents, "ConfigMap")["data"];
            assert_eq!(data, &serde_json::json!({ "least.toml": text }), "{printed}");
        }
    }
}

/// What a pod runs, as far as that can be had without one.
#[test]
fn a_runner_takes_what_a_pod_tells_it() {
    let dir = with_file("least.toml", LEAST);
    let documents = documents(&printed("least.toml", LEAST, &[]));
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let args = pod["containers"][0]["args"].as_array().unwrap();
    let args = args.iter().map(|it| it.as_str().unwrap());
    let here = args.map(|it| it.replace("/etc/runner/", "").replace("=/work/", "="));
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let output = command.args(here).arg("--check").current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
}

#[test]
fn a_namespace_is_said_once() {
    let runs_in = |text: &str, more: &[&str]| {
        let documents = documents(&printed("a.toml", text, more));
        let all = documents.iter().filter(|document| document["kind"] != "Namespace");
        let namespaces: Vec<_> = all.map(|it| it["metadata"]["namespace"].clone()).collect();
        assert!(namespaces.iter().all(|it| *it == namespaces[0]), "{namespaces:?}");
        let made = documents.iter().any(|it| it["kind"] == "Namespace");
        (namespaces[0].as_str().unwrap().to_owned(), made)
    };
    assert_eq!(runs_in(LEAST, &[]), ("default".to_owned(), false));
    assert_eq!(runs_in(LEAST, &["--namespace", "ants"]), ("ants".to_owned(), true));
    assert_eq!(runs_in(FILE, &[]), ("agents".to_owned(), true));
    assert_eq!(runs_in(FILE, &["--namespace", "agents"]), ("agents".to_owned(), true));
}

#[test]
fn what_would_not_work_in_a_pod_is_warned_of() {
    let files = "[runner]\nexecutor = 'kubernetes'\nserver = 'world:1'\n\
                 tls = { ca = '/pki/ca.pem', cert = 'cert.pem', key = 'key.pem' }\n\
                 token_file = '/pki/token'\n[kubernetes]\nimage = 'i'\n";
    let texts = [
        format!("[runner]\nexecutor = 'kubernetes'\n{}", &LEAST[LEAST.find("[kub").unwrap()..]),
        LEAST.replace("'world:6443'", "'[::1]:7'"),
        LEAST.replace("'world:6443'", "'embedded'").replace("insecure = true\n", ""),
        format!("{LEAST}[metrics]\nlisten = '127.0.0.1:9000'\n"),
        format!("{LEAST}[metrics]\nlisten = '0.0.0.0:0'\n"),
        format!("{LEAST}[hooks]\non_event = ['./page-somebody', 'now']\n"),
        files.to_owned(),
    ];
    let mut told = String::new();
    for text in texts {
        let dir = with_file("a.toml", &text);
        let output = export(dir.path(), &["-c", "a.toml"]);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
        told.push_str(&words(&output.stderr));
        // What nobody reaches is not promised.
        let documents = documents(&words(&output.stdout));
        assert!(documents.iter().all(|it| it["kind"] != "Service"), "{text}");
        assert!(!words(&output.stdout).contains("Probe"), "{text}");
    }
    let _bound = settings().bind_to_scope();
    assert_snapshot!("export_warnings", told);
}

#[test]
fn what_cannot_be_is_refused() {
    let context = LEAST.replace("image", "context = 'production'\nimage");
    let long = format!("{LEAST}# {}\n", "x".repeat(1 << 20));
    let cases: [(&str, &str, &[&str], &str); 7] = [
        ("a.toml", "[jit]\n", &[], "write `executor = \"kubernetes\"` in `[runner]`"),
        ("a.toml", &context, &[], "leave it out"),
        ("a b.toml", LEAST, &[], "a b.toml cannot be a key of a ConfigMap; rename it"),
        ("a.toml", &long, &[], "longer than a ConfigMap can be"),
        ("a.toml", FILE, &["--namespace", "ants"], "leave out --namespace, or `namespace`"),
        ("a.toml", LEAST, &["--namespace", "Ants"], "write up to 63 small letters"),
        ("a.toml", LEAST, &["--replicas", "0"], "0 is not in 1..="),
    ];
    for (name, text, more, expected) in cases {
        let dir = with_file(name, text);
        let output = export(dir.path(), &[&["-c", name], more].concat());
        let told = words(&output.stderr);
        assert!(told.starts_with("error: ") && told.contains(expected), "{expected}: {told}");
        assert_eq!((output.status.code(), words(&output.stdout)), (Some(2), String::new()));
    }
}

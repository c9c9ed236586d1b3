//! `configs/runner.schema.json`: it says what the parser says, as far as a schema can.

use std::collections::BTreeSet;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::*;
use crate::config::keys::Table;
use crate::config::mistakes::Lines;
use crate::config::{Origin, SCHEMA, explain};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Where the schema has this table.
fn pointer(table: Table) -> &'static str {
    match table {
        Table::Root => "",
        Table::Runner => "/$defs/runner",
        Table::Template => "/$defs/template",
        Table::Tls => "/$defs/tls",
        Table::Match => "/$defs/match",
        Table::Limits => "/$defs/limits",
        Table::Sandbox => "/$defs/sandbox",
        Table::Rollout => "/$defs/rollout",
        Table::Kubernetes => "/$defs/kubernetes",
        Table::Pod => "/$defs/pod",
        Table::Resources => "/$defs/resources",
        Table::Jit => "/$defs/jit",
        Table::Health => "/$defs/health",
        Table::Discovery => "/$defs/discovery",
        Table::Logs => "/$defs/logs",
        Table::Events => "/$defs/events",
        Table::Metrics => "/$defs/metrics",
        Table::Hooks => "/$defs/hooks",
        Table::Spawn => "/$defs/spawn",
        Table::World => "/$defs/world",
        Table::Entity => "/$defs/entity",
        Table::Object => "/$defs/object",
    }
}

/// The document as JSON. What is not within 64 bits is a fraction there.
fn as_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(
                |_| json!(integer.as_str().parse::<f64>().unwrap()),
                |number| json!(number),
            ),
        DeValue::Float(float) => json!(float.as_str().parse::<f64>().unwrap()),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Array(list) => list.iter().map(|it| as_json(it.get_ref())).collect(),
        DeValue::Table(table) => table_as_json(table),
    }
}

fn table_as_json(table: &DeTable<'_>) -> Value {
    let pairs = table.iter().map(|(key, it)| (key.get_ref().to_string(), as_json(it.get_ref())));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn read_as_json(text: &str) -> Value {
    let (document, _) = DeTable::parse_recoverable(text);
    table_as_json(document.get_ref())
}

#[test]
fn it_has_the_tables_and_keys_of_the_parser_and_no_others() {
    let schema = schema();
    let mut tables = 0;
    for table in Table::ALL {
        let described = schema.pointer(pointer(table)).unwrap();
        let properties = described["properties"].as_object().unwrap();
        let keys: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = table.keys().iter().copied().collect();
        assert_eq!(keys, known, "{}", table.header());
        assert_eq!(described["additionalProperties"], false, "{}", table.header());
        for (key, value) in properties {
            // A table is described where it is defined: editors look for it there.
            let value = match value["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
                Some(pointer) => schema.pointer(pointer).unwrap(),
                None => value,
            };
            let words = value["description"].as_str().unwrap_or_default();
            assert!(words.ends_with('.'), "{key} of {} has no description", table.header());
        }
        tables += 1;
    }
    let definitions = schema["$defs"].as_object().unwrap();
    let described = definitions.values().filter(|it| it.get("properties").is_some()).count() + 1;
    assert_eq!(described, tables, "a definition that is no table of the parser");
}

#[test]
fn it_has_the_defaults_of_the_parser() {
    let schema = schema();
    // One of each table, with only what must be there.
    let text = "[runner]\nserver = 'embedded'\n[runner.limits]\n[agents.default]\nmodule = 'm'\n\
                match = {}\n[hooks]\non_event = ['x']\n[[entities]]\nid = 'a'\n[[objects]]\nid = 'a'";
    let (_, here) = explain("test", text, &Overrides::default()).unwrap();
    let text = "[runner]\nexecutor = 'kubernetes'\n[kubernetes]\n[agents.default]\nmodule = 'm'\n\
                kubernetes = { image = 'i' }";
    let (_, in_cluster) = explain("test", text, &Overrides::default()).unwrap();
    let default = |table: Table, key: &str| {
        let path: Vec<&str> = match table {
            Table::Root => return None,
            Table::Runner => vec!["runner"],
            Table::Template => vec!["agents", "default"],
            Table::Tls => vec!["runner", "tls"],
            Table::Match => vec!["agents", "default", "match"],
            Table::Limits => vec!["runner", "limits"],
            Table::Sandbox => vec!["runner", "sandbox"],
            Table::Rollout => vec!["runner", "rollout"],
            Table::Kubernetes => vec!["kubernetes"],
            Table::Pod => vec!["agents", "default", "kubernetes"],
            Table::Resources => vec!["kubernetes", "resources"],
            Table::Jit => vec!["jit"],
            Table::Health => vec!["health"],
            Table::Discovery => vec!["discovery"],
            Table::Logs => vec!["logs"],
            Table::Events => vec!["events"],
            Table::Metrics => vec!["metrics"],
            Table::Hooks => vec!["hooks"],
            Table::Spawn => vec!["spawn"],
            Table::World => vec!["world"],
            Table::Entity => vec!["entities"],
            Table::Object => vec!["objects"],
        };
        // As many as suits the machine, or as `[runner]` has it.
        let taken_over = table == Table::Template && Table::Runner.keys().contains(&key);
        if table == Table::Spawn || taken_over {
            return None;
        }
        let of_pods = [Table::Kubernetes, Table::Pod, Table::Resources].contains(&table);
        let effective = if of_pods { &in_cluster } else { &here };
        let table = effective.tables.iter().find(|table| table.path == path)?;
        let setting = table.settings.iter().find(|setting| setting.key == key)?;
        (setting.origin == Origin::Default).then(|| serde_json::to_value(&setting.value).unwrap())
    };
    for table in Table::ALL {
        for key in table.keys().iter().filter(|key| **key != "server") {
            let place = format!("{}/properties/{key}/default", pointer(table));
            assert_eq!(schema.pointer(&place), default(table, key).as_ref(), "{place}");
        }
    }
    let (_, effective) = explain("test", "[runner]", &Overrides::default()).unwrap();
    let server = &effective.tables[0].settings[0];
    assert_eq!(
        server.value.as_str(),
        schema["$defs"]["runner"]["properties"]["server"]["default"].as_str()
    );
}

#[test]
fn it_accepts_every_file_that_comes_with_the_program() {
    let validator = validator();
    let mut files = files_of_ours();
    for text in [EVERYTHING, CLUSTER, TODAY, "[runner]", "[agents]"] {
        files.push((text.to_owned(), text.to_owned()));
    }
    for (name, text) in files {
        let wrong: Vec<_> =
            validator.iter_errors(&read_as_json(&text)).map(|it| it.to_string()).collect();
        assert_eq!(wrong, [""; 0], "{name}");
    }
}

/// The line of what is wrong, from 1.
fn line_of(text: &str, path: &[String]) -> usize {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut table = Some(document.get_ref());
    let mut list: Option<&toml::de::DeArray<'_>> = None;
    let mut at = 0;
    for step in path {
        let value = if let Some(items) = list.take() {
            let item = &items[step.parse::<usize>().unwrap()];
            at = item.span().start;
            item
        } else {
            let (key, value) = table.unwrap().get_key_value(step.as_str()).unwrap();
            at = key.span().start;
            value
        };
        table = value.get_ref().as_table();
        list = value.get_ref().as_array();
        let of_value = table.is_none() && list.is_none_or(|it| it.is_empty());
        at = if of_value { value.span().start } else { at };
    }
    Lines::of(text).place(at).0
}

#[test]
fn it_refuses_what_the_parser_refuses_but_for_what_a_schema_cannot_say() {
    let text = include_str!("wrong.toml");
    let document = read_as_json(text);
    let mut seen = BTreeSet::new();
    for error in validator().iter_errors(&document) {
        let path = error.instance_path().as_str();
        let path: Vec<_> =
            path.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~")).collect();
        // What is said of a table is about some of its keys.
        let exclusive = ["command".to_owned()];
        let kind = error.kind();
        let keys: &[String] = if let ValidationErrorKind::AdditionalProperties { unexpected } = kind
        {
            unexpected
        } else if let ValidationErrorKind::OneOfMultipleValid { .. } = kind
            && error.instance().is_object()
        {
            &exclusive
        } else {
            &[]
        };
        for key in keys {
            let path: Vec<_> = path.iter().chain([key]).cloned().collect();
            seen.insert(line_of(text, &path));
        }
        if keys.is_empty() {
            seen.insert(line_of(text, &path));
        }
    }
    let mistakes = read(text).unwrap_err();
    let places = mistakes.places();
    let known: BTreeSet<_> = places.iter().map(|place| place.line).collect();
    let invented: Vec<_> = seen.difference(&known).collect();
    assert!(invented.is_empty(), "lines {invented:?} are right");
    let unsaid = places.iter().filter(|place| !seen.contains(&place.line));
    let unsaid: Vec<_> = unsaid.map(|place| format!("{}: {}", place.line, place.message)).collect();
    insta::assert_snapshot!(unsaid.join("\n"));
}

/// Values that are right for some keys and wrong for others.
const VALUES: &[&str] = &[
    "true",
    "-1",
    "0",
    "1",
    "15",
    "16",
    "512",
    "513",
    "1048575",
    "1048576",
    "4194304",
    "4194305",
    "1000000",
    "1000001",
    "2147483646",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "0.0",
    "0.005",
    "0.01",
    "0.5",
    "1.0",
    "1.5",
    "4096.0",
    "4096.5",
    "2000-01-01",
    "''",
    "'x'",
    "'.x'",
    "'a/b'",
    "'a.b'",
    "'a.py'",
    "'-a'",
    "'é_1'",
    "\"\\u0000\"",
    "\"\\u0007\"",
    "'embedded'",
    "'localhost'",
    "'localhost:0'",
    "'localhost:65535'",
    "'localhost:65536'",
    "'[::1]:80'",
    "'http://a:80'",
    "'uv-sync'",
    "'10MiB'",
    "'10MB'",
    "'10'",
    "' 1 KiB '",
    "'1.5MiB'",
    "'0%'",
    "'1%'",
    "'100%'",
    "'101%'",
    "'25 %'",
    "'127.0.0.1:0'",
    "'127.0.0.1:99999'",
    "'127.0.0.256:80'",
    "'0.0.0.0:80'",
    "'on-failure'",
    "'always'",
    "'never'",
    "'stop'",
    "'leave'",
    "'auto'",
    "'cgroup'",
    "'pid-namespace'",
    "'process-group'",
    "'local'",
    "'kubernetes'",
    "'IfNotPresent'",
    "'a b'",
    "'A.b'",
    "'a-'",
    "'strict'",
    "'best-effort'",
    "'default'",
    "[]",
    "['']",
    "['a']",
    "['a', 'b']",
    "[1]",
    "['a', 1]",
    "['{runner}']",
    "['{entity_id}']",
    "['a', '{entity_id}']",
    "['*']",
    "['A*']",
    "['*A']",
    "['A=B']",
    "['A.b']",
    "[[]]",
    "[{}]",
    "{}",
    "{ a = 'b' }",
    "{ a = 1 }",
    "{ 'A=B' = 'c' }",
    "{ '' = 'c' }",
    "{ types = ['a'] }",
    "{ types = [] }",
    "{ memory = '1MiB' }",
    "{ pids = 0 }",
    "{ read = ['/usr', '.'] }",
    "{ read = [] }",
    "{ write = ['~/x'] }",
    "['~']",
    "['a~{entity_id}']",
    "{ 'a/b' = 'c' }",
    "{ 'a/b/c' = 'c' }",
    "{ 'A/b' = 'c' }",
    "{ '-a' = 'c' }",
    "{ a = 'c d' }",
    "{ a = '-' }",
    "{ a = '' }",
    "{ a = '1' }",
    "{ a = '100m' }",
    "{ a = '1.5Gi' }",
    "{ a = '1e3' }",
    "{ a = '.5' }",
    "{ a = '+5.' }",
    "{ a = '.' }",
    "{ a = '-1' }",
    "{ a = '64MiB' }",
    "{ a = '1K' }",
    "{ a = '1e' }",
    "{ 'runner.dev/run' = '1' }",
    "{ 'app.kubernetes.io/managed-by' = '1' }",
    "{ spec = {} }",
    "{ requests = { cpu = '1' } }",
    "{ limits = { cpu = 1 } }",
    "{ image = 'a:1' }",
    "{ image = '' }",
    "[{ a = [1, { b = 1.5 }] }]",
    "{ max_unavailable = 0 }",
    "{ max_unavailable = '25%' }",
];

/// A file that is right, but for this key of this table, if that is wrong.
fn with(table: Table, key: &str, value: &str) -> String {
    let line = format!("{key} = {value}");
    let demo = "[runner]\nserver = 'embedded'\n[world]\nwidth = 2147483647\nheight = 2147483647\n";
    match table {
        Table::Root => line,
        Table::Runner => format!("[runner]\n{line}"),
        Table::Template if ["module", "command"].contains(&key) => {
            format!("[agents.default]\n{line}")
        }
        Table::Template => format!("[agents.default]\nmodule = 'm'\n{line}"),
        Table::Tls => format!("[runner.tls]\n{line}"),
        Table::Match => format!("[agents.default]\nmodule = 'm'\n[agents.default.match]\n{line}"),
        Table::Limits => format!("[runner.limits]\n{line}"),
        Table::Sandbox => format!("[runner.sandbox]\n{line}"),
        Table::Rollout => format!("[runner.rollout]\n{line}"),
        Table::Kubernetes => format!("[kubernetes]\n{line}"),
        Table::Pod => {
            format!("[agents.default]\nmodule = 'm'\n[agents.default.kubernetes]\n{line}")
        }
        Table::Resources => format!("[kubernetes.resources]\n{line}"),
        Table::Jit => format!("[jit]\n{line}"),
        Table::Health => format!("[health]\n{line}"),
        Table::Discovery => format!("[discovery]\n{line}"),
        Table::Logs => format!("[logs]\n{line}"),
        Table::Events => format!("[events]\n{line}"),
        Table::Metrics => format!("[metrics]\n{line}"),
        Table::Hooks if key == "on_event" => format!("[hooks]\n{line}"),
        Table::Hooks => format!("[hooks]\non_event = ['x']\n{line}"),
        Table::Spawn => format!("[spawn]\n{line}"),
        Table::World => format!("[world]\n{line}"),
        Table::Entity if key == "id" => format!("{demo}[[entities]]\n{line}"),
        Table::Entity => format!("{demo}[[entities]]\nid = 'a'\n{line}"),
        Table::Object if key == "id" => format!("{demo}[[objects]]\n{line}"),
        Table::Object => format!("{demo}[[objects]]\nid = 'a'\n{line}"),
    }
}

#[test]
fn each_value_of_each_key_is_judged_as_by_the_parser() {
    let validator = validator();
    for table in Table::ALL {
        // Who may be named depends on who runs this, and on where.
        for key in table.keys().iter().filter(|key| !["user", "group"].contains(key)) {
            for value in VALUES {
                let text = with(table, key, value);
                let (by_parser, by_schema) =
                    (read(&text).is_ok(), validator.is_valid(&read_as_json(&text)));
                let unsaid = !by_parser && by_schema && cannot_be_said((table, key), value);
                assert!(by_parser == by_schema || unsaid, "{text}\nby the parser: {by_parser}");
            }
        }
    }
}

/// What `design/api.md` says that a schema cannot say.
fn cannot_be_said((table, key): (Table, &str), value: &str) -> bool {
    let fraction_or_date = value.ends_with(".0") || value.starts_with("2000-");
    let no_such_kind = (table, key) == (Table::Hooks, "kinds");
    let by_other_keys = ["initial_backoff_ms", "max_backoff_ms"].contains(&key)
        || (table, key) == (Table::Jit, "template");
    let amount_in_words = (table, key) == (Table::Limits, "memory") && value.starts_with('\'');
    let of_a_file = table == Table::Tls || (table, key) == (Table::Runner, "token_file");
    let not_here = (table, key, value) == (Table::Runner, "server", "'0.0.0.0:80'");
    let no_image = (table, key, value) == (Table::Runner, "executor", "'kubernetes'");
    no_image
        || of_a_file
        || not_here
        || fraction_or_date
        || no_such_kind
        || by_other_keys
        || amount_in_words
}

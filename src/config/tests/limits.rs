//! How much of the machine agents may take, and what is refused where nothing would hold them to
//! it.

use std::collections::BTreeMap;

use super::*;
use crate::plan::{Enforceable, Limit, Limits};

const ALL: &str = "limits = { memory = '64MiB', cpu = 0.25, pids = 7, nofile = 64 }";

fn limits(text: &str) -> Vec<Limits> {
    let templates = good(text).rules.templates;
    templates.iter().map(|template| template.confinement.limits).collect()
}

#[test]
fn a_templates_limits_stand_in_place_of_the_runners() {
    let all = Limits { memory: Some(64 << 20), cpu: Some(250), pids: Some(7), nofile: Some(64) };
    assert_eq!(limits(&format!("[runner]\n{ALL}")), [all]);
    let file = |template: &str| format!("[runner]\n{ALL}\n[agents.a]\nmodule = 'm'\n{template}");
    assert_eq!(limits(&file("")), [all]);
    let pids = Limits { pids: Some(9), ..Limits::default() };
    assert_eq!(limits(&file("limits = { pids = 9 }")), [pids]);
    assert_eq!(limits(&file("limits = {}")), [Limits::default()]);
    assert_eq!(limits("[agents.a]\nmodule = 'm'\n[agents.a.limits]\npids = 9"), [pids]);
}

#[test]
fn amounts() {
    let one = |text: &str| limits(&format!("[runner]\nlimits = {{ {text} }}"))[0];
    assert_eq!(one("memory = '1GiB'").memory, Some(1 << 30));
    assert_eq!(one("memory = 67108864").memory, Some(64 << 20));
    assert_eq!(one("cpu = 2").cpu, Some(2000));
    assert_eq!(one("cpu = 0.015").cpu, Some(15));
    for (wrong, help) in [
        ("memory = '64MB'", "write `memory = \"64MiB\"`"),
        ("memory = 512", "write it with a unit, such as `memory = \"512MiB\"`"),
        ("memory = 0", "write it with a unit, such as `memory = \"512MiB\"`"),
        ("cpu = 0", "write how many processors it may use, such as `cpu = 0.5`"),
        ("cpu = '50%'", "write `cpu = 0.5`"),
        ("pids = 0", "write a whole number from 1 to 4194304, such as `pids = 64`"),
        ("nofile = 3", "write a whole number from 16, such as `nofile = 1024`"),
        ("files = 3", "known in limits = { ... } are `memory`, `cpu`, `pids`, `nofile`"),
        ("nofiles = 64", "did you mean `nofile`?"),
    ] {
        let mistakes = brief(&format!("[runner]\nlimits = {{ {wrong} }}"));
        let [mistake] = &mistakes[..] else { panic!("{wrong}: {mistakes:?}") };
        assert!(mistake.ends_with(help), "{mistake}");
    }
    assert_eq!(brief("[runner]\nlimits = '64MiB'").len(), 1);
    assert_eq!(brief("[runner]\nlimits_mode = 'loose'").len(), 1);
}

#[test]
fn what_cannot_be_enforced_is_refused_unless_the_file_says_otherwise() {
    let missing = BTreeMap::from([(Limit::Memory, "no controller".to_owned())]);
    let enforceable = Enforceable { missing, most_files: 100, no_sandbox: None };
    let overrides = Overrides { enforceable, ..Overrides::default() };
    let read = |text: &str| parse("test", text, &overrides);
    read("[runner]\nlimits = { cpu = 1, pids = 3, nofile = 100 }").unwrap();

    let template = format!("[agents.a]\nmodule = 'm'\n{ALL}\n");
    assert_eq!(
        read(&template).unwrap_err().to_string(),
        "test:3:21: `agents.a.limits.memory` cannot be enforced here: no controller; leave out \
         `memory`, or write `limits_mode = \"best-effort\"` in `[runner]` to run agents all the same"
    );
    // What nobody takes over is wrong all the same, and what is wrong twice is said twice.
    let both = format!("[runner]\n{ALL}\n{template}");
    assert_eq!(read(&both).unwrap_err().len(), 2);
    let willing = read(&format!("[runner]\nlimits_mode = 'best-effort'\n{template}")).unwrap();
    // They are part of what the agents are, so that another machine can hold them to it.
    assert_eq!(willing.rules.templates[0].confinement.limits.memory, Some(64 << 20));

    // This is no matter of controllers.
    let files = read("[runner]\nlimits_mode = 'best-effort'\nlimits = { nofile = 101 }");
    assert_eq!(
        files.unwrap_err().to_string(),
        "test:3:21: `runner.limits.nofile` is more than the runner may allow; write \
         `nofile = 100` or less"
    );
}

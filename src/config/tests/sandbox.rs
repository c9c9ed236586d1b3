//! Which files agents may use, and where that is refused.

use super::*;
use crate::plan::{Enforceable, Sandbox};

fn sandboxes(text: &str) -> Vec<Option<Sandbox>> {
    let templates = good(text).rules.templates;
    templates.iter().map(|template| template.confinement.sandbox.clone()).collect()
}

fn sandbox(read: &[&str], write: &[&str]) -> Sandbox {
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    Sandbox { read: owned(read), write: owned(write) }
}

#[test]
fn a_templates_sandbox_stands_in_place_of_the_runners() {
    let file = |own: &str| {
        format!(
            "[runner]\nsandbox = {{ read = ['/usr'], write = ['w'] }}\n[agents.a]\nmodule = 'm'\n{own}"
        )
    };
    assert_eq!(sandboxes(&file("")), [Some(sandbox(&["/usr"], &["w"]))]);
    // None of the runner's paths is let in by it.
    assert_eq!(sandboxes(&file("sandbox = { read = ['.'] }")), [Some(sandbox(&["."], &[]))]);
    assert_eq!(sandboxes("[agents.a]\nmodule = 'm'"), [None]);
    let own = "[agents.a]\nmodule = 'm'\n[agents.a.sandbox]\nwrite = ['{entity_id}']";
    assert_eq!(sandboxes(own), [Some(sandbox(&[], &["{entity_id}"]))]);
}

#[test]
fn mistakes_about_a_sandbox_have_help() {
    for (wrong, expected) in [
        ("sandbox = {}", "names no path, so no program could be run"),
        ("sandbox = { read = [] }", "names no path"),
        ("sandbox = { read = '/usr' }", "write `read = [\"/usr\"]`"),
        ("sandbox = { read = [''] }", "write `\".\"` for the working directory"),
        ("sandbox = { write = ['~/x'] }", "which only a shell fills in"),
        ("sandbox = { write = ['{server}'] }", "the only one here is `{entity_id}`"),
        ("sandbox = { writes = ['x'], read = ['.'] }", "did you mean `write`?"),
        ("sandbox = ['/usr']", "must be a table"),
        ("sandbox = { read = ['/'] }\nno_new_privs = false", "what gains privileges"),
    ] {
        let text = format!("[runner]\n{wrong}");
        let mistakes = brief(&text);
        let [_] = &mistakes[..] else { panic!("{wrong}: {mistakes:?}") };
        assert!(rendered(&text).contains(expected), "{}", rendered(&text));
    }
    // Wherever the two come together.
    for (runner, template) in [
        ("sandbox = { read = ['/'] }", "no_new_privs = false"),
        ("no_new_privs = false", "sandbox = { read = ['/'] }"),
    ] {
        let text = format!("[runner]\n{runner}\n[agents.a]\nmodule = 'm'\n{template}");
        assert_eq!(brief(&text).len(), 1, "{text}");
    }
}

#[test]
fn a_sandbox_that_nothing_enforces_is_refused_unless_the_file_says_otherwise() {
    let no_sandbox = Some("no Landlock".to_owned());
    let enforceable = Enforceable { no_sandbox, ..Enforceable::default() };
    let overrides = Overrides { enforceable, ..Overrides::default() };
    let read = |text: &str| parse("test", text, &overrides);
    let own = "sandbox = { read = ['/usr'] }";
    let template = format!("[agents.a]\nmodule = 'm'\n{own}");
    assert_eq!(
        read(&template).unwrap_err().to_string(),
        "test:3:1: `agents.a.sandbox` cannot be enforced here: no Landlock; leave it out, or write \
         `limits_mode = \"best-effort\"` in `[runner]` to run agents all the same"
    );
    read(&format!("[runner]\nlimits_mode = 'best-effort'\n{template}")).unwrap();
    read("[runner]").unwrap();
}

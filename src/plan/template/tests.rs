use std::collections::{BTreeMap, BTreeSet};

use super::super::fixture::{entity, rules, site, synced, template};
use super::super::*;

fn command(argv: &[&str]) -> Template {
    let argv = argv.iter().map(|&element| element.to_owned()).collect();
    Template { launch: Launch::Command(argv), ..template("default") }
}

fn matcher(types: &[&str], tags: &[&str]) -> Matcher {
    let set = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<BTreeSet<_>>();
    Matcher { types: set(types), tags: set(tags) }
}

#[test]
fn a_module_runs_by_its_launcher_with_server_entity_and_args() {
    let mut template = template("default");
    template.args = vec!["--eat-probability".to_owned(), "0.1".to_owned()];
    let spec = AgentSpec::resolve(&template, &entity("alice"), &site());
    assert_eq!(
        spec.argv.join(" "),
        "uv run python -m agents.random_agent --server world:50051 --entity alice \
         --eat-probability 0.1"
    );
}

#[test]
fn a_module_of_a_synced_project_runs_by_the_python_of_its_directory() {
    let mut template = synced("/srv/agents");
    template.args = vec!["--verbose".to_owned()];
    let spec = AgentSpec::resolve(&template, &entity("alice"), &site());
    assert_eq!(
        spec.argv.join(" "),
        "/srv/agents/.venv/bin/python -m agents.random_agent --server world:50051 --entity alice \
         --verbose"
    );
    assert_eq!(spec.env.get("VIRTUAL_ENV").unwrap(), "/srv/agents/.venv");
    template.env.insert("VIRTUAL_ENV".to_owned(), "/mine".to_owned());
    let spec = AgentSpec::resolve(&template, &entity("alice"), &site());
    assert_eq!(spec.env.get("VIRTUAL_ENV").unwrap(), "/mine");
}

#[test]
fn only_modules_with_that_launcher_have_projects_each_named_once() {
    let list = template("default");
    let rules = rules(vec![list, synced("/a"), synced("/b"), synced("/a"), command(&["x"])]);
    assert_eq!(rules.projects(), ["/a", "/b"].map(std::path::PathBuf::from).into());
}

#[test]
fn an_id_with_a_leading_dash_is_tied_to_its_flag() {
    let spec = AgentSpec::resolve(&template("default"), &entity("-rf"), &site());
    assert!(spec.argv.contains(&"--entity=-rf".to_owned()), "{:?}", spec.argv);
}

#[test]
fn placeholders_are_filled_in_everywhere_but_the_program_takes_only_runner() {
    let template = command(&[
        "{runner}",
        "agent",
        "{entity_id}@{server}",
        "{entity_type}",
        "{unknown} {entity_id",
        "{{entity_id}}",
    ]);
    let mut alice = entity("{server}");
    alice.kind = "forager".into();
    let spec = AgentSpec::resolve(&template, &alice, &site());
    assert_eq!(
        spec.argv,
        [
            "/bin/runner",
            "agent",
            "{server}@world:50051",
            "forager",
            "{unknown} {entity_id",
            "{{server}}",
        ]
    );
    let program = command(&["{entity_id}/{runner}"]);
    let spec = AgentSpec::resolve(&program, &entity("evil"), &site());
    assert_eq!(spec.argv, ["{entity_id}//bin/runner"]);
}

#[test]
fn every_agent_gets_the_runners_variables_and_its_templates() {
    let mut template = template("default");
    template.env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let env = AgentSpec::resolve(&template, &entity("alice"), &site()).env;
    let expected = [
        ("A", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("RUNNER_ENTITY_ID", "alice"),
        ("RUNNER_ENTITY_TYPE", "forager"),
        ("RUNNER_SERVER", "world:50051"),
    ];
    assert_eq!(
        env,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
    );

    template.env.insert("PYTHONUNBUFFERED".to_owned(), String::new());
    template.env.insert("RUNNER_ENTITY_ID".to_owned(), "bob".to_owned());
    let env = AgentSpec::resolve(&template, &entity("alice"), &site()).env;
    assert_eq!(env.get("PYTHONUNBUFFERED").unwrap(), "");
    assert_eq!(env.get("RUNNER_ENTITY_ID").unwrap(), "alice");
}

#[test]
fn templates_are_chosen_by_name_then_match_then_default_or_jit() {
    let with = |name: &str, matcher| Template { matcher, ..template(name) };
    let rules = Rules {
        jit: Jit { enabled: true, template: "late".to_owned() },
        ..rules(vec![
            with("default", None),
            with("late", None),
            with("hungry", Some(matcher(&["forager"], &["hungry"]))),
            with("any_forager", Some(matcher(&["forager", "gatherer"], &[]))),
            with("alice", None),
        ])
    };
    let choose = |entity: &Entity, arrival| {
        rules.choose(entity, arrival).map(|(template, by)| (template.name.clone(), by)).unwrap()
    };
    let mut hungry = entity("h");
    hungry.tags = vec!["hungry".to_owned(), "red".to_owned()];
    let mut hungry_alice = hungry.clone();
    hungry_alice.id = EntityId::new("alice").unwrap();
    let wolf = Entity::new("w", "wolf").unwrap();

    let chosen = |name: &str, by| (name.to_owned(), by);
    assert_eq!(choose(&hungry_alice, Arrival::Late), chosen("alice", ChosenBy::Name));
    assert_eq!(choose(&hungry, Arrival::Late), chosen("hungry", ChosenBy::Match));
    assert_eq!(choose(&entity("f"), Arrival::First), chosen("any_forager", ChosenBy::Match));
    assert_eq!(choose(&wolf, Arrival::First), chosen("default", ChosenBy::Default));
    assert_eq!(choose(&wolf, Arrival::Late), chosen("late", ChosenBy::Jit));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test reads the room from outside")]
fn the_room_imports_nothing_that_could_have_an_effect() {
    let room = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan");
    let mut folders = vec![std::path::PathBuf::from(room)];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "tests.rs" {
                read += 1;
                assert_pure(&path);
            }
        }
    }
    assert!(read > 10, "only {read} files read");
}

#[expect(clippy::disallowed_methods, reason = "this test reads the room from outside")]
fn assert_pure(path: &std::path::Path) {
    let allowed = [
        "super",
        "self",
        "std",
        "itertools",
        "litemap",
        "thiserror",
        "proptest",
        "serde",
        "serde_json",
    ];
    let allowed_of_std = [
        "borrow",
        "cmp",
        "collections",
        "fmt",
        "iter",
        "mem",
        "ops",
        "path",
        "ptr",
        "sync",
        "time::Duration",
    ];
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let Some((_, import)) = line.trim().split_once("use ") else { continue };
        if !line.trim_start().starts_with("use ") && !line.trim_start().starts_with("pub use ") {
            continue;
        }
        let mut parts = import.trim_end_matches(';').splitn(2, "::");
        let (root, rest) = (parts.next().unwrap(), parts.next().unwrap_or(""));
        let local = path.parent().unwrap().join(format!("{root}.rs")).exists();
        assert!(allowed.contains(&root) || local, "{}: {line}", path.display());
        if root == "std" {
            let pure = allowed_of_std.iter().any(|module| rest.starts_with(module));
            assert!(pure, "{}: {line}", path.display());
        }
    }
}

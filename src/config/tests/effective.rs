//! What holds, and where it comes from.

use super::*;
use crate::config::{Effective, OnExit, Origin, ServerName, explain};

fn explained(text: &str, overrides: &Overrides) -> Effective {
    explain("configs/test.toml", text, overrides).unwrap_or_else(|wrong| panic!("{wrong}")).1
}

/// Each key of a table with its value and its origin.
fn origins(effective: &Effective, table: &str) -> Vec<String> {
    let path: Vec<_> = table.split('.').collect();
    let table = effective.tables.iter().find(|table| table.path == path).unwrap();
    let told = table.settings.iter().map(|setting| {
        let origin = match setting.origin {
            Origin::File { line, column } => format!("{line}:{column}"),
            Origin::Default => "default".to_owned(),
            Origin::AutoDiscover => "auto_discover".to_owned(),
            Origin::CommandLine => "command line".to_owned(),
        };
        format!("{} = {} # {origin}", setting.key, setting.value)
    });
    told.collect()
}

#[test]
fn as_a_file_it_means_the_same() {
    let mut texts = files_of_ours();
    for text in [
        EVERYTHING,
        CLUSTER,
        TODAY,
        "[runner]",
        "[agents]",
        "[runner]\nlimits = { memory = '64MiB', cpu = 0.015 }\n[agents.a]\nmodule = 'm'\n\
         [agents.b]\nmodule = 'm'\nlimits = {}\n[agents.c]\nmodule = 'm'\nlimits = { pids = 3 }",
        "[runner]\nagents_dir = 'python'\n[agents.\"a b\"]\nmodule = 'm'\ncwd = 'x'\n\
         env = { \"\\u0001\" = \"\\na'\" }\n[agents.z]\nmodule = 'm'\nmatch = {}",
        "[runner]\nlauncher = 'uv-sync'\nenv_inherit = []\nrestart = 'never'\n[logs]\nkeep = 0x10",
    ] {
        texts.push((text.to_owned(), text.to_owned()));
    }
    for (name, text) in texts {
        let told = explained(&text, &Overrides::default());
        let written = told.to_string();
        assert_eq!(good(&written), good(&text), "{name}:\n{written}");
        // Nothing is left to defaults.
        let again = explained(&written, &Overrides::default());
        let values = |told: &Effective| {
            let tables = told.tables.iter().map(|table| {
                let settings = table.settings.iter().map(|it| (it.key, it.value.clone()));
                (table.path.clone(), settings.collect::<Vec<_>>())
            });
            tables.collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&told), "{name}");
        let settings = again.tables.iter().flat_map(|table| &table.settings);
        let missing = settings.filter(|it| !matches!(it.origin, Origin::File { .. }));
        assert_eq!(missing.count(), 0, "{name}:\n{written}");
    }
}

#[test]
fn users_and_groups_are_taken_over_together() {
    // Whom the runner may run agents as depends on who runs it; itself it always may.
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let user = format!("user = '{}'", user.as_raw());
    let group = format!("group = '{}'", group.as_raw());
    let both = format!("{user}\n{group}");
    for runner in ["", &user, &group, &both] {
        for template in ["", &user, &group, &both] {
            let text = format!("[runner]\n{runner}\n[agents.a]\nmodule = 'm'\n{template}");
            let written = explained(&text, &Overrides::default()).to_string();
            assert_eq!(good(&written), good(&text), "{text}\n\n{written}");
        }
    }
}

#[test]
fn each_value_has_an_origin() {
    let text = "[runner]\nlog_dir = 'l'\nrestart = 'never'\nlimits.pids = 7\n\n\
                [agents.a]\n  module = 'm'\nenv_inherit = ['A']\n";
    let overrides = Overrides {
        server: Some(ServerName::Embedded),
        agents_dir: Some("/agents".into()),
        on_exit: Some(OnExit::Leave),
        ..Overrides::default()
    };
    let told = explained(text, &overrides);
    let runner = origins(&told, "runner");
    for line in [
        "server = \"embedded\" # command line",
        "log_dir = \"l\" # 2:11",
        "agents_dir = \"/agents\" # command line",
        "on_exit = \"leave\" # command line",
        "auto_discover = true # default",
    ] {
        assert!(runner.contains(&line.to_owned()), "{line} in {runner:#?}");
    }
    // A key that holds nothing is not told of.
    assert!(!runner.iter().any(|line| line.starts_with("user") || line.starts_with("state_dir")));
    assert_eq!(origins(&told, "runner.limits"), ["pids = 7 # 4:15"]);
    // A template has it from `[runner]`, wherever that has it from.
    let template = origins(&told, "agents.a");
    for line in [
        "module = \"m\" # 7:12",
        "args = [] # default",
        "restart = \"never\" # 3:11",
        "env_inherit = [\"A\"] # 8:15",
        "shutdown_grace_ms = 5000 # default",
    ] {
        assert!(template.contains(&line.to_owned()), "{line} in {template:#?}");
    }
    assert_eq!(origins(&told, "agents.a.limits"), ["pids = 7 # 4:15"]);
}

#[test]
fn the_template_of_a_file_that_has_none() {
    let module = "module = \"agents.random_agent\"";
    let told = explained("[runner]\nrestart = 'always'", &Overrides::default());
    let template = origins(&told, "agents.default");
    assert!(template.contains(&format!("{module} # auto_discover")), "{template:#?}");
    assert!(template.contains(&"restart = \"always\" # 2:11".to_owned()), "{template:#?}");
    let told = explained("[runner]\nauto_discover = false", &Overrides::default());
    let template = origins(&told, "agents.default");
    assert!(template.contains(&format!("{module} # default")), "{template:#?}");
}

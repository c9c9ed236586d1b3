//! Values: what is taken, what stands in where nothing is said, and what is refused.

use std::path::Path;

use super::*;
use crate::config::keys::Table;
use crate::config::locate::locate_in;
use crate::config::{OnExit, Server, ServerName, parse_world};
use crate::plan::{Launch, Launcher, Spawn};

#[test]
fn the_file_users_have_today() {
    let mut today = good(TODAY);
    // The same on every machine.
    today.rules.spawn = Spawn { max_parallel: 4, per_second: 1000 };
    insta::assert_debug_snapshot!(today);
}

#[test]
fn every_key() {
    insta::assert_debug_snapshot!(good(EVERYTHING));
}

#[test]
fn every_key_of_pods() {
    let templates = good(CLUSTER).rules.templates;
    let pods: Vec<_> =
        templates.iter().map(|it| (&it.name, &it.cwd, &it.launch, &it.pod)).collect();
    insta::assert_debug_snapshot!(pods);
}

#[test]
fn every_known_key_is_in_the_file_with_every_key() {
    // Whom the runner may run agents as depends on who runs it, and files must be there.
    let elsewhere = ["user", "group", "tls", "ca", "cert", "key", "server_name", "token_file"];
    let keys = Table::ALL.iter().flat_map(|table| table.keys());
    for key in keys.filter(|key| !elsewhere.contains(key)) {
        assert!(EVERYTHING.contains(key) || CLUSTER.contains(key), "{key}");
    }
}

#[test]
fn every_table_is_optional() {
    let least = good("[runner]");
    for text in
        ["[jit]", "[health]\n[discovery]", "[world]", "[runner]\nserver = 'localhost:50051'"]
    {
        assert_eq!(good(text), least, "{text}");
    }
    let Launch::Module { module, .. } = &least.rules.templates[0].launch else { panic!() };
    assert_eq!(module, "agents.random_agent");
    assert_eq!(least.rules.templates[0].name, "default");
}

#[test]
fn no_implicit_template_beside_others() {
    assert_eq!(good("[agents.alice]\nmodule = 'm'").rules.templates.len(), 1);
    assert_eq!(good("[agents]").rules.templates.len(), 0);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        state_dir: Some("state".into()),
        server: Some("[::1]:7".parse().unwrap()),
        log_dir: Some("elsewhere".into()),
        agents_dir: Some("/agents".into()),
        on_exit: Some(OnExit::Stop),
        ..Overrides::default()
    };
    let config = parse("test", EVERYTHING, &overrides).unwrap();
    assert_eq!(config.server, Server::Address("[::1]:7".into()));
    assert_eq!(config.log_dir, Path::new("elsewhere"));
    assert_eq!(config.on_exit, OnExit::Stop);
    let cwds: Vec<&Path> = config.rules.templates.iter().map(|it| it.cwd.as_path()).collect();
    assert_eq!(cwds, ["/agents/zoe", "/srv/agents", "/agents"].map(Path::new));
    let embedded = Overrides { server: Some(ServerName::Embedded), ..Overrides::default() };
    let config = parse("test", TODAY, &embedded).unwrap();
    assert!(matches!(config.server, Server::Embedded(_)));
}

#[test]
fn servers() {
    for right in ["localhost:50051", "127.0.0.1:1", "[::1]:65535", "a-b.c_d.example:80", "embedded"]
    {
        assert_eq!(right.parse::<ServerName>().unwrap().to_string(), right);
    }
    for (wrong, write) in [
        ("http://localhost:50051", "localhost:50051"),
        ("https://world/", "world:50051"),
        ("http://[::1]:80/x", "[::1]:80"),
        ("localhost", "localhost:50051"),
        ("localhost:", "localhost:50051"),
        ("localhost:0", "localhost:50051"),
        ("localhost:65536", "localhost:50051"),
        ("localhost:+80", "localhost:50051"),
        ("::1", "[::1]:50051"),
        ("fe80::1:2:50051", "[fe80::1:2]:50051"),
        ("1:2:3:4:5:6:7:8:50051", "[1:2:3:4:5:6:7:8]:50051"),
        ("[::1]", "[::1]:50051"),
        ("embeded", "embedded"),
        ("Embedded", "embedded"),
        ("", "localhost:50051"),
        (":80", "localhost:50051"),
        ("256.0.0.1:80", "localhost:50051"),
        ("a b:80", "localhost:50051"),
    ] {
        let bad = wrong.parse::<ServerName>().expect_err(wrong);
        assert_eq!(bad.write, write, "{wrong}: {bad}");
        bad.write.parse::<ServerName>().expect("what is to be written is right");
    }
}

#[test]
fn placeholders() {
    let command = |argv: &str| format!("[agents.a]\ncommand = {argv}");
    for right in [
        r#"["{runner}"]"#,
        r#"["./{runner}x", "{entity_id}-{entity_type}", "{server}"]"#,
        r#"["jq", "{\"entity_id\": {}}", "{a,b}", "${HOME}", "{", "}", "{}"]"#,
    ] {
        good(&command(right));
    }
    for wrong in [
        r#"["{server}"]"#,
        r#"["{runer}"]"#,
        r#"["a", "{entity}"]"#,
        r#"["a", "{Entity_Id}"]"#,
        r#"["a", "x{entityid}"]"#,
        r#"[""]"#,
        "[]",
    ] {
        assert_eq!(brief(&command(wrong)).len(), 1, "{wrong}");
    }
}

#[test]
fn launchers() {
    let launcher = |text: &str| {
        let config = good(&format!("[runner]\nlauncher = {text}"));
        let Launch::Module { launcher, .. } = &config.rules.templates[0].launch else { panic!() };
        launcher.clone()
    };
    assert_eq!(launcher("'uv-sync'"), Launcher::UvSync);
    assert_eq!(launcher("['python3', '-m']"), Launcher::Argv(vec!["python3".into(), "-m".into()]));
    // A program of that name is not meant by the word.
    assert_eq!(launcher("['uv-sync']"), Launcher::Argv(vec!["uv-sync".into()]));
    for (wrong, list) in [
        ("uv run", r#"["uv", "run"]"#),
        ("uvsync", r#"["uvsync"]"#),
        ("", r#"["uv", "run", "python", "-m"]"#),
    ] {
        let mistakes = brief(&format!("[runner]\nlauncher = {wrong:?}"));
        let [mistake] = &mistakes[..] else { panic!("{wrong}: {mistakes:?}") };
        let write = format!("write `launcher = \"uv-sync\"`, or `launcher = {list}`");
        assert!(mistake.ends_with(&write), "{mistake}");
        assert!(mistake.contains("must be \"uv-sync\" or a list of strings"), "{mistake}");
    }
    assert_eq!(brief("[runner]\nlauncher = 3").len(), 1);
    assert_eq!(brief("[runner]\nlauncher = []").len(), 1);
}

#[test]
fn modules() {
    let module = |name: &str| format!("[agents.a]\nmodule = {name:?}");
    for right in ["a", "agents.random_agent", "my-agents.v2", "été"] {
        good(&module(right));
    }
    for wrong in ["", "-m", ".a", "a.", "a b", "agents/a", "a.py", "../a.py"] {
        assert_eq!(brief(&module(wrong)).len(), 1, "{wrong}");
    }
}

#[test]
fn a_limit_that_only_one_key_gives() {
    let above = brief("[runner]\ninitial_backoff_ms = 40000");
    assert!(
        above[0].starts_with("2:22: `runner.max_backoff_ms` (30000, its default)"),
        "{above:?}"
    );
    let below = brief("[runner]\nmax_backoff_ms = 500");
    assert!(below[0].starts_with("2:18:"), "{below:?}");
    // What is wrong already is not compared.
    assert_eq!(brief("[runner]\ninitial_backoff_ms = 40000\nmax_backoff_ms = '5'").len(), 1);
}

#[test]
fn a_template_that_is_not_there() {
    assert!(brief("[jit]\ntemplate = 'late'")[0].contains("write `template = \"default\"`"));
    good("[jit]\nenabled = false\ntemplate = 'late'");
    good("[runner]\nauto_discover = false\n[jit]\ntemplate = 'late'");
    good("[agents.alice]\nmodule = 'm'\n[jit]\nenabled = true");
}

#[test]
fn numbers() {
    for wrong in ["nan", "inf", "-inf", "0.999", "true", "'2'", "1e999"] {
        let text = format!("[runner]\nbackoff_multiplier = {wrong}");
        assert_eq!(brief(&text).len(), 1, "{wrong}");
    }
    for wrong in ["-1", "1.0", "'1'", "9223372036854775808", "[1]", "1979-05-27"] {
        let text = format!("[runner]\nbackoff_reset_ms = {wrong}");
        assert_eq!(brief(&text).len(), 1, "{wrong}");
    }
    assert_eq!(good("[runner]\nmax_agents = 0x10").rules.max_agents, 16);
}

#[test]
fn bytes() {
    let max = |text: &str| good(&format!("[logs]\nmax_bytes = {text}")).logs.max_bytes;
    for (text, bytes) in [
        ("1", 1),
        ("'1'", 1),
        ("'7B'", 7),
        ("'512KiB'", 512 << 10),
        ("'10 MiB'", 10 << 20),
        ("'1GiB'", 1 << 30),
        ("'3TiB'", 3 << 40),
    ] {
        assert_eq!(max(text), Some(bytes), "{text}");
    }
    assert_eq!(max("0"), None);
    assert_eq!(max("'0MiB'"), None);
    for (wrong, write) in [
        ("'10MB'", "\"10MiB\""),
        ("'10 m'", "\"10MiB\""),
        ("'1gib'", "\"1GiB\""),
        ("'8388608TiB'", "\"10MiB\""),
        ("'-1'", "\"10MiB\""),
        ("'1.5GiB'", "\"10MiB\""),
        ("'MiB'", "\"10MiB\""),
        ("''", "\"10MiB\""),
        ("1.5", "\"10MiB\""),
        ("true", "\"10MiB\""),
    ] {
        let mistakes = brief(&format!("[logs]\nmax_bytes = {wrong}"));
        let [mistake] = &mistakes[..] else { panic!("{wrong}: {mistakes:?}") };
        assert!(mistake.ends_with(&format!("write `max_bytes = {write}`")), "{mistake}");
    }
    assert_eq!(brief("[logs]\nmax_bytes = -1").len(), 1);
    let [mistake] = &brief("[runner]\nmax_total_bytes = 1")[..] else { panic!() };
    assert!(mistake.contains("belongs in `[logs]`"), "{mistake}");
}

#[test]
fn how_fast_agents_are_started() {
    let spawn = |keys: &str| good(&format!("[spawn]\n{keys}")).rules.spawn;
    let cores = std::thread::available_parallelism().unwrap().get();
    let default =
        Spawn { max_parallel: 2 * cores, per_second: 500 * u32::try_from(cores).unwrap() };
    assert_eq!(spawn(""), default);
    assert_eq!(spawn("per_second = 5"), Spawn { per_second: 5, ..default });
    assert_eq!(spawn("max_parallel = 1"), Spawn { max_parallel: 1, ..default });
    for wrong in ["per_second = 0", "per_second = 0.5", "max_parallel = -1", "max_parallel = 513"] {
        assert_eq!(brief(&format!("[spawn]\n{wrong}")).len(), 1, "{wrong}");
    }
}

#[test]
fn the_world_beside_the_runner() {
    let definition = parse_world("test", EVERYTHING).unwrap();
    assert_eq!(good(EVERYTHING).server, Server::Embedded(definition));
    parse_world("test", "[[entities]]\nid = 'a'\n[runner]\nno_key = 1\n[agents]\nx = 3").unwrap();
    for wrong in ["", "[world]\nwidht = 3", "[entites]", "[entities]\nid = 'a'"] {
        assert_eq!(parse_world("test", wrong).unwrap_err().len(), 1, "{wrong}");
    }
}

#[test]
fn names_of_configurations() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("configs")).unwrap();
    for name in ["demo.toml", "foraging.toml", "notes.txt"] {
        std::fs::write(dir.path().join("configs").join(name), "").unwrap();
    }
    std::fs::write(dir.path().join("here.toml"), "").unwrap();
    for (name, path) in [
        ("here.toml", "here.toml"),
        ("demo", "configs/demo.toml"),
        ("demo.toml", "configs/demo.toml"),
        ("configs/demo.toml", "configs/demo.toml"),
        ("notes.txt", "configs/notes.txt"),
    ] {
        assert_eq!(locate_in(dir.path(), name).as_deref(), Ok(Path::new(path)));
    }
    let error = locate_in(dir.path(), "forraging").unwrap_err();
    insta::assert_snapshot!(error, @"no configuration `forraging`: tried `forraging`, `configs/forraging`, `configs/forraging.toml`; `./configs` has `foraging`, `demo`");
    assert!(locate_in(dir.path(), "configs").is_err(), "a directory");
    assert!(locate_in(dir.path(), "").is_err());
}

#[test]
fn a_user_and_a_group_by_name_or_number() {
    // The one that runs this needs no permission to stay who it is.
    let (uid, gid) = (nix::unistd::geteuid().to_string(), nix::unistd::getegid().to_string());
    let text = format!("[runner]\nuser = {uid:?}\ngroup = {gid:?}\n[agents.a]\nmodule = 'm'");
    let confinement = good(&text).rules.templates[0].confinement.clone();
    assert_eq!((confinement.user, confinement.group), (Some(uid), Some(gid.clone())));
    let [line] = &brief("[runner]\nuser = 'no-such-user'")[..] else { panic!("not one mistake") };
    assert!(line.contains("there is no user \"no-such-user\" on this machine"), "{line}");
    // A wrong user of all is said once, though a template has a group of its own.
    let group =
        format!("[runner]\nuser = 'no-such-user'\n[agents.a]\nmodule = 'm'\ngroup = {gid:?}");
    assert_eq!(brief(&group).len(), 1);
}

#[test]
fn the_lines_of_the_first_hundred_mistakes_are_shown_and_the_places_of_all() {
    let templates = (0..150).map(|n| format!("[agents.a{n}]\nmodule = 'm'\nmatch = {{}}\n"));
    let text = rendered(&templates.collect::<String>());
    assert_eq!(text.matches("put `[agents.").count(), 149);
    assert_eq!(text.matches("= help: put").count(), 100);
    let last = "configs/test.toml:450:1: nothing can reach the match of `agents.a149`";
    assert!(text.lines().last().unwrap().starts_with(last), "{text}");
}

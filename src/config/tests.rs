//! Whole files in, configurations or rendered mistakes out.

mod credentials;
mod effective;
mod golden;
mod kubernetes;
mod limits;
mod matches;
mod property;
mod sandbox;
mod schema;
mod values;

use super::{Config, Mistakes, Overrides, parse};

/// What users have today, word for word.
const TODAY: &str = include_str!("tests/today.toml");
/// Every key there is.
const EVERYTHING: &str = include_str!("tests/everything.toml");
/// Every key of agents that are pods.
const CLUSTER: &str = include_str!("tests/cluster.toml");

fn read(text: &str) -> Result<Config, Mistakes> {
    parse("configs/test.toml", text, &Overrides::default())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn rendered(text: &str) -> String {
    read(text).expect_err("a mistake").render(false)
}

/// The mistakes as `line:column: message; help`.
fn brief(text: &str) -> Vec<String> {
    let shown = read(text).expect_err("a mistake").to_string();
    shown.lines().map(|line| line.replacen("configs/test.toml:", "", 1)).collect()
}

/// The files that come with the program, by their paths.
fn files_of_ours() -> Vec<(String, String)> {
    let dirs = ["configs", "configs/worlds"];
    let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let toml = paths.filter(|path| path.extension().is_some_and(|it| it == "toml"));
    let read = |path: std::path::PathBuf| {
        (path.display().to_string(), std::fs::read_to_string(path).unwrap())
    };
    let files: Vec<_> = toml.map(read).collect();
    assert!(files.len() >= 3, "{files:?}");
    files
}

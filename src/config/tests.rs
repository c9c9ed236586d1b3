//! Whole files in, configurations or rendered mistakes out.

mod golden;
mod limits;
mod matches;
mod property;
mod values;

use super::{Config, Mistakes, Overrides, parse};

/// What users have today, word for word.
const TODAY: &str = include_str!("tests/today.toml");
/// Every key there is.
const EVERYTHING: &str = include_str!("tests/everything.toml");

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

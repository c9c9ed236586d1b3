//! `runner config`: what holds, with all defaults, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::Style;
use clap::{Parser, ValueEnum};
use clap_complete::ArgValueCompleter;
use serde::{Serialize, Serializer};

use super::file::{Instead, Loaded, locate, refuse};
use super::instance::{InstanceArgs, with};
use super::output::{Output, colour, escaped, one, print_for_programs};
use super::{Ending, candidates, fail, print};
use crate::config::{self, Effective, EffectiveTable, Origin, Setting};
use crate::proto::control as pb;

/// Show the configuration with all defaults, and where each value comes from.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner config --config configs/demo.toml\n  \
                  runner config                          # of the instance that runs\n  \
                  runner config -c demo --server localhost:50051 -o json\n\n\
                  As TOML it is a configuration file that means the same.")]
pub(super) struct Args {
    /// The configuration: a path, or a name found in ./configs (with or without .toml); without
    /// it, that of the instance that runs.
    #[arg(long, short, value_name = "PATH|NAME",
          add = ArgValueCompleter::new(candidates::configurations))]
    config: Option<String>,
    #[command(flatten)]
    instead: Instead,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "toml")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A configuration file, with the origin of each value in a comment.
    Toml,
    /// JSON, with `apiVersion` and `kind`.
    Json,
    /// The same as YAML.
    Yaml,
}

pub(super) fn run(args: Args) -> Ending {
    match show(args) {
        Ok(()) => Ending::Done,
        Err(ending) => ending,
    }
}

fn show(args: Args) -> Result<(), Ending> {
    let path = match &args.config {
        Some(name) => locate(name)?,
        None => of_the_instance(args.instead.state_dir.clone())?,
    };
    let loaded = args.instead.load(path)?;
    let effective = explain(&loaded)?;
    match args.output {
        Format::Toml => print(as_toml(&loaded.path, &effective, colour()).trim_end()),
        Format::Json => tell_programs(Output::Json, &loaded.path, &effective),
        Format::Yaml => tell_programs(Output::Yaml, &loaded.path, &effective),
    }
    Ok(())
}

/// The file of the instance that runs.
fn of_the_instance(state_dir: Option<PathBuf>) -> Result<PathBuf, Ending> {
    let mut path = None;
    let asked = with(&InstanceArgs::of(state_dir), |mut client| {
        let path = &mut path;
        async move {
            let status = client.get_status(pb::GetStatusRequest {}).await?.into_inner();
            *path = Some(PathBuf::from(status.config_path));
            Ok(Ending::Done)
        }
    });
    path.ok_or(asked)
}

/// What the file and the command line come to. What depends on the file's own name and the user's
/// home is filled in here.
fn explain(loaded: &Loaded) -> Result<Effective, Ending> {
    let Loaded { path, overrides, bytes, .. } = loaded;
    let mut effective = config::explain_read(path, bytes, overrides).map_err(refuse)?;
    let state_dir = loaded.state_dir().map_err(|error| fail("no state directory", &error))?;
    if let Some(runner) = effective.table_mut(&["runner"]) {
        runner.fall_back("name", loaded.name());
        runner.fall_back("state_dir", state_dir.to_string_lossy().into_owned());
    }
    Ok(effective)
}

/// Comments stand in one column in a table, unless a line is longer than this.
const WIDEST: usize = 60;

fn as_toml(path: &Path, effective: &Effective, colour: bool) -> String {
    let style = if colour { Style::new().dimmed() } else { Style::new() };
    let mut text = String::new();
    for table in &effective.tables {
        let lines: Vec<_> =
            table.settings.iter().map(|it| format!("{} = {}", it.key, it.value)).collect();
        let widths = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= WIDEST);
        let width = widths.max().unwrap_or(0);
        let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, table.header());
        for (line, setting) in lines.iter().zip(&table.settings) {
            let origin = origin(path, setting);
            let _ = writeln!(text, "{line:width$}  {style}# {origin}{style:#}");
        }
    }
    text
}

/// Where a value comes from, for people.
fn origin(path: &Path, setting: &Setting) -> String {
    match setting.origin {
        Origin::File { line, .. } => escaped(&format!("{}:{line}", path.display())),
        Origin::Default => "default".to_owned(),
        Origin::AutoDiscover => "by auto_discover".to_owned(),
        Origin::CommandLine => option(setting.key),
    }
}

/// The option that stands in for a key: all are called alike.
fn option(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The configuration as programs get it.
#[derive(Debug, Serialize)]
struct Configuration<'e> {
    path: &'e Path,
    config: Node<'e>,
    /// By the JSON pointer of the value in `config`.
    origins: BTreeMap<String, Told>,
}

/// A table, in the order of the file: the first template that fits is chosen.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Node<'e> {
    Value(&'e toml::Value),
    #[serde(serialize_with = "in_order")]
    Table(Vec<(&'e str, Node<'e>)>),
    List(Vec<Node<'e>>),
}

fn in_order<S: Serializer>(entries: &[(&str, Node<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, node)| (key, node)))
}

/// Where a value comes from, for programs.
#[derive(Debug, Default, Serialize)]
struct Told {
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    option: Option<String>,
}

impl Told {
    fn of(setting: &Setting) -> Self {
        let from = |from| Self { from, ..Self::default() };
        match setting.origin {
            Origin::File { line, column } => {
                Self { line: Some(line), column: Some(column), ..from("file") }
            }
            Origin::Default => from("default"),
            Origin::AutoDiscover => from("autoDiscover"),
            Origin::CommandLine => {
                Self { option: Some(option(setting.key)), ..from("commandLine") }
            }
        }
    }
}

fn tell_programs(output: Output, path: &Path, effective: &Effective) {
    print_for_programs(output, &one("Configuration", &for_programs(path, effective)));
}

fn for_programs<'e>(path: &'e Path, effective: &'e Effective) -> Configuration<'e> {
    let mut origins = BTreeMap::new();
    for alike in effective.tables.chunk_by(|one, next| one.in_list && one.path == next.path) {
        for (index, table) in alike.iter().enumerate() {
            let mut pointer = String::new();
            for name in &table.path {
                let _ = write!(pointer, "/{}", name.replace('~', "~0").replace('/', "~1"));
            }
            if table.in_list {
                let _ = write!(pointer, "/{index}");
            }
            let told = |it: &Setting| (format!("{pointer}/{}", it.key), Told::of(it));
            origins.extend(table.settings.iter().map(told));
        }
    }
    Configuration { path, config: Node::Table(nested(&effective.tables, 0)), origins }
}

/// Tables whose names are alike up to `depth`, as those of one table.
fn nested(tables: &[EffectiveTable], depth: usize) -> Vec<(&str, Node<'_>)> {
    let groups = tables.chunk_by(|one, next| one.path.get(depth) == next.path.get(depth));
    let named = groups.filter_map(|group| {
        let (first, within) = group.split_first()?;
        let node = if first.in_list {
            Node::List(group.iter().map(|table| Node::Table(own(table).collect())).collect())
        } else if first.path.len() == depth + 1 {
            Node::Table(own(first).chain(nested(within, depth + 1)).collect())
        } else {
            Node::Table(nested(group, depth + 1))
        };
        Some((first.path.get(depth)?.as_str(), node))
    });
    named.collect()
}

fn own(table: &EffectiveTable) -> impl Iterator<Item = (&str, Node<'_>)> {
    table.settings.iter().map(|setting| (setting.key, Node::Value(&setting.value)))
}

//! `runner export`: what runs this runner somewhere else.

mod access;
mod judge;
mod workload;

use std::fmt::Write as _;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::file::{Loaded, load_for_elsewhere, locate};
use super::{Ending, candidates, print, say};
use crate::config::{Cluster, Config, Server, is_namespace};
use crate::executor::kubernetes::Names;

/// Print what runs this runner somewhere else.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner export kubernetes --config foraging --image \
                  registry.example/runner:1 | kubectl apply -f -")]
pub(super) struct Args {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// Print the manifests that run this runner, with this file, in a cluster.
    Kubernetes(ClusterArgs),
}

#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner export kubernetes -c foraging --image registry.example/runner:1 | kubectl apply -f -\n  \
                  runner export kubernetes -c foraging --image runner --replicas 1 -o json\n\n\
                  The file needs `executor = \"kubernetes\"`. It is printed as it is: `--server` and \
                  the like have no place here.")]
struct ClusterArgs {
    /// The configuration: a path, or a name found in ./configs (with or without .toml).
    #[arg(long, short, value_name = "PATH|NAME",
          add = ArgValueCompleter::new(candidates::configurations))]
    config: String,
    /// The image of the runner: containers/Containerfile builds one.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    image: String,
    /// The namespace of the runner and its agents, if the file names none [default: `default`].
    #[arg(long, value_parser = namespace)]
    namespace: Option<String>,
    /// How many pods of the runner there are: one leads, the others stand by.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    replicas: u16,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One document after the other.
    Yaml,
    /// A `List` of them.
    Json,
}

fn namespace(text: &str) -> Result<String, String> {
    if is_namespace(text) {
        return Ok(text.to_owned());
    }
    Err("write up to 63 small letters, digits and dashes, such as `agents`".to_owned())
}

pub(super) fn run(args: &Args) -> Ending {
    let Target::Kubernetes(args) = &args.target;
    match export(args) {
        Ok(()) => Ending::Done,
        Err(ending) => ending,
    }
}

fn export(args: &ClusterArgs) -> Result<(), Ending> {
    let loaded = load_for_elsewhere(locate(&args.config)?)?;
    let deployed = Deployed::new(&loaded, args).map_err(|error| {
        say(format_args!("error: {error}"));
        Ending::Wrong
    })?;
    for warning in judge::warnings(&deployed) {
        say(format_args!("warning: {warning}"));
    }
    let documents = deployed.documents();
    let text = match args.output {
        Format::Yaml => stream(&documents).map_err(|error| error.to_string()),
        Format::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
            serde_json::to_string_pretty(&list).map_err(|error| error.to_string())
        }
    };
    print(text.map_err(|error| {
        say(format_args!("error: {error}"));
        Ending::Failed
    })?);
    Ok(())
}

/// Documents as one text that `kubectl apply` takes.
fn stream(documents: &[Value]) -> serde_yaml_ng::Result<String> {
    let mut text = String::new();
    for document in documents {
        let _ = writeln!(text, "---\n{}", serde_yaml_ng::to_string(document)?.trim_end());
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// A runner as it is in a cluster.
struct Deployed<'a> {
    names: Names,
    namespace: &'a str,
    image: &'a str,
    replicas: u16,
    /// The name of the file, and what it holds.
    file: (&'a str, &'a str),
    config: &'a Config,
}

impl<'a> Deployed<'a> {
    /// # Errors
    /// Why this file is none to run a runner in a cluster with, and what to write.
    fn new(loaded: &'a Loaded, args: &'a ClusterArgs) -> Result<Self, String> {
        let config = &loaded.config;
        let cluster = judge::cluster(config)?;
        Ok(Self {
            names: Names::of(&loaded.name()),
            namespace: place(cluster, args.namespace.as_deref())?,
            image: &args.image,
            replicas: args.replicas,
            file: judge::file(&loaded.path, &loaded.bytes)?,
            config,
        })
    }

    fn documents(&self) -> Vec<Value> {
        let mut documents = Vec::new();
        if self.namespace != DEFAULT_NAMESPACE {
            documents.push(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": self.namespace },
            }));
        }
        documents.extend(self.access());
        documents.extend(self.workload());
        documents
    }

    /// What all objects are called but for the file's, whose kind has the object that all agents
    /// belong to by that name.
    fn name(&self) -> &str {
        &self.names.owner
    }

    fn metadata(&self) -> Value {
        self.metadata_of(self.name())
    }

    fn metadata_of(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.namespace, "labels": self.labels() })
    }

    /// None by which a runner finds its agents: pods of the runner are not to be taken for any.
    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "runner",
            "app.kubernetes.io/instance": self.names.instance,
        })
    }

    /// The port of metrics, if it can be reached from outside the pod.
    fn metrics_port(&self) -> Option<u16> {
        let listen = self.config.metrics.filter(|it| it.ip().is_unspecified() && it.port() > 0)?;
        Some(listen.port())
    }

    fn world_port(&self) -> Option<u16> {
        let Server::Address(address) = &self.config.server else { return None };
        address.rsplit_once(':')?.1.parse().ok()
    }
}

/// As for `kubectl`.
const DEFAULT_NAMESPACE: &str = "default";

/// The namespace that the file and the command line agree on.
fn place<'a>(cluster: &'a Cluster, said: Option<&'a str>) -> Result<&'a str, String> {
    match (cluster.namespace.as_deref(), said) {
        (Some(file), Some(said)) if file != said => Err(format!(
            "`kubernetes.namespace` is {file:?}, and --namespace is {said:?}: a runner's pod is \
             where its agents are; leave out --namespace, or `namespace` in `[kubernetes]`"
        )),
        (Some(one), _) | (None, Some(one)) => Ok(one),
        (None, None) => Ok(DEFAULT_NAMESPACE),
    }
}

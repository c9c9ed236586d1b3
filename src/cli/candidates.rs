//! What a word may become when Tab is pressed: names of the instance that is meant, and of files.
//!
//! Names come from the world and from files. Those that a shell could take for anything but one
//! word are not offered.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::Path;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use clap_complete::CompletionCandidate as Candidate;
use clap_complete::engine::{PathCompleter, ValueCompleter as _};
use tonic::Status;

use super::instance::InstanceArgs;
use super::output::escaped;
use super::{Cli, runtime};
use crate::config;
use crate::control::PHASES;
use crate::control::client::{Client, connect, instances};
use crate::proto::control as pb;

/// Who waits for a Tab waits no longer than this.
const DEADLINE: Duration = Duration::from_millis(300);

/// What a shell asked for. The engine hands none of it on to who knows the candidates.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Whether it quotes the candidates that need it.
    pub(super) quotes: bool,
    /// The command line up to now, the name of the program included.
    pub(super) words: Vec<OsString>,
}

static ASKED: OnceLock<Asked> = OnceLock::new();

/// Notes what is asked for. Once in a process.
pub(super) fn asked(asked: Asked) {
    let _ = ASKED.set(asked);
}

/// Those whom a verb's `NAME` may mean.
pub(super) fn names() -> Vec<Candidate> {
    let (verb, matches) = verb();
    let what = matches.as_ref().and_then(|it| it.try_get_raw("what").ok()??.next());
    match (verb.as_str(), what.and_then(OsStr::to_str)) {
        ("get", Some("entities" | "entity")) | ("suspend", _) => entities(|_| true),
        ("get", Some("templates" | "template")) => templates(),
        ("resume", _) => entities(|entity| entity.suspended),
        _ => agents(),
    }
}

fn agents() -> Vec<Candidate> {
    let all = ask(|mut client| async move {
        Ok(client.list_agents(pb::ListAgentsRequest::default()).await?.into_inner().agents)
    });
    all.into_iter().filter_map(|agent| candidate(&agent.name, &agent.phase)).collect()
}

/// Entities, with an agent or without.
pub(super) fn everybody() -> Vec<Candidate> {
    entities(|_| true)
}

fn entities(meant: impl Fn(&pb::Entity) -> bool) -> Vec<Candidate> {
    let all = ask(|mut client| async move {
        Ok(client.list_entities(pb::ListEntitiesRequest::default()).await?.into_inner().entities)
    });
    let about = |entity: &pb::Entity| match entity.phase.as_str() {
        "" => entity.reason.clone(),
        phase => phase.to_owned(),
    };
    let meant = all.into_iter().filter(|entity| meant(entity));
    meant.filter_map(|entity| candidate(&entity.name, &about(&entity))).collect()
}

pub(super) fn templates() -> Vec<Candidate> {
    let all = ask(|mut client| async move {
        Ok(client.list_templates(pb::ListTemplatesRequest {}).await?.into_inner().templates)
    });
    let about = |template: &pb::Template| format!("{} agents", template.agents);
    all.into_iter().filter_map(|template| candidate(&template.name, &about(&template))).collect()
}

/// Conditions of a selection: their keys, and then their values.
pub(super) fn conditions(current: &OsStr) -> Vec<Candidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let Some((key, value)) = current.split_once('=') else {
        let keys = ["template=", "type=", "phase="].into_iter();
        return keys.filter(|key| key.starts_with(current)).map(Candidate::new).collect();
    };
    let values = match key {
        "template" => templates(),
        "phase" => PHASES.map(Candidate::new).into(),
        _ => Vec::new(),
    };
    let fits = |it: &Candidate| it.get_value().as_encoded_bytes().starts_with(value.as_bytes());
    values.into_iter().filter(fits).map(|it| it.add_prefix(format!("{key}="))).collect()
}

/// The names by which instances are found that run here.
pub(super) fn instance_names() -> Vec<Candidate> {
    let dirs = within_deadline(|| instances().ok()).unwrap_or_default();
    let names = dirs.iter().filter_map(|dir| dir.file_name()?.to_str());
    names.filter_map(|name| candidate(name, "")).collect()
}

/// Configurations: their names in `./configs`, and paths.
pub(super) fn configurations(current: &OsStr) -> Vec<Candidate> {
    let is_config = |path: &Path| path.extension().is_some_and(|it| it == "toml");
    let fits = |name: &String| name.as_bytes().starts_with(current.as_encoded_bytes());
    let names = config::known().into_iter().filter(fits);
    let names = names.filter_map(|name| candidate(&name, "in ./configs"));
    names.chain(paths(&PathCompleter::any().filter(is_config), current)).collect()
}

pub(super) fn directories(current: &OsStr) -> Vec<Candidate> {
    paths(&PathCompleter::dir(), current).collect()
}

fn paths(completer: &PathCompleter, current: &OsStr) -> impl Iterator<Item = Candidate> {
    let safe = |it: &Candidate| it.get_value().to_str().is_some_and(is_one_word);
    completer.complete(current).into_iter().filter(safe)
}

fn candidate(name: &str, about: &str) -> Option<Candidate> {
    let about = Some(escaped(about)).filter(|about| !about.is_empty());
    is_one_word(name).then(|| Candidate::new(name).help(about.map(Into::into)))
}

/// Whether a name, put into a command line by the shell that asks, means that name and nothing
/// else: neither to the shell, nor to us.
fn is_one_word(name: &str) -> bool {
    let is_ours = name.starts_with('-') || name.contains(['*', '?']);
    let quoted = ASKED.get().is_some_and(|asked| asked.quotes);
    !is_ours && if quoted { !name.contains(char::is_control) } else { is_plain(name) }
}

/// Whether no shell sees more in it than a word.
pub(super) fn is_plain(word: &str) -> bool {
    let word = word.strip_prefix("~/").unwrap_or(word);
    !word.is_empty() && word.chars().all(|it| it.is_alphanumeric() || "._-+:%/".contains(it))
}

/// The verb of the command line, and what else it says, as far as it is there.
fn verb() -> (String, Option<ArgMatches>) {
    let words = ASKED.get().map(|asked| &asked.words[..]).unwrap_or_default();
    let parsed = Cli::command().ignore_errors(true).try_get_matches_from(words).ok();
    let mut found = (String::new(), parsed);
    while let Some((verb, within)) = found.1.as_mut().and_then(ArgMatches::remove_subcommand) {
        found = (verb, Some(within));
    }
    found
}

/// What the instance says that the command line means; nothing if none is meant, or it does not
/// say it in time.
fn ask<T, F>(question: impl FnOnce(Client) -> F + Send + 'static) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<Vec<T>, Status>>,
{
    let matches = verb().1;
    let instance = matches.and_then(|matches| InstanceArgs::from_arg_matches(&matches).ok());
    let answered = within_deadline(move || {
        let state_dir = instance.unwrap_or_default().find().ok()?;
        runtime().ok()?.block_on(async { question(connect(&state_dir).ok()?).await.ok() })
    });
    answered.unwrap_or_default()
}

/// What comes of this, if it does in time. Each step of it may hang where an instance does.
fn within_deadline<T: Send + 'static>(
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::channel();
    // It ends with the process at the latest, which has nothing else to do.
    thread::Builder::new().spawn(move || tell.send(work())).ok()?;
    told.recv_timeout(DEADLINE).ok()?
}

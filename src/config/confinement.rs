//! What agents get of the runner's own, and what they are kept from: keys of `[runner]` that a
//! template may override.

use super::kubernetes::{self, Refusal};
use super::limits::{self, Host};
use super::mistakes::Mistake;
use super::sandbox;
use super::section::{Fallback, Found, Section};
use crate::account::{self, AccountError};
use crate::plan::Confinement;

/// As the section says, and where it says nothing, as `default`.
pub(super) fn read(section: &Section<'_>, default: &Confinement, host: &Host<'_>) -> Confinement {
    let (user, group) = account(section, default, host);
    let no_new_privs = section.flag("no_new_privs", default.no_new_privs);
    Confinement {
        env_inherit: env_inherit(section, &default.env_inherit),
        user,
        group,
        sandbox: sandbox::read(section, default.sandbox.as_ref(), (&no_new_privs, host)),
        no_new_privs: no_new_privs.value,
        limits: limits::read(section, &default.limits, host),
    }
}

/// A template that names a user of its own has that user's group, unless it names one too.
fn account(
    section: &Section<'_>,
    default: &Confinement,
    host: &Host<'_>,
) -> (Option<String>, Option<String>) {
    let user = Fallback { default: default.user.as_deref(), example: "nobody" };
    let user = section.text("user", user);
    let group = default.group.as_deref().filter(|_| user.span().is_none());
    let group = section.text("group", Fallback { default: group, example: "nogroup" });
    if host.pods.is_some() {
        numbers(section, host, [("user", &user), ("group", &group)]);
        return (user.holding(), group.holding());
    }
    let given = |found: &Found<String>| found.span().map(|_| found.value.clone());
    let (named_user, named_group) = (given(&user), given(&group));
    // What is said elsewhere was looked up there.
    let found = account::find(named_user.as_deref(), named_group.as_deref());
    if let Err(error) = found {
        let about_group = matches!(error, AccountError::NoGroup(_)) || user.span().is_none();
        let span = if about_group { group.span() } else { user.span() };
        let key = if about_group { "group" } else { "user" };
        let help = match error {
            AccountError::NotPermitted => "leave it out, or start the runner as root".to_owned(),
            AccountError::NoPrimaryGroup(uid) => format!("write `group = \"{uid}\"` below it"),
            AccountError::NoUser(_) | AccountError::NoGroup(_) | AccountError::Lookup(_) => {
                format!("write the name or the number of a {key}, in quotes")
            }
        };
        if let Some(span) = span {
            let title = format!("`{}`: {error}", section.name(key));
            section.sink.note(Mistake::at(span, title).help(help));
        }
    }
    (user.holding(), group.holding())
}

/// Names are those of an image, which nobody can ask here. Kubernetes takes numbers up to this.
fn numbers(section: &Section<'_>, host: &Host<'_>, accounts: [(&'static str, &Found<String>); 2]) {
    for (key, found) in accounts {
        let id = found.value.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok());
        let plain = id.is_some_and(|id| id.to_string() == found.value);
        let help = format!(
            "write the number in quotes, such as `{key} = \"1000\"`, or leave it out for the image's, \
             or for what `securityContext` says in `kubernetes.pod`"
        );
        let refusal = Refusal {
            span: found.span().filter(|_| !plain),
            problem: "must be a number for pods: the names of their image are not known here",
            help: &help,
        };
        kubernetes::refuse(host, (section, key), &refusal);
    }
}

fn env_inherit(section: &Section<'_>, default: &[String]) -> Vec<String> {
    let patterns = section.words("env_inherit", Some(default), &["PATH", "LC_*"]);
    let given = patterns.span().map_or(&[][..], |_| &patterns.value);
    for (pattern, span) in given {
        let wrong = match pattern.strip_suffix('*').unwrap_or(pattern) {
            "" if pattern.is_empty() => "is empty",
            name if name.contains('=') => "holds a `=`",
            name if name.contains('*') => "has a `*` before its end",
            _ => continue,
        };
        let title = format!("a name in `{}` {wrong}", section.name("env_inherit"));
        section.sink.note(
            Mistake::at(span, title)
                .label("no name of a variable")
                .help("write a name, or the beginning of names and a `*`, such as `\"LC_*\"`"),
        );
    }
    patterns.value.into_iter().map(|(pattern, _)| pattern).collect()
}

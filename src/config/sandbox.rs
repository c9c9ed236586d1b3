//! Which files agents may use: `sandbox` of `[runner]`, or a template's own in its place; and
//! whether the kernel here can hold them to it.

use super::keys::Table;
use super::kubernetes::{self, Refusal};
use super::limits::Host;
use super::mistakes::Mistake;
use super::section::{Found, Section, Word};
use crate::plan::Sandbox;
use crate::plan::sandbox::PLACEHOLDER;

/// The section's sandbox; if it says nothing of one, `default`.
pub(super) fn read(
    section: &Section<'_>,
    default: Option<&Sandbox>,
    (no_new_privs, host): (&Found<bool>, &Host<'_>),
) -> Option<Sandbox> {
    let table = section.table("sandbox", Table::Sandbox);
    let taken_over = default.filter(|_| !table.exists());
    let paths = |key, example: &[&str]| {
        let default = taken_over.map(|sandbox| match key {
            "read" => sandbox.read.as_slice(),
            _ => sandbox.write.as_slice(),
        });
        table.words(key, default, example)
    };
    let (read, write) = (paths("read", &["/usr", "."]), paths("write", &["work"]));
    for found in [&read, &write].into_iter().filter(|found| found.span().is_some()) {
        found.value.iter().for_each(|path| check(&table, path));
    }
    let wrong = read.is_wrong() || write.is_wrong();
    let plain = |words: Found<Vec<Word>>| words.value.into_iter().map(|(word, _)| word).collect();
    let sandbox = Sandbox { read: plain(read), write: plain(write) };
    if !table.exists() {
        if let Some(sandbox) = taken_over {
            both(section, None, no_new_privs);
            return Some(sandbox.clone());
        }
        return None;
    }
    if sandbox == Sandbox::default() && !wrong {
        let title = format!("`{}` names no path, so no program could be run", table.title());
        table.sink.note(Mistake::at(table.span(), title).label("no file at all").help(
            "write what agents may use, such as `read = [\"/usr\", \".\"], write = [\"work\"]`, or \
                 `read = [\"/\"], write = [\"/\"]` for all of it",
        ));
    }
    kubernetes::refuse(
        host,
        (section, "sandbox"),
        &Refusal {
            span: Some(table.span()),
            problem: "is not for pods: the kernel of this machine would hold agents to it",
            help: "leave it out, and write in `[kubernetes]`, for example, `pod = { containers = [{ \
                   name = \"agent\", securityContext = { readOnlyRootFilesystem = true } }] }`",
        },
    );
    let here = host.strict && host.pods.is_none();
    if let Some(why) = host.enforceable.no_sandbox.as_ref().filter(|_| here) {
        let title = format!("`{}` cannot be enforced here: {why}", table.title());
        let help = "leave it out, or write `limits_mode = \"best-effort\"` in `[runner]` to run agents \
                    all the same";
        let label = "nothing would hold agents to it";
        table.sink.note(Mistake::at(table.span(), title).label(label).help(help));
    }
    both(section, Some(&table), no_new_privs);
    Some(sandbox)
}

fn check(table: &Section<'_>, (path, span): &Word) {
    let (problem, help) = if path.is_empty() {
        ("holds an empty path", "write `\".\"` for the working directory".to_owned())
    } else if path.starts_with('~') {
        ("holds a `~`, which only a shell fills in", "write the whole path".to_owned())
    } else if path.replace(PLACEHOLDER, "").contains(['{', '}']) {
        ("holds a brace that is no placeholder", format!("the only one here is `{PLACEHOLDER}`"))
    } else {
        return;
    };
    let title = format!("`{}` {problem}", table.title());
    table.sink.note(Mistake::at(span, title).help(help));
}

/// The kernel lets a process wall itself in only if nothing that it runs can gain privileges.
fn both(section: &Section<'_>, table: Option<&Section<'_>>, no_new_privs: &Found<bool>) {
    let (span, sandbox) = (no_new_privs.span(), table.map(Section::span));
    if let (false, false, Some(place)) =
        (no_new_privs.value, no_new_privs.is_wrong(), span.or(sandbox))
    {
        let title = format!("`{}` has a `sandbox` and `no_new_privs = false`", section.title());
        section.sink.note(
            Mistake::at(place, title)
                .label("what gains privileges could leave it")
                .related(sandbox.filter(|sandbox| *sandbox != place), "the sandbox")
                .help("leave out `no_new_privs`, or the `sandbox`"),
        );
    }
}

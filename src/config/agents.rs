//! The tables `[agents.<name>]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::keys::Table;
use super::kubernetes::{Pod, Refusal};
use super::limits::Host;
use super::mistakes::{Mistake, Span};
use super::reach::{self, Rule};
use super::section::{Fallback, Found, Section, Word};
use super::{command, confinement, kubernetes, rollout, settings};
use crate::plan::template::DEFAULT_TEMPLATE;
use crate::plan::{Confinement, Launch, Launcher, Matcher, RestartPolicy, RolloutPolicy, Template};

const MODULE: &str = "agents.random_agent";

/// What a template takes from `[runner]` where it says nothing itself.
pub(super) struct Inherited<'a> {
    pub(super) launcher: Launcher,
    pub(super) agents_dir: PathBuf,
    pub(super) restart: RestartPolicy,
    pub(super) grace: Duration,
    pub(super) confinement: Confinement,
    pub(super) rollout: RolloutPolicy,
    pub(super) faulthandler: bool,
    pub(super) pod: Pod,
    pub(super) host: Host<'a>,
}

/// The templates in file order; a `default` one if the file has no `[agents]` at all.
pub(super) fn templates(
    root: &Section<'_>,
    inherited: &Inherited<'_>,
    auto_discover: &Found<bool>,
) -> Vec<Arc<Template>> {
    let Some(sections) = root.children("agents", Table::Template) else {
        let implied = root.missing_child("agents", DEFAULT_TEMPLATE, Table::Template);
        return vec![Arc::new(template(DEFAULT_TEMPLATE, &implied, inherited, None))];
    };
    let mut templates = Vec::with_capacity(sections.len());
    let mut rules = Vec::new();
    for (name, section) in sections {
        let rule = matcher(&section);
        let template = template(&name, &section, inherited, rule.as_ref().map(|(m, _)| m.clone()));
        templates.push(Arc::new(template));
        if let Some((matcher, span)) = rule {
            rules.push(Rule { name: section.title().to_owned(), matcher, span });
        }
    }
    reach::check(&rules, auto_discover, root.sink);
    templates
}

fn template(
    name: &str,
    section: &Section<'_>,
    inherited: &Inherited<'_>,
    matcher: Option<Matcher>,
) -> Template {
    let grace = i64::try_from(inherited.grace.as_millis()).unwrap_or(i64::MAX);
    let confinement = confinement::read(section, &inherited.confinement, &inherited.host);
    let pod = kubernetes::template(section, &inherited.pod, (&confinement, &inherited.host));
    Template {
        name: name.to_owned(),
        launch: launch(section, inherited),
        args: plain(section.words("args", Some(&[]), &["--eat-probability", "0.1"]).value),
        env: env(section),
        cwd: cwd(section, inherited),
        matcher,
        restart: settings::restart(section, inherited.restart),
        grace: section.millis("shutdown_grace_ms", 0, grace).value,
        confinement,
        rollout: rollout::read(section, inherited.rollout),
        faulthandler: settings::faulthandler(section, inherited.faulthandler, &inherited.host),
        pod,
    }
}

/// Below the directory of agents; for pods a directory of their image, which has one of its own.
fn cwd(section: &Section<'_>, inherited: &Inherited<'_>) -> PathBuf {
    if inherited.host.pods.is_none() {
        let cwd = section.path("cwd", ".");
        return match cwd.span() {
            Some(_) => inherited.agents_dir.join(&cwd.value),
            None => inherited.agents_dir.clone(),
        };
    }
    let cwd = section.path("cwd", Fallback::nothing("/app"));
    let relative = !cwd.value.as_os_str().is_empty() && cwd.value.is_relative();
    let absolute = Path::new("/").join(cwd.value.strip_prefix(".").unwrap_or(&cwd.value));
    let absolute = absolute.to_string_lossy();
    let help = format!("write `cwd = {absolute:?}`, or leave it out for the image's own directory");
    let refusal = Refusal {
        span: cwd.span().filter(|_| relative),
        problem: "must be an absolute path for pods: it is one of their image",
        help: &help,
    };
    kubernetes::refuse(&inherited.host, (section, "cwd"), &refusal);
    cwd.holding().unwrap_or_default()
}

fn plain(words: Vec<Word>) -> Vec<String> {
    words.into_iter().map(|(word, _)| word).collect()
}

fn module_launch(module: &str, inherited: &Inherited<'_>) -> Launch {
    Launch::Module { launcher: inherited.launcher.clone(), module: module.to_owned() }
}

fn launch(section: &Section<'_>, inherited: &Inherited<'_>) -> Launch {
    let implied = (!section.exists()).then_some(MODULE);
    let module = section.text("module", Fallback { default: implied, example: MODULE });
    let argv = section.words("command", None, &["./agent", "--entity", "{entity_id}"]);
    match (section.key_span("module"), section.key_span("command")) {
        (Some(module), Some(command)) => {
            let (first, second) =
                if module.start < command.start { (module, command) } else { (command, module) };
            let title = format!("`{}` has both `module` and `command`", section.title());
            section.sink.note(
                Mistake::at(&second, title)
                    .label("and another one")
                    .related(Some(&first), "one program")
                    .help("leave out one of the two"),
            );
        }
        (None, None) if section.exists() => {
            let title = format!("`{}` has neither `module` nor `command`", section.title());
            section.sink.note_absence(
                Mistake::at(section.span(), title)
                    .label("no program to run")
                    .help(format!("write `module = {MODULE:?}`, or a `command`")),
            );
        }
        (None, None | Some(_)) | (Some(_), None) => {}
    }
    if let Some(span) = module.span() {
        check_module(section, &module.value, span);
    }
    if let Some(span) = argv.span() {
        command::check(section, &argv.value, span);
        return Launch::Command(plain(argv.value));
    }
    module_launch(&module.value, inherited)
}

fn check_module(section: &Section<'_>, module: &str, span: &Span) {
    // Python runs modules whose names no `import` could have, such as those with a dash.
    let part = |part: &str| {
        let allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        !part.is_empty() && part.chars().all(allowed)
    };
    let dotted = |name: &str| {
        let file = Path::new(name).extension().is_some_and(|extension| extension == "py");
        name.split('.').all(part) && !name.starts_with('-') && !file
    };
    if dotted(module) || module.contains('\0') {
        return;
    }
    let title = format!("`{}` must be the dotted name of a Python module", section.name("module"));
    let file = module.trim_start_matches("./");
    let path = file.strip_suffix(".py").unwrap_or(file).replace('/', ".");
    let example = if dotted(&path) { path } else { MODULE.to_owned() };
    section.sink.note(
        Mistake::at(span, title)
            .label("not a module's name")
            .help(format!("write `module = {example:?}`; for any other program, a `command`")),
    );
}

fn env(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for ((name, span), (value, _)) in section.pairs("env") {
        let wrong = match name.as_str() {
            "" => Some("is empty"),
            name if name.contains('=') => Some("holds a `=`"),
            name if name.contains('\0') => Some("holds a NUL character"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let title = format!("a name in `{}` {wrong}", section.name("env"));
            section.sink.note(
                Mistake::at(&span, title)
                    .label("no name of a variable")
                    .help("write `NAME = \"value\"`"),
            );
        }
        env.insert(name, value);
    }
    env
}

fn matcher(section: &Section<'_>) -> Option<(Matcher, Span)> {
    let span = section.key_span("match")?;
    let table = section.table("match", Table::Match);
    let types = table.words("types", None, &["forager"]);
    let tags = table.words("tags", Some(&[]), &["hungry"]);
    if let Some(span) = types.span().filter(|_| types.value.is_empty()) {
        let title = format!("`{}` is empty, so nothing can reach this match", table.name("types"));
        table.sink.note(
            Mistake::at(span, title)
                .label("no type at all")
                .help("write the types to serve, or leave out `types` to serve every type"),
        );
    }
    let wrong = types.is_wrong() || tags.is_wrong() || !table.exists();
    let set = |words| plain(words).into_iter().collect::<BTreeSet<String>>();
    let empty = types.span().is_some() && types.value.is_empty();
    // What is wrong already is not said to shadow others.
    let matcher = Matcher { types: set(types.value), tags: set(tags.value) };
    (!wrong && !empty).then_some((matcher, span))
}

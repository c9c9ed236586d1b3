//! What the world is shown and known by: `tls`, `token_file` and `insecure` of `[runner]`; and that
//! nobody on the way to it decides what runs here.

use std::path::{Path, PathBuf};

use super::keys::Table;
use super::mistakes::{Mistake, Span};
use super::section::{Fallback, Found, Section, Source};
use super::server::ServerName;
use crate::credentials::{CredentialError, Credentials, Identity, Tls, bearer};

/// As the section says, for this world. What the files hold is looked at if they are `here`, and not
/// kept.
pub(super) fn read(runner: &Section<'_>, server: &Found<ServerName>, here: bool) -> Credentials {
    let tls_span = runner.key_span("tls");
    let tls = tls(runner, tls_span.as_ref(), (&server.value, here));
    let token_file = runner.path("token_file", Fallback::nothing("token"));
    let insecure = runner.flag("insecure", false);
    let token_span = token_file.span().cloned();
    let is_named = !token_file.value.as_os_str().is_empty();
    if let Some(span) = token_span.as_ref().filter(|_| here && is_named) {
        note(runner, span, "token_file", bearer(&token_file.value).err());
    }
    let asked = Asked { tls: tls_span, token: token_span, insecure };
    if server.value == ServerName::Embedded {
        if server.span().is_some() {
            useless(runner, &asked);
        }
        return Credentials::default();
    }
    judge(runner, server, &asked);
    Credentials { tls, token_file: token_file.holding() }
}

/// What the file asks for.
struct Asked {
    tls: Option<Span>,
    token: Option<Span>,
    insecure: Found<bool>,
}

/// Nothing to be private from, and nobody to be known to.
fn useless(runner: &Section<'_>, asked: &Asked) {
    for (key, span) in [("tls", &asked.tls), ("token_file", &asked.token)] {
        if let Some(span) = span {
            let title = format!("`runner.{key}` is of no use: the world is embedded in the runner");
            let help = format!("leave out `{key}`, or write the address of a world as `server`");
            runner.sink.note(Mistake::at(span, title).label("nothing would use it").help(help));
        }
    }
}

/// Whether what is asked for is safe with this world.
fn judge(runner: &Section<'_>, server: &Found<ServerName>, asked: &Asked) {
    let insecure = asked.insecure.span().filter(|_| asked.insecure.value);
    if let (Some(tls), Some(insecure)) = (&asked.tls, insecure) {
        let title = "`runner.insecure` and `runner.tls` contradict each other";
        runner.sink.note(
            Mistake::at(insecure, title)
                .label("no TLS")
                .related(Some(tls), "TLS")
                .help("leave out one of the two: certificates are always checked"),
        );
    }
    if asked.tls.is_some() || server.value.is_here() || server.is_wrong() {
        return;
    }
    let world = &server.value;
    if let Some(token) = &asked.token {
        let title = format!("`runner.token_file`: the token would go to {world} in plain text");
        runner.sink.note(
            Mistake::at(token, title).label("anybody on the way could read it, and use it").help(
                "write `tls = {}` as well, or with the world's own `tls = { ca = \"ca.pem\" }`",
            ),
        );
    }
    if !asked.insecure.value && !asked.insecure.is_wrong() {
        plaintext(runner, server);
    }
}

fn plaintext(runner: &Section<'_>, server: &Found<ServerName>) {
    let (span, named) = match (server.span(), &server.source) {
        (Some(span), _) => (span.clone(), "runner.server"),
        (None, Source::Said) => {
            (runner.key_span("server").unwrap_or_else(|| runner.span().clone()), "--server")
        }
        (None, _) => (runner.span().clone(), "runner.server"),
    };
    let title = format!(
        "`{named}` is not on this machine ({}), and without TLS anybody on the way there reads and \
         changes who is in the world, and so decides which processes run here",
        server.value
    );
    runner.sink.note(Mistake::at(&span, title).label("in plain text").help(
        "write `tls = {}` below it, or, where the network itself is private, `insecure = true`",
    ));
}

fn tls(
    runner: &Section<'_>,
    span: Option<&Span>,
    (server, here): (&ServerName, bool),
) -> Option<Tls> {
    let section = runner.table("tls", Table::Tls);
    let file = |key, example: &'static str| section.path(key, Fallback::nothing(example));
    let (ca, cert, key) = (file("ca", "ca.pem"), file("cert", "cert.pem"), file("key", "key.pem"));
    let server_name = section.text("server_name", Fallback::nothing("world.example"));
    span?;
    for (given, other, missing) in [(&cert, &key, "key"), (&key, &cert, "cert")] {
        if let (Some(span), true) = (given.span(), other.source == Source::Nothing) {
            let present = if missing == "key" { "cert" } else { "key" };
            let title = format!("`{}` needs `{missing}` beside it", section.name(present));
            let help = format!("write `{missing} = \"{missing}.pem\"` as well, or leave out both");
            section.sink.note(Mistake::at(span, title).label("half of a pair").help(help));
        }
    }
    let pair = place(&cert).zip(place(&key));
    let whole = Tls {
        ca: place(&ca),
        identity: pair.map(|(cert, key)| Identity { cert, key }),
        server_name: server_name.span().map(|_| server_name.value.clone()),
    };
    if here {
        look_at(&section, &whole, [&ca, &cert, &key].map(Found::span));
    }
    if let (ServerName::Address(address), Err(_)) = (server, named(&whole, server)) {
        let place = server_name.span().or(span)?;
        let title = match server_name.span() {
            Some(_) => format!("`{}` is no name of a server", section.name("server_name")),
            None => format!("no certificate can have the name of {address}"),
        };
        let help = "write the name that is in the world's certificate, such as \
                    `server_name = \"world.example\"`";
        section.sink.note(Mistake::at(place, title).help(help));
    }
    Some(whole)
}

/// Notes what is wrong with the files: each by itself, so that each mistake has its place.
fn look_at(section: &Section<'_>, whole: &Tls, [ca, cert, key]: [Option<&Span>; 3]) {
    if let (Some(span), Some(ca)) = (ca, &whole.ca) {
        let alone = Tls { ca: Some(ca.clone()), ..Tls::default() };
        note(section, span, "ca", alone.client().err());
    }
    if let (Some(cert), Some(key), Some(identity)) = (cert, key, &whole.identity) {
        match identity.check() {
            Ok(()) => {}
            Err((about, error)) if about == identity.key => {
                note(section, key, "key", Some(error));
            }
            Err((_, error)) => note(section, cert, "cert", Some(error)),
        }
    }
}

fn named(tls: &Tls, server: &ServerName) -> Result<(), CredentialError> {
    tls.name_for(&server.to_string()).map(|_| ())
}

/// A path that was given, and is one.
fn place(found: &Found<PathBuf>) -> Option<PathBuf> {
    found.span()?;
    Some(found.value.clone()).filter(|path| path != Path::new(""))
}

fn note(section: &Section<'_>, span: &Span, key: &str, error: Option<CredentialError>) {
    if let Some(error) = error {
        let title = format!("`{}`: {}", section.name(key), error.problem());
        section.sink.note(Mistake::at(span, title).help(error.help()));
    }
}

//! TLS, tokens, and what must not go over a network in plain text.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::ServerName;
use crate::credentials::fixture::Authority;
use crate::credentials::{Credentials, Identity, Tls};

/// Files of every kind.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let authority = Authority::new();
        let (one, other) = (authority.issue("world"), authority.issue("other"));
        files.write("ca.pem", &authority.pem(), 0o644);
        files.write("cert.pem", &one.cert, 0o644);
        files.write("key.pem", &one.key, 0o600);
        files.write("other.key", &other.key, 0o600);
        files.write("open.key", &one.key, 0o644);
        files.write("token", "t0ken\n", 0o600);
        files.write("open-token", "t0ken\n", 0o644);
        files.write("no.pem", "nothing", 0o600);
        files
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `[runner]` with this, `@` being where the files are.
    fn file(&self, text: &str) -> String {
        format!("[runner]\n{}", text.replace('@', &format!("{}/", self.0.path().display())))
    }
}

const REMOTE: &str = "server = 'world.example:50051'";

#[test]
fn credentials_are_the_paths_that_the_file_names() {
    let files = Files::new();
    let file = files.file(
        "server = 'world.example:50051'\ntoken_file = '@token'\n\
         tls = { ca = '@ca.pem', cert = '@cert.pem', key = '@key.pem', server_name = 'w' }",
    );
    let identity = Identity { cert: files.path("cert.pem"), key: files.path("key.pem") };
    let tls = Tls {
        ca: Some(files.path("ca.pem")),
        identity: Some(identity),
        server_name: Some("w".to_owned()),
    };
    let token_file = Some(files.path("token"));
    let config = good(&file);
    assert_eq!(config.credentials, Credentials { tls: Some(tls), token_file });
    let shown = format!("{config:?}");
    assert!(!shown.contains("t0ken") && !shown.contains("PRIVATE"), "{shown}");
    let nothing = Credentials::default();
    assert_eq!(good("[runner]\ntls = {}").credentials.tls, Some(Tls::default()));
    assert_eq!(good("[runner]").credentials, nothing);
    // To this very machine a token may go as it is.
    assert!(good(&files.file("token_file = '@token'")).credentials.token_file.is_some());
}

#[test]
fn a_world_on_another_machine_needs_tls_or_a_word_that_it_does_not() {
    for here in ["localhost:1", "LOCALHOST:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "embedded"]
    {
        good(&format!("[runner]\nserver = '{here}'"));
    }
    for elsewhere in ["world:1", "10.0.0.1:1", "[fe80::1]:1", "0.0.0.0:1", "localhost.example:1"] {
        let file = format!("[runner]\nserver = '{elsewhere}'\n");
        let [mistake] = &brief(&file)[..] else { panic!("{elsewhere}: not one mistake") };
        assert!(mistake.starts_with("2:10: `runner.server` is not on this machine"), "{mistake}");
        assert!(mistake.contains("decides which processes run here"), "{mistake}");
        assert!(mistake.contains("write `tls = {}`"), "{mistake}");
        assert!(mistake.ends_with("`insecure = true`"), "{mistake}");
        good(&format!("{file}insecure = true"));
        good(&format!("{file}tls = {{}}"));
        assert_eq!(brief(&format!("{file}insecure = false")).len(), 1);
    }
}

#[test]
fn what_the_command_line_says_obeys_the_same_rule() {
    let said = |server: &str, text: &str| {
        let server: Option<ServerName> = Some(server.parse().unwrap());
        parse("test", text, &Overrides { server, ..Overrides::default() })
    };
    let refused = said("world:1", "[jit]\n[runner]\n").unwrap_err().to_string();
    assert!(
        refused.starts_with("test:2:2: `--server` is not on this machine (world:1)"),
        "{refused}"
    );
    let refused = said("world:1", "[runner]\nserver = 'localhost:1'").unwrap_err().to_string();
    assert!(refused.starts_with("test:2:1: `--server` is not"), "{refused}");
    said("world:1", "[runner]\ninsecure = true").unwrap();
    said("world:1", "[runner]\ntls = {}").unwrap();
    // A file for a world elsewhere may be tried with one here, which is what it was said to be.
    said("localhost:1", &format!("[runner]\n{REMOTE}")).unwrap();
    let embedded = said("embedded", &format!("[runner]\n{REMOTE}\ntls = {{}}")).unwrap();
    assert_eq!(embedded.credentials, Credentials::default());
}

#[test]
fn files_of_another_machine_are_not_looked_for() {
    let text = format!(
        "[runner]\n{REMOTE}\ntls = {{ ca = '/no/ca', cert = '/no/cert', key = '/no/key' }}\n\
         token_file = '/no/token'"
    );
    assert_eq!(brief(&text).len(), 3);
    let elsewhere = Overrides { elsewhere: true, ..Overrides::default() };
    let credentials = parse("test", &text, &elsewhere).unwrap().credentials;
    assert_eq!(credentials.token_file.as_deref(), Some(Path::new("/no/token")));
    assert_eq!(credentials.tls.unwrap().ca.as_deref(), Some(Path::new("/no/ca")));
    // What needs no file is.
    let half = format!("[runner]\n{REMOTE}\ntls = {{ cert = '/no/cert' }}");
    parse("test", &half, &elsewhere).unwrap_err();
}

#[test]
fn mistakes_about_credentials_have_their_places() {
    let files = Files::new();
    let tls = |inside: &str| format!("{REMOTE}\ntls = {{ {inside} }}");
    for (text, expected) in [
        (tls("cert = '@cert.pem'"), "`runner.tls.cert` needs `key` beside it"),
        (tls("key = '@key.pem'"), "`runner.tls.key` needs `cert` beside it"),
        (tls("ca = '@missing.pem'"), "`runner.tls.ca`: cannot read "),
        (tls("ca = '@no.pem'"), "holds no certificate in PEM form"),
        (tls("cert = '@no.pem', key = '@key.pem'"), "`runner.tls.cert`: "),
        (tls("cert = '@cert.pem', key = '@no.pem'"), "holds no private key in PEM form"),
        (tls("cert = '@cert.pem', key = '@other.key'"), "do not go together"),
        (tls("cert = '@cert.pem', key = '@open.key'"), "chmod 600 "),
        (tls("server_name = 'a b'"), "`runner.tls.server_name` is no name of a server"),
        (tls("cn = 'x'"), "unknown key `runner.tls.cn`"),
        (format!("{REMOTE}\ntls = {{}}\ninsecure = true"), "contradict each other"),
        (format!("{REMOTE}\ninsecure = true\ntoken_file = '@token'"), "in plain text"),
        ("token_file = '@open-token'".to_owned(), "may be read by every user of this machine"),
        ("token_file = '@missing'".to_owned(), "`runner.token_file`: cannot read "),
        ("server = 'embedded'\ntls = {}".to_owned(), "`runner.tls` is of no use"),
    ] {
        let mistakes = brief(&files.file(&text));
        let [mistake] = &mistakes[..] else { panic!("{text}: {mistakes:?}") };
        assert!(mistake.contains(expected), "{text}: {mistake}");
        assert!(mistake.contains("; "), "no help: {mistake}");
        assert!(!mistake.contains("t0ken"), "{mistake}");
    }
    // All at once.
    let many = tls("cert = '@cert.pem', ca = '@no.pem'") + "\ntoken_file = '@missing'";
    assert_eq!(brief(&files.file(&many)).len(), 3);
    assert!(Path::new(&files.path("token")).exists());
}

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::fixture::Authority;
use super::*;

fn written(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_token_is_what_the_file_holds_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "token", "s3cret-token\n", 0o600);
    let value = bearer(&file).unwrap();
    assert_eq!(value.to_str().unwrap(), "Bearer s3cret-token");
    assert!(!format!("{value:?}").contains("s3cret"), "{value:?}");
    fs::write(&file, "another").unwrap();
    assert_eq!(bearer(&file).unwrap().to_str().unwrap(), "Bearer another");
    for wrong in ["", " \n", "two words", "s3cret\nsecond line", "s3crét"] {
        fs::write(&file, wrong).unwrap();
        let error = format!("{0} {0:?}", bearer(&file).unwrap_err());
        assert!(error.contains("holds no token") && !error.contains("s3cr"), "{error}");
    }
    fs::write(&file, "x".repeat(9000)).unwrap();
    assert!(bearer(&file).unwrap_err().to_string().ends_with("larger than 8 KiB"));
}

#[test]
fn a_secret_that_others_may_read_is_refused_and_one_of_a_group_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), "token", "t", 0o640);
    bearer(&file).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let error = bearer(&file).unwrap_err();
    assert!(error.to_string().contains("every user of this machine (mode 0644)"), "{error}");
    assert!(error.help().contains(&format!("chmod 600 {}", file.display())), "{}", error.help());
    // As Kubernetes mounts one: a link to a link, in a directory that is sticky.
    let real = dir.path().join("..2026");
    fs::create_dir(&real).unwrap();
    written(&real, "token", "mounted", 0o440);
    std::os::unix::fs::symlink("..2026", dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/token", dir.path().join("link")).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(bearer(&dir.path().join("link")).unwrap().to_str().unwrap(), "Bearer mounted");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(bearer(&pipe).unwrap_err().to_string().ends_with("not a regular file"));
    assert!(bearer(dir.path()).unwrap_err().to_string().ends_with("not a regular file"));
}

#[test]
fn a_client_is_made_of_files_that_go_together_and_of_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = written(dir.path(), "ca.pem", &authority.pem(), 0o644);
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let cert = written(dir.path(), "cert.pem", &one.cert, 0o644);
    let key = written(dir.path(), "key.pem", &one.key, 0o600);
    let identity = Identity { cert, key };
    let tls = Tls { ca: Some(ca.clone()), identity: Some(identity.clone()), server_name: None };
    assert_eq!(tls.client().unwrap().alpn_protocols, [b"h2"]);
    identity.check().unwrap();

    fs::write(&identity.key, &other.key).unwrap();
    let (about, error) = identity.check().unwrap_err();
    assert_eq!(about, identity.key);
    assert!(error.to_string().contains("do not go together"), "{error}");
    assert!(tls.client().unwrap_err().to_string().contains("do not go together"));
    fs::write(&identity.key, &one.cert).unwrap();
    assert!(tls.client().unwrap_err().to_string().contains("holds no private key in PEM form"));
    fs::write(&ca, "no PEM").unwrap();
    assert!(tls.client().unwrap_err().to_string().contains("holds no certificate in PEM form"));
    fs::remove_file(&ca).unwrap();
    assert!(tls.client().unwrap_err().to_string().starts_with("cannot read "));
}

#[test]
fn the_name_is_that_of_the_address_unless_another_is_given() {
    let name = |tls: &Tls, server| tls.name_for(server).map(|name| name.to_str().into_owned());
    let tls = Tls::default();
    for (server, expected) in [
        ("world.example:1", "world.example"),
        ("10.0.0.1:1", "10.0.0.1"),
        ("[fe80::1]:1", "fe80::1"),
    ] {
        assert_eq!(name(&tls, server).unwrap(), expected);
    }
    let named = Tls { server_name: Some("other".to_owned()), ..Tls::default() };
    assert_eq!(name(&named, "10.0.0.1:1").unwrap(), "other");
    assert!(name(&Tls { server_name: Some("a b".to_owned()), ..named }, "x:1").is_err());
}

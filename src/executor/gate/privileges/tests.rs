use super::*;

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[test]
fn options_say_what_they_were_made_of() {
    let (uid, gid) = (Uid::from_raw(7), Gid::from_raw(8));
    for name in [None, Some(CString::new("a:b").unwrap())] {
        for no_new_privs in [false, true] {
            let account = Some(Account { uid, gid, name: name.clone() });
            for account in [None, account] {
                let nofile = no_new_privs.then_some(64);
                let read = vec![PathBuf::from("/a b"), "--write=x".into(), "".into()];
                let walls = no_new_privs.then(|| Walls { read, write: vec!["--".into()] });
                let privileges = Privileges { account, no_new_privs, nofile, walls };
                let mut args = privileges.options();
                let command = words(&["--", "--no-new-privs"]);
                args.extend(command.clone());
                assert_eq!(Privileges::parse(&args), Some((privileges, &command[..])));
            }
        }
    }
}

#[test]
fn options_that_are_not_ours_run_nothing() {
    for args in [
        &[][..],
        &["sh"],
        &["--as=", "--", "sh"],
        &["--as=1:x:", "--"],
        &["--what", "--"],
        &["--nofile=x", "--"],
        &["--read=/", "--", "sh"],
    ] {
        assert_eq!(Privileges::parse(&words(args)), None, "{args:?}");
    }
}

#[test]
fn a_path_that_is_not_there_is_refused_by_its_number_and_an_error_without_one_is_one_too() {
    use super::super::number_of;
    let walls = Walls { read: vec!["/no/such/place".into()], write: Vec::new() };
    if sandbox::missing().is_none() {
        let error = walls.build().err().unwrap();
        assert_eq!(number_of(&error), rustix::io::Errno::NOENT.raw_os_error());
    }
    assert_ne!(number_of(&io::Error::other("no number")), 0, "that would be success");
}

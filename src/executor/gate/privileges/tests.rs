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
                let privileges = Privileges { account, no_new_privs, nofile };
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
    ] {
        assert_eq!(Privileges::parse(&words(args)), None, "{args:?}");
    }
}

use std::process::{Child, Command};

use super::*;

fn sleeper() -> (Child, Pid) {
    let child = Command::new("sleep").arg("100").spawn().unwrap();
    let pid = Pid::from_child(&child);
    (child, pid)
}

fn finish(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_children_of_whoever_has_the_number_of_an_ended_member_are_strangers() {
    let (member, number) = sleeper();
    let pidfd = pidfd::open(number).unwrap();
    finish(member);
    // Our own child stands for that of the process whose number is the member's by now.
    let this = rustix::process::getpid();
    let (child, pid) = sleeper();
    let children = HashMap::from([(this.as_raw_nonzero().get(), vec![pid])]);
    let found = |pidfd| {
        let member = Member { pid: this, pidfd, tie: Tie::Marks };
        descendants(number, &[member], &[], &children).unwrap()
    };
    assert!(found(pidfd).is_empty());
    let found = found(pidfd::open(this).unwrap());
    assert_eq!(found.iter().map(|found| found.pid).collect::<Vec<_>>(), [pid]);
    finish(child);
}

#[test]
fn who_is_not_the_child_of_a_member_any_more_is_a_stranger() {
    let this = rustix::process::getpid();
    let (one, of_one) = sleeper();
    let (two, of_two) = sleeper();
    // As read a moment ago: the number of two was that of a child of one.
    let children = HashMap::from([(of_one.as_raw_nonzero().get(), vec![of_two])]);
    let member = Member { pid: of_one, pidfd: pidfd::open(of_one).unwrap(), tie: Tie::Marks };
    assert!(descendants(this, &[member], &[], &children).unwrap().is_empty());
    finish(one);
    finish(two);
}

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use super::*;
use crate::executor::misbehave::{eventually, misbehave};

fn led_by(args: &[&str]) -> (Child, Pid) {
    let leader = Command::new(misbehave()).args(args).process_group(0).spawn().unwrap();
    let pid = Pid::from_raw(leader.id().try_into().unwrap()).unwrap();
    (leader, pid)
}

fn finish(mut leader: Child) {
    leader.kill().unwrap();
    leader.wait().unwrap();
}

fn how_many(leader: Pid) -> usize {
    look(&HashMap::from([(leader, Signs::default())])).unwrap().get(&leader).map_or(0, Vec::len)
}

#[test]
fn members_are_all_but_the_leader() {
    let (leader, pid) = led_by(&["--fork", "3"]);
    eventually("three members", || how_many(pid) == 3);
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
    eventually("no members", || how_many(pid) == 0);
    finish(leader);
}

#[test]
fn one_look_tells_groups_apart() {
    let (one, one_pid) = led_by(&["--fork", "1", "--grandchild-exit-after-ms", "60000"]);
    let (two, two_pid) = led_by(&["--fork", "2"]);
    eventually("both", || {
        let found =
            look(&HashMap::from([(one_pid, Signs::default()), (two_pid, Signs::default())]))
                .unwrap();
        let count = |leader| found.get(&leader).map_or(0, Vec::len);
        count(one_pid) == 1 && count(two_pid) == 2
    });
    for (leader, pid) in [(one, one_pid), (two, two_pid)] {
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
        finish(leader);
    }
}

#[test]
fn a_zombie_that_nobody_reaps_has_ended() {
    let temp = tempfile::tempdir().unwrap();
    let touched = temp.path().join("touched");
    let touch = touched.to_str().unwrap();
    let (leader, pid) =
        led_by(&["--fork", "1", "--grandchild-touch", touch, "--grandchild-exit-after-ms", "0"]);
    eventually("a member", || touched.exists());
    eventually("no member", || how_many(pid) == 0);
    let line = fs::read_to_string(&touched).unwrap();
    let zombie = line.split_whitespace().next().unwrap();
    assert!(fs::exists(format!("/proc/{zombie}")).unwrap(), "it was to stay a zombie");
    finish(leader);
}

#[test]
fn the_child_of_a_member_is_one_wherever_it_went() {
    let temp = tempfile::tempdir().unwrap();
    let touched = temp.path().join("touched");
    let touch = touched.to_str().unwrap();
    // Its own marks are not looked for.
    let nested = ["--fork", "1", "--grandchild-setsid-child"];
    let (leader, pid) = led_by(&[&nested[..], &["--grandchild-touch", touch]].concat());
    eventually("a member", || touched.exists());
    eventually("a member and its child", || how_many(pid) == 2);
    let found = look(&HashMap::from([(pid, Signs::default())])).unwrap().remove(&pid).unwrap();
    let mut ties: Vec<_> = found.iter().map(|member| member.tie).collect();
    ties.sort_by_key(|tie| *tie != Tie::Group);
    assert_eq!(ties, [Tie::Group, Tie::Parent]);
    for member in found {
        rustix::process::pidfd_send_signal(member.pidfd, rustix::process::Signal::KILL).unwrap();
    }
    finish(leader);
}

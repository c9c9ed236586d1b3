//! What would hold agents and their limits, and how their ends are seen.

use std::collections::BTreeSet;
use std::process;

use super::Check;
use crate::cli::begun::births;
use crate::cli::file::Loaded;
use crate::cli::limits::{walled, wanted};
use crate::cli::settings::containment;
use crate::executor::gate::{self, Births};
use crate::executor::local::trial;
use crate::executor::{Containment, Hold, Trees};
use crate::plan::{Enforceable, Limit};

pub(super) fn checks(loaded: Option<Loaded>) -> Vec<Check> {
    let births = births();
    let walled = loaded.as_ref().is_some_and(|loaded| walled(&loaded.config));
    let mut checks = vec![pidfd(&births), subreaper(), sandbox(walled)];
    let asked = loaded.as_ref().map(|loaded| containment(loaded.config.containment));
    let wanted = loaded.as_ref().map(|loaded| wanted(&loaded.config)).unwrap_or_default();
    // Nobody's agents, so that no runner is disturbed.
    let instance = format!("process {}", process::id());
    match Trees::probe_for(&instance, asked.unwrap_or_default(), &births, &wanted) {
        Ok(trees) => {
            trees.close();
            checks.push(tier(&trees.held_by(), asked.unwrap_or_default()));
            checks.extend(limits(&trees.enforceable(), &wanted, loaded));
        }
        Err(why) => checks.push(
            Check::missing("containment", why.to_string(), "a runner with this configuration refuses to start")
                .help("write `containment = \"auto\"` in [runner], or give it what it lacks (`Delegate=yes` in a systemd unit)"),
        ),
    }
    checks
}

fn pidfd(births: &Births) -> Check {
    const NAME: &str = "pidfd";
    match trial::pidfds(births) {
        Ok(true) => Check::ok(
            NAME,
            "a process was killed by one, and its exit told",
            "no signal can reach a stranger, and exits of agents that were taken up are known",
        ),
        Ok(false) => Check::degraded(
            NAME,
            "a process was killed by one, but its exit is not told to others than its parent",
            "how an agent ended that another runner had started may be told as unknown",
        )
        .help("run Linux 6.15 or later"),
        Err(error) => Check::missing(NAME, error.to_string(), "no agent can be started or ended")
            .help("run Linux 5.4 or later, and let the container's seccomp filter pass pidfd_open and pidfd_send_signal"),
    }
}

fn subreaper() -> Check {
    const NAME: &str = "subreaper";
    match trial::subreaper() {
        Ok(()) => {
            Check::ok(NAME, "orphans come to this process", "what agents leave behind is reaped")
        }
        Err(error) => Check::degraded(
            NAME,
            error.to_string(),
            "what agents leave behind is left to another process to reap",
        )
        .help("let the container's seccomp filter pass prctl(PR_SET_CHILD_SUBREAPER)"),
    }
}

/// One that a configuration can do without is not asked for here: `limits` below refuses it.
fn sandbox(wanted: bool) -> Check {
    const NAME: &str = "sandbox";
    match (gate::sandbox::missing(), gate::sandbox::holds_signals()) {
        (None, true) => Check::ok(
            NAME,
            "Landlock holds files and signals",
            "agents of templates with `sandbox` use the files that it names, and signal nobody else",
        ),
        (None, false) if !wanted => {
            Check::ok(NAME, "Landlock holds files", "agents in a `sandbox` may signal others")
        }
        (None, false) => Check::degraded(
            NAME,
            "Landlock holds files, but not signals",
            "agents in a `sandbox` may signal other processes of their user",
        )
        .help("run Linux 6.12 or later, or give agents a `user` of their own"),
        (Some(why), _) => Check::degraded(
            NAME,
            why,
            "`sandbox` of a template is refused, or not enforced with `limits_mode = \"best-effort\"`",
        )
        .help("run Linux 6.2 or later with `landlock` among the security modules (`lsm=`)"),
    }
}

fn tier(hold: &Hold, asked: Containment) -> Check {
    const NAME: &str = "containment";
    match hold {
        Hold::Cgroup(home) => Check::ok(
            NAME,
            // The directory of the trial says nothing.
            format!("cgroups, in {}", home.parent().unwrap_or(home).display()),
            "all processes of an agent end with it, wherever they went",
        ),
        Hold::PidNamespace => Check::ok(
            NAME,
            "PID namespaces",
            "all processes of an agent end with it; no limits of memory, cpu or pids",
        ),
        Hold::ProcessGroup(reason) => {
            let found = format!("process groups: {reason}");
            let escape = "a process of an agent escapes its end that clears its environment, leaves its group, and whose parent has ended";
            if asked == Containment::ProcessGroup {
                Check::ok(NAME, found, escape)
            } else {
                Check::degraded(NAME, found, escape).help(
                    "run it as root, under systemd with `Delegate=yes`, or in a container that may write its cgroup (v2); or try `containment = \"pid-namespace\"` in [runner]",
                )
            }
        }
    }
}

/// Limits that a configuration wants are needed, unless it says that they are not.
fn limits(
    enforceable: &Enforceable,
    wanted: &BTreeSet<Limit>,
    loaded: Option<Loaded>,
) -> Vec<Check> {
    let refused = loaded.and_then(|mut loaded| {
        loaded.overrides.enforceable = enforceable.clone();
        loaded.check_again().err()
    });
    let mut checks: Vec<_> = Limit::ALL
        .into_iter()
        .map(|limit| {
            let needed = refused.is_some() && wanted.contains(&limit);
            let missing = enforceable.missing.get(&limit);
            of_limit(limit, missing.map(String::as_str)).unless_needed(needed)
        })
        .collect();
    if let Some(error) = refused {
        let means = "a runner with this configuration refuses to start on this host";
        checks.push(
            Check::missing("configuration", error.to_string(), means)
                .help("`runner validate` shows the places in the file"),
        );
    }
    checks
}

fn of_limit(limit: Limit, missing: Option<&str>) -> Check {
    let name = match limit {
        Limit::Memory => "limit memory",
        Limit::Cpu => "limit cpu",
        Limit::Pids => "limit pids",
    };
    match missing {
        None => Check::ok(name, "a cgroup took one", "the kernel can hold agents to it"),
        Some(why) => Check::degraded(
            name,
            why,
            format!("`limits.{}` of a template is refused, or not enforced with `limits_mode = \"best-effort\"`", limit.name()),
        )
        .help("see containment; below it, the cgroup above must hand on this controller (`cgroup.subtree_control`)"),
    }
}

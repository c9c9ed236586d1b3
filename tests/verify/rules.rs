//! Configurations with short times, so that a few steps of a second reach all that follows from
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use runner::plan::{
    Backoff, Confinement, Jit, Launch, LeaseHealth, MaxUnavailable, Removal, RestartPolicy,
    RolloutPolicy, Rules, Site, Spawn, Template,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn site() -> Site {
    Site { server: "world:1".to_owned(), runner: "runner".to_owned() }
}

/// A template whose agents differ by this version.
pub(crate) fn template(name: &str, version: usize) -> Template {
    Template {
        name: name.to_owned(),
        launch: Launch::Command(vec!["agent".to_owned()]),
        args: vec![version.to_string()],
        env: BTreeMap::new(),
        cwd: ".".into(),
        matcher: None,
        restart: RestartPolicy::OnFailure,
        grace: seconds(1),
        confinement: Confinement::default(),
        rollout: RolloutPolicy { min_ready: seconds(1), ..RolloutPolicy::default() },
        faulthandler: false,
        pod: None,
    }
}

pub(crate) fn rules(templates: impl IntoIterator<Item = Template>) -> Rules {
    Rules {
        templates: templates.into_iter().map(Into::into).collect(),
        auto_discover: true,
        jit: Jit { enabled: true, template: "default".to_owned() },
        backoff: Backoff {
            initial: seconds(1),
            max: seconds(2),
            multiplier: 2.0,
            max_attempts: 2,
            reset: seconds(5),
        },
        lease_health: None,
        max_agents: 10,
        spawn: Spawn::UNBOUNDED,
        removal: Removal { confirmations: 2, hold_fraction: 0.5, hold: seconds(3) },
    }
}

/// Some configuration, the same for the same bits.
pub(crate) fn arbitrary(bits: u32) -> Rules {
    let bit = |at: u32| bits >> at & 1 == 1;
    let version = (bits & 3) as usize;
    let mut default = template("default", version);
    default.restart = match bits >> 2 & 7 {
        0 => RestartPolicy::Never,
        1 => RestartPolicy::Always,
        _ => RestartPolicy::OnFailure,
    };
    default.rollout.pause_on_failure = bit(5);
    default.rollout.max_unavailable = bit(6).then_some(MaxUnavailable::Count(1));
    let named = bit(7).then(|| template("e0", version));
    let rules = rules([default].into_iter().chain(named));
    Rules {
        max_agents: if bits >> 8 & 3 == 3 { 2 } else { 10 },
        auto_discover: bits >> 10 & 7 != 7,
        jit: Jit { enabled: bits >> 13 & 7 != 7, ..rules.jit },
        lease_health: bit(16).then_some(LeaseHealth { grace: seconds(10) }),
        spawn: if bit(17) { Spawn { max_parallel: 1, per_second: 2 } } else { Spawn::UNBOUNDED },
        ..rules
    }
}

//! The tables of the file and the keys that each may hold.

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Root,
    Runner,
    Template,
    Match,
    Limits,
    Rollout,
    Jit,
    Health,
    Discovery,
    Logs,
    Events,
    Metrics,
    Hooks,
    Spawn,
    World,
    Entity,
    Object,
}

impl Table {
    pub(super) const ALL: [Self; 17] = [
        Self::Root,
        Self::Runner,
        Self::Template,
        Self::Match,
        Self::Limits,
        Self::Rollout,
        Self::Jit,
        Self::Health,
        Self::Discovery,
        Self::Logs,
        Self::Events,
        Self::Metrics,
        Self::Hooks,
        Self::Spawn,
        Self::World,
        Self::Entity,
        Self::Object,
    ];

    /// The keys that the table may hold.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[
                "runner",
                "agents",
                "jit",
                "health",
                "discovery",
                "logs",
                "events",
                "metrics",
                "hooks",
                "spawn",
                "world",
                "entities",
                "objects",
            ],
            Self::Runner => &[
                "name",
                "server",
                "auto_discover",
                "log_dir",
                "state_dir",
                "on_exit",
                "containment",
                "agents_dir",
                "launcher",
                "max_restart_attempts",
                "initial_backoff_ms",
                "max_backoff_ms",
                "backoff_multiplier",
                "backoff_reset_ms",
                "shutdown_grace_ms",
                "restart",
                "max_agents",
                "connection_timeout_ms",
                "env_inherit",
                "user",
                "group",
                "no_new_privs",
                "limits",
                "limits_mode",
                "rollout",
                "faulthandler",
            ],
            Self::Template => &[
                "module",
                "command",
                "args",
                "env",
                "match",
                "cwd",
                "restart",
                "shutdown_grace_ms",
                "env_inherit",
                "user",
                "group",
                "no_new_privs",
                "limits",
                "rollout",
                "faulthandler",
            ],
            Self::Match => &["types", "tags"],
            Self::Limits => &["memory", "cpu", "pids", "nofile"],
            Self::Rollout => &["max_unavailable", "min_ready_ms", "pause_on_failure"],
            Self::Jit => &["enabled", "template", "watch_interval_ms"],
            Self::Health => &["lease", "lease_grace_ms"],
            Self::Discovery => &["timeout_ms", "removal_confirmations", "hold_fraction", "hold_ms"],
            Self::Logs => &["max_bytes", "keep", "max_total_bytes"],
            Self::Events => &["max_bytes"],
            Self::Metrics => &["listen"],
            Self::Hooks => &["on_event", "kinds", "timeout_ms"],
            Self::Spawn => &["max_parallel", "per_second"],
            Self::World => &["width", "height", "tick_duration_ms"],
            Self::Entity => {
                &["id", "type", "x", "y", "tags", "arrives_after_ms", "leaves_after_ms"]
            }
            Self::Object => &["id", "type", "x", "y", "has_berry"],
        }
    }

    /// The table's header, as it stands in the file.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Root => "the top of the file",
            Self::Runner => "[runner]",
            Self::Template => "[agents.<name>]",
            Self::Match => "match = { ... }",
            Self::Limits => "limits = { ... }",
            Self::Rollout => "rollout = { ... }",
            Self::Jit => "[jit]",
            Self::Health => "[health]",
            Self::Discovery => "[discovery]",
            Self::Logs => "[logs]",
            Self::Events => "[events]",
            Self::Metrics => "[metrics]",
            Self::Hooks => "[hooks]",
            Self::Spawn => "[spawn]",
            Self::World => "[world]",
            Self::Entity => "[[entities]]",
            Self::Object => "[[objects]]",
        }
    }

    /// Another table in which `key` would be known.
    pub(super) fn home_of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.keys().contains(&key))
    }
}

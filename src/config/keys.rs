//! The tables of the file and the keys that each may hold.

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Root,
    Runner,
    Template,
    Tls,
    Match,
    Limits,
    Sandbox,
    Rollout,
    Kubernetes,
    Pod,
    Resources,
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

/// The keys of `[kubernetes]`: those of the cluster, and after them those of pods.
const KUBERNETES: [&str; 16] = [
    "context",
    "namespace",
    "qps",
    "burst",
    "image",
    "image_pull_policy",
    "image_pull_secrets",
    "service_account",
    "resources",
    "node_selector",
    "tolerations",
    "affinity",
    "labels",
    "annotations",
    "env_from",
    "pod",
];

/// How many of them are the cluster's.
const OF_CLUSTER: usize = 4;

impl Table {
    pub(super) const ALL: [Self; 22] = [
        Self::Root,
        Self::Runner,
        Self::Template,
        Self::Tls,
        Self::Match,
        Self::Limits,
        Self::Sandbox,
        Self::Rollout,
        Self::Kubernetes,
        Self::Pod,
        Self::Resources,
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
                "kubernetes",
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
                "tls",
                "token_file",
                "insecure",
                "auto_discover",
                "log_dir",
                "state_dir",
                "on_exit",
                "executor",
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
                "sandbox",
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
                "sandbox",
                "rollout",
                "kubernetes",
                "faulthandler",
            ],
            Self::Tls => &["ca", "cert", "key", "server_name"],
            Self::Match => &["types", "tags"],
            Self::Limits => &["memory", "cpu", "pids", "nofile"],
            Self::Sandbox => &["read", "write"],
            Self::Rollout => &["max_unavailable", "min_ready_ms", "pause_on_failure"],
            Self::Kubernetes => &KUBERNETES,
            Self::Pod => KUBERNETES.split_at(OF_CLUSTER).1,
            Self::Resources => &["requests", "limits"],
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
            Self::Tls => "tls = { ... }",
            Self::Match => "match = { ... }",
            Self::Limits => "limits = { ... }",
            Self::Sandbox => "sandbox = { ... }",
            Self::Rollout => "rollout = { ... }",
            Self::Kubernetes => "[kubernetes]",
            Self::Pod => "[agents.<name>.kubernetes]",
            Self::Resources => "resources = { ... }",
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

//! The cluster that agents would be in.

use super::Check;
use crate::cli::cluster::access;
use crate::config::{Config, ExecutorKind};
use crate::executor::kubernetes::{Survey, survey};

/// Nothing, where agents are processes.
pub(super) async fn checks(config: Option<&Config>, instance: &str) -> Vec<Check> {
    const NAME: &str = "cluster";
    let Some(ExecutorKind::Kubernetes(settings)) = config.map(|config| &config.executor) else {
        return Vec::new();
    };
    match survey(&access(settings), instance).await {
        Ok(survey) => vec![usable(NAME, &survey), measured(&survey)],
        Err(error) => {
            let means = "no agent can be started before that is right; those that run are left as \
                         they are";
            let help = "name a context that `kubectl config get-contexts` shows, or another file \
                        by KUBECONFIG; a namespace is made by `kubectl create namespace`";
            vec![Check::missing(NAME, error.to_string(), means).help(help)]
        }
    }
}

fn usable(name: &'static str, survey: &Survey) -> Check {
    let Survey { version, namespace, refused, spared, .. } = survey;
    let found = format!("{version}, namespace {namespace}");
    let help = "have it granted; `runner export kubernetes` prints a Role with all of it";
    if !refused.is_empty() {
        let found = format!("{found}; it refuses: {}", refused.join(", "));
        return Check::missing(name, found, "agents cannot be looked after there").help(help);
    }
    if !spared.is_empty() {
        let found = format!("{found}; it refuses: {}", spared.join(", "));
        let means = "logs, or CPU and memory, of agents cannot be shown";
        return Check::degraded(name, found, means).help(help);
    }
    Check::ok(name, found, "agents can be looked after there")
}

fn measured(survey: &Survey) -> Check {
    const NAME: &str = "pod metrics";
    match &survey.unmeasured {
        None => Check::ok(NAME, "metrics.k8s.io", "`top` shows what agents take"),
        Some(why) => {
            let means = "`top`, `describe` and `get -o wide` show no CPU and no memory";
            Check::degraded(NAME, why.to_string(), means)
                .help("install metrics-server (https://github.com/kubernetes-sigs/metrics-server)")
        }
    }
}

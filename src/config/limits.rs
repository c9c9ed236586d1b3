//! How much of the machine an agent may take: `limits` of `[runner]`, or a template's own in their
//! place; and whether that can be enforced where the agents run.

use std::ops::RangeInclusive;

use super::keys::Table;
use super::kubernetes::{self, Refusal};
use super::mistakes::{Mistake, Span};
use super::section::{Fallback, Section};
use crate::plan::{Enforceable, Limit, Limits};

/// No program begins with less. Whoever writes less has forgotten the unit.
const LEAST_MEMORY: u64 = 1 << 20;
/// From as little as the kernel can measure out, to more than any machine has.
const CPUS: RangeInclusive<f64> = 0.01..=4096.0;
/// The kernel's own limit for a whole machine.
const MOST_PIDS: i64 = 1 << 22;
/// What a program needs to begin with.
const LEAST_FILES: i64 = 16;

/// Where limits have to be enforced.
pub(super) struct Host<'a> {
    /// What can be, there.
    pub(super) enforceable: &'a Enforceable,
    /// Whether no agent may run without what cannot be.
    pub(super) strict: bool,
    /// Where the file says that agents are pods, and another machine's; none: they are not.
    pub(super) pods: Option<Span>,
}

/// `runner.limits_mode`: whether it is strict.
pub(super) fn strict(runner: &Section<'_>) -> bool {
    runner.choice("limits_mode", &[("strict", true), ("best-effort", false)], true).value
}

/// The section's limits; if it says nothing of them, `default`.
pub(super) fn read(section: &Section<'_>, default: &Limits, host: &Host<'_>) -> Limits {
    let table = section.table("limits", Table::Limits);
    // Some of them stand in place of all that would be taken over.
    let taken_over = if table.exists() { Limits::default() } else { *default };
    let Limits { memory, cpu, pids, nofile } = taken_over;
    let memory = table.bytes("memory", Fallback { default: memory, example: 512 << 20 });
    if let Some(span) = memory.span().filter(|_| memory.value < LEAST_MEMORY) {
        let title = format!("`{}` is less than any program needs", table.name("memory"));
        let help = "write it with a unit, such as `memory = \"512MiB\"`";
        table.sink.note(Mistake::at(span, title).label("less than 1MiB").help(help));
    }
    let cpu = cpu.map(|thousandths| f64::from(thousandths) / 1000.0);
    let cpu = table.number("cpu", f64::MIN..=f64::MAX, Fallback { default: cpu, example: 0.5 });
    if let Some(span) = cpu.span().filter(|_| !CPUS.contains(&cpu.value)) {
        let (least, most) = (CPUS.start(), CPUS.end());
        let title = format!("`{}` must be between {least} and {most}", table.name("cpu"));
        let help = "write how many processors it may use, such as `cpu = 0.5`";
        table.sink.note(Mistake::at(span, title).label("not between them").help(help));
    }
    let pids = Fallback { default: pids.map(i64::from), example: 64 };
    let pids = table.whole("pids", 1..=MOST_PIDS, pids);
    let nofile = nofile.and_then(|nofile| i64::try_from(nofile).ok());
    let nofile = Fallback { default: nofile, example: 1024 };
    let nofile = table.whole("nofile", LEAST_FILES..=i64::MAX, nofile);
    for (limit, span) in
        [(Limit::Memory, memory.span()), (Limit::Cpu, cpu.span()), (Limit::Pids, pids.span())]
    {
        let here = host.strict && host.pods.is_none();
        let missing = host.enforceable.missing.get(&limit).filter(|_| here);
        if let Some((span, why)) = span.zip(missing) {
            unenforceable(&table, (limit, span), why);
        }
    }
    let most_files = host.enforceable.most_files;
    let too_many = host.pods.is_none() && nofile.value.unsigned_abs() > most_files;
    if let Some(span) = nofile.span().filter(|_| too_many) {
        let title = format!("`{}` is more than the runner may allow", table.name("nofile"));
        let help = format!("write `nofile = {most_files}` or less");
        table.sink.note(Mistake::at(span, title).label("more than that").help(help));
    }
    let in_pods = [
        (
            "pids",
            pids.span(),
            "is no limit of a pod: Kubernetes knows it of nodes only",
            "leave out `pids`, or have `podPidsLimit` in the configuration of the kubelets",
        ),
        (
            "nofile",
            nofile.span(),
            "is no limit of a pod: Kubernetes does not know it",
            "leave out `nofile`, or have the program in the image say `ulimit -n`",
        ),
    ];
    for (key, span, problem, help) in in_pods {
        kubernetes::refuse(host, (&table, key), &Refusal { span, problem, help });
    }
    Limits {
        memory: memory.holding(),
        cpu: cpu.holding().map(thousandths),
        pids: pids.holding().and_then(|pids| u32::try_from(pids).ok()),
        nofile: nofile.holding().map(i64::unsigned_abs),
    }
}

fn unenforceable(table: &Section<'_>, (limit, span): (Limit, &Span), why: &str) {
    let key = limit.name();
    let title = format!("`{}` cannot be enforced here: {why}", table.name(key));
    let help = format!(
        "leave out `{key}`, or write `limits_mode = \"best-effort\"` in `[runner]` to run agents all the same"
    );
    table.sink.note(Mistake::at(span, title).label("nothing would hold agents to it").help(help));
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within CPUS, or refused"
)]
fn thousandths(cpu: f64) -> u32 {
    (cpu * 1000.0).round() as u32
}

//! Some runners, one lease, and a cluster that is slow and forgetful: never do two act at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Answer, Call, DURATION, Elector, Lease, Standing};
use crate::plan::Time;

const RUNNERS: usize = 3;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many milliseconds pass.
    Pass(u64),
    /// A runner does what it has to do, unless it is stopped.
    Act(usize),
    /// What a runner asked for is done by the cluster.
    Serve(usize),
    /// The answer comes.
    Answer(usize),
    /// A runner waits for the answer no longer. What it asked for may be done later all the same.
    GiveUp(usize),
    /// The cluster does what nobody waits for any more.
    ServeLate(usize),
    /// A runner is shown what the lease was some versions ago.
    Show(usize, usize),
    /// A runner dies, and another one begins with the same state, or with none.
    Anew(usize, bool),
}

#[derive(Default)]
struct Cluster {
    versions: Vec<Lease>,
}

impl Cluster {
    fn serve(&mut self, me: &str, call: &Call) -> Answer {
        let now = self.versions.last();
        match call {
            Call::Look => now.cloned().map_or(Answer::None, Answer::Lease),
            Call::Write { over, transitions, .. } => {
                if *over != now.map(|lease| lease.version.clone()) {
                    return Answer::Conflict;
                }
                let lease = Lease {
                    holder: Some(me.to_owned()),
                    duration: DURATION,
                    transitions: *transitions,
                    version: self.versions.len().to_string(),
                };
                self.versions.push(lease.clone());
                Answer::Lease(lease)
            }
        }
    }
}

struct Runner {
    me: String,
    elector: Elector,
    call: Option<Call>,
    served: Option<Answer>,
    given_up: Vec<Call>,
}

impl Runner {
    fn new(me: String) -> Self {
        Self {
            elector: Elector::new(me.clone()),
            me,
            call: None,
            served: None,
            given_up: Vec::new(),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let runner = 0..RUNNERS;
    let step = prop_oneof![
        4 => prop_oneof![1_u64..500, 500_u64..12_000].prop_map(Step::Pass),
        6 => runner.clone().prop_map(Step::Act),
        6 => runner.clone().prop_map(Step::Serve),
        6 => runner.clone().prop_map(Step::Answer),
        1 => runner.clone().prop_map(Step::GiveUp),
        1 => runner.clone().prop_map(Step::ServeLate),
        3 => (runner.clone(), 0_usize..3).prop_map(|(it, behind)| Step::Show(it, behind)),
        1 => (runner, any::<bool>()).prop_map(|(it, same)| Step::Anew(it, same)),
    ];
    prop::collection::vec(step, 1..400)
}

/// Who may act, by their own clocks.
fn acting(runners: &[Runner], now: Time) -> Vec<&str> {
    let acts = |runner: &&Runner| runner.elector.acts_until() > now;
    runners.iter().filter(acts).map(|runner| runner.me.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_do_two_act_and_in_calm_one_does(steps in steps()) {
        let mut cluster = Cluster::default();
        let mut runners: Vec<Runner> = (0..RUNNERS).map(|it| Runner::new(it.to_string())).collect();
        let mut millis = 1;
        let mut born = RUNNERS;
        for step in steps {
            let now = Time::from_millis(millis);
            match step {
                Step::Pass(passed) => millis += passed,
                Step::Act(it) => {
                    let runner = &mut runners[it];
                    if let Some(call) = runner.elector.call(now) {
                        runner.call = Some(call);
                    }
                }
                Step::Serve(it) => {
                    let runner = &mut runners[it];
                    if let Some(call) = runner.call.take() {
                        runner.served = Some(cluster.serve(&runner.me, &call));
                    }
                }
                Step::Answer(it) => {
                    let runner = &mut runners[it];
                    if let Some(answer) = runner.served.take() {
                        runner.elector.answered(answer, now);
                    }
                }
                Step::GiveUp(it) => {
                    let runner = &mut runners[it];
                    runner.served = None;
                    runner.given_up.extend(runner.call.take());
                    runner.elector.answered(Answer::Unknown, now);
                }
                Step::ServeLate(it) => {
                    let runner = &mut runners[it];
                    if let Some(call) = runner.given_up.pop() {
                        cluster.serve(&runner.me, &call);
                    }
                }
                Step::Show(it, behind) => {
                    let at = cluster.versions.len().checked_sub(behind + 1);
                    let lease = at.map(|at| cluster.versions[at].clone());
                    runners[it].elector.shown(lease, now);
                }
                Step::Anew(it, same) => {
                    let me = if same { runners[it].me.clone() } else { born.to_string() };
                    born += 1;
                    runners[it] = Runner::new(me);
                }
            }
            let acting = acting(&runners, Time::from_millis(millis));
            prop_assert!(acting.len() <= 1, "{acting:?} act at once");
        }
        calm(&mut cluster, &mut runners, &mut millis)?;
    }
}

/// All is answered at once, and those who were ousted begin anew.
fn calm(
    cluster: &mut Cluster,
    runners: &mut [Runner],
    millis: &mut u64,
) -> Result<(), TestCaseError> {
    for runner in runners.iter_mut() {
        runner.call = None;
        runner.served = None;
        runner.elector.answered(Answer::Unknown, Time::from_millis(*millis));
    }
    let mut leads: BTreeMap<String, u64> = BTreeMap::new();
    let until = *millis + 60_000;
    while *millis < until {
        *millis += 100;
        let now = Time::from_millis(*millis);
        for runner in runners.iter_mut() {
            if runner.elector.standing() == Standing::Ousted {
                *runner = Runner::new(runner.me.clone());
            }
            while let Some(call) = runner.elector.call(now) {
                let answer = cluster.serve(&runner.me, &call);
                runner.elector.answered(answer, now);
            }
            runner.elector.shown(cluster.versions.last().cloned(), now);
        }
        let acting = acting(runners, now);
        prop_assert!(acting.len() <= 1, "{acting:?} act at once");
        if *millis > until - 30_000 {
            for me in acting {
                *leads.entry(me.to_owned()).or_default() += 1;
            }
        }
    }
    prop_assert_eq!(leads.into_values().collect::<Vec<_>>(), [300], "one leads, and goes on");
    Ok(())
}

#[test]
fn another_takes_over_once_the_time_is_up_and_no_sooner() {
    let mut cluster = Cluster::default();
    let mut first = Elector::new("first".to_owned());
    for _ in 0..2 {
        let call = first.call(Time::from_millis(0)).expect("it asks");
        first.answered(cluster.serve("first", &call), Time::from_millis(0));
    }
    assert_eq!(first.standing(), Standing::Leads);
    let mut second = Elector::new("second".to_owned());
    second.shown(cluster.versions.last().cloned(), Time::from_millis(100));
    assert_eq!(second.due(), Some(Time::from_millis(10_100)));
    assert_eq!(second.call(Time::from_millis(10_099)), None);
    let call = second.call(Time::from_millis(10_100)).expect("it takes it");
    second.answered(cluster.serve("second", &call), Time::from_millis(10_100));
    assert_eq!((second.standing(), second.resumed()), (Standing::Leads, false));
    // The first one was stopped meanwhile.
    let late = Time::from_millis(10_200);
    assert!(first.acts_until() < late);
    for _ in 0..2 {
        let call = first.call(late).expect("it asks");
        first.answered(cluster.serve("first", &call), late);
    }
    assert_eq!(first.standing(), Standing::Ousted);
}

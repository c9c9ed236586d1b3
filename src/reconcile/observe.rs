//! What is, as the loop takes it in: the configuration, the answers of the world, and what happened to
//! agents.

use std::mem;
use std::sync::Arc;

use super::{AskWorld, News, Reconciler, Remember, Settings, logs, report};
use crate::discovery::View;
use crate::executor::{Event, Executor};
use crate::plan::{Arrival, Contact, Membership, Outcome, Phase, Progress, Time, progress};

impl<E: Executor, W: AskWorld, M: Remember> Reconciler<E, W, M> {
    /// Fetches all that is known by now.
    pub(super) fn take_in(&mut self) {
        let now = self.clock.now();
        while let Ok(event) = self.sources.events.try_recv() {
            self.happened(&event, now);
        }
        let intent = *self.sources.intent.borrow_and_update();
        if intent != self.intent {
            self.intent = intent;
            self.desired = None;
            self.news = News::Any;
            report::intent(intent, self.observed.live().len());
        }
        let settings = Arc::clone(&self.sources.settings.borrow_and_update());
        if settings.generation != self.settings.generation {
            self.reconfigure(settings);
        }
        let synced = self.sources.synced.borrow_and_update();
        if self.observed.synced != *synced {
            self.observed.synced.clone_from(&synced);
            self.news = News::Any;
        }
        drop(synced);
        let view = Arc::clone(&self.sources.view.borrow_and_update());
        // A view of the world before is none of this one.
        if view.server == self.settings.site.server {
            self.look_at_world(&view);
        }
    }

    fn reconfigure(&mut self, settings: Arc<Settings>) {
        if settings.site.server != self.settings.site.server {
            self.membership = None;
            self.answers_seen = 0;
            self.observed.contact = Contact { since: self.clock.now(), ..Contact::default() };
        }
        let now = self.clock.now();
        let progress = progress(&self.desired(), &self.observed, now);
        self.settings = settings;
        self.desired = None;
        self.news = News::Any;
        self.follow_templates(|name| progress.get(name).is_some_and(Progress::is_complete));
    }

    /// Takes in which versions of templates there are. All agents of those that `are_ready` are.
    pub(super) fn follow_templates(&mut self, are_ready: impl Fn(&str) -> bool) {
        let rollouts = Arc::make_mut(&mut self.orders.rollouts);
        if rollouts.update(&self.settings.rules, are_ready, self.clock.now()) {
            self.memory.orders(&self.orders);
        }
    }

    fn look_at_world(&mut self, view: &View) {
        let broke = view.disrupted_at > self.observed.contact.disrupted;
        // A view is the latest of possibly several: a failure after the answer voids the counts
        // that the answer added, one before it does not.
        if broke && view.reachable {
            self.disrupted();
        }
        if let Some(answer) = view.latest.as_ref().filter(|_| view.answers > self.answers_seen) {
            self.answers_seen = view.answers;
            let rules = &self.settings.rules;
            let mut news = true;
            let changed = if let Some(membership) = &mut self.membership {
                news = membership.is_news(answer);
                news && membership.observe(answer, rules, &self.observed.live())
            } else {
                let mut first = Membership::first(answer, rules);
                if mem::take(&mut self.resumed) {
                    let arrivals = &self.arrivals;
                    first.recall(|id| arrivals.get(id).copied().unwrap_or(Arrival::Late));
                }
                let known = self.arrivals.iter().map(|(id, arrival)| (id.clone(), *arrival));
                let running = self.observed.agents.keys().map(|id| (id.clone(), Arrival::Late));
                first.expect(answer, running.chain(known));
                self.membership = Some(first);
                true
            };
            if changed {
                self.desired = None;
                self.remember_arrivals();
            }
            if changed || self.hangs_on_answer {
                self.news = News::Any;
            }
            if news || self.hangs_on_answer {
                self.observed.heard(answer);
            }
            self.report.refused(&answer.refused);
        }
        if broke && !view.reachable {
            self.disrupted();
        }
        let since = self.observed.contact.since;
        let before = mem::replace(
            &mut self.observed.contact,
            Contact {
                since,
                reachable: view.reachable,
                asked: view.latest_asked,
                disrupted: view.disrupted_at,
            },
        );
        if broke || before.reachable != view.reachable {
            self.news = News::Any;
        }
        if let Some(membership) = &self.membership {
            self.report.membership(membership, &self.settings.rules);
        }
    }

    fn remember_arrivals(&mut self) {
        let Some(membership) = &self.membership else { return };
        for (id, member) in membership.iter() {
            if self.arrivals.get(id) != Some(&member.arrival) {
                if self.arrivals.insert(id.clone(), member.arrival).is_none() {
                    report::seen(id, member.arrival);
                }
                self.memory.arrival(id, Some(member.arrival));
            }
        }
        let restarts = self.orders.restarts.len();
        self.orders.restarts.retain(|id, _| membership.knows(id));
        if self.orders.restarts.len() != restarts {
            self.memory.orders(&self.orders);
        }
        let memory = &self.memory;
        self.arrivals.retain(|id, _| {
            let stays = membership.knows(id);
            if !stays {
                report::left(id);
                memory.arrival(id, None);
            }
            stays
        });
    }

    fn disrupted(&mut self) {
        self.observed.disrupted();
        if let Some(membership) = &mut self.membership {
            membership.disrupted();
        }
    }

    pub(super) fn happened(&mut self, event: &Event, now: Time) {
        let Some(id) = self.runs.get(&event.run()).cloned() else { return };
        let Some(agent) = self.observed.agents.get_mut(&id) else { return };
        if let Event::Examined { evidence, .. } = event {
            report::examined(&id, evidence, &logs(&self.executor, &self.observed, &self.settings));
            return;
        }
        self.news.add(&id);
        self.report.happened(&id, agent, event, now);
        match event {
            Event::Examined { .. } => {}
            Event::Started { place, .. } => agent.started(place.clone(), now),
            Event::Waits { waits, .. } => agent.waits.clone_from(waits),
            Event::LeaderExited { exit, .. } => agent.leader_exited(*exit, now),
            Event::SpawnFailed { run, error } => {
                self.runs.remove(run);
                self.memory.over(*run);
                agent.gone(Outcome::NotStarted(error.clone()), now);
            }
            Event::Gone { run, exit } => {
                self.runs.remove(run);
                self.memory.over(*run);
                agent.gone(Outcome::Exit(*exit), now);
            }
        }
        // Whether a crash or a lost world is behind it, only the world can tell.
        if matches!(&agent.phase, Phase::Exited(ended) if ended.how.may_be_the_worlds()) {
            self.world.ask();
        }
        self.unwritten.insert(id);
    }
}

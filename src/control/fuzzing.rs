//! Any bytes as requests to an instance that has something of everything.

#![expect(clippy::indexing_slicing, reason = "a failed check is what it is for")]

use std::fmt::Debug;
use std::sync::Arc;

use prost::Message;

use super::explain::explain;
use super::feed::difference;
use super::preview::{Draft, preview};
use super::selector::{bounded, concerns, is_pattern, matches, meant, select};
use super::status::View;
use crate::config::{Overrides, parse};
use crate::events::Record;
use crate::executor::logs;
use crate::fuzzing::frames;
use crate::plan::fixture::{Scene, entity, rules, site, template};
use crate::plan::{EntityId, Exit, Steer};
use crate::proto::control as pb;
use crate::reconcile::{Look, Settings};

/// Names that have what patterns are made of, and what they are told from.
const NAMES: [&str; 6] = ["alice", "a*", "wolf-1", "wolf-?", "é☃", "../x y"];

/// A request is decoded or refused, and what is selected is what its words say.
pub(crate) fn requests(data: &[u8]) {
    let look = look();
    let view = View::of(&look);
    for (what, content) in frames(data) {
        match what % 6 {
            0 => decoded(content, |asked: &pb::ListAgentsRequest| {
                if bounded(asked.selector.as_ref()).is_ok() {
                    agents(asked, &view);
                }
            }),
            1 => decoded(content, |asked: &pb::OrderRequest| {
                let selector = asked.selector.clone().unwrap_or_default();
                if bounded(Some(&selector)).is_ok() {
                    assert!(!meant(&view, &selector).is_ok_and(|ids| ids.is_empty()));
                }
            }),
            2 => decoded(content, |asked: &pb::ListEntitiesRequest| {
                let of = asked.selector.clone();
                let request = pb::ListAgentsRequest { selector: of, pending: true, usage: false };
                if bounded(request.selector.as_ref()).is_ok() {
                    agents(&request, &view);
                }
            }),
            3 => decoded(content, |asked: &pb::ListEventsRequest| {
                if bounded(asked.selector.as_ref()).is_ok() {
                    let is_wanted = concerns(asked.selector.as_ref(), asked.since_ms, &record());
                    assert!(!is_wanted || asked.since_ms < 0);
                }
            }),
            4 => decoded(content, |asked: &pb::ExplainRequest| {
                if let Ok(id) = EntityId::new(&asked.name) {
                    assert!(!explain(&view, &id, &[record()]).is_empty());
                    let _ = (view.entity(&id), view.conditions(&id));
                }
            }),
            _ => decoded(content, |asked: &pb::PlanRequest| plan(&look, &asked.config)),
        }
        others(content);
        if let Ok(text) = std::str::from_utf8(content) {
            patterns(text);
        }
    }
}

fn agents(asked: &pb::ListAgentsRequest, view: &View<'_>) {
    let all: Vec<_> = view.agents().map(Arc::new).collect();
    let chosen: Vec<_> = all.iter().filter(|agent| select(asked, agent)).cloned().collect();
    assert!(asked.selector.is_some() || !asked.pending || chosen.len() == all.len());
    let (changed, gone) = difference(&all, &chosen);
    assert_eq!((changed.len(), gone.len()), (0, all.len() - chosen.len()));
}

fn decoded<M: Message + Default + PartialEq + Debug>(content: &[u8], take: impl FnOnce(&M)) {
    if let Ok(message) = M::decode(content) {
        take(&message);
        let again = M::decode(message.encode_to_vec().as_slice());
        assert!(again.is_ok_and(|again| again == message), "{message:?}");
    }
}

/// Those of which nothing but a name is taken.
fn others(content: &[u8]) {
    decoded(content, |_: &pb::GetStatusRequest| {});
    decoded(content, |_: &pb::ListTemplatesRequest| {});
    decoded(content, |_: &pb::ListRolloutsRequest| {});
    decoded(content, |_: &pb::ReloadRequest| {});
    decoded(content, |_: &pb::StopRequest| {});
    decoded(content, |asked: &pb::DescribeAgentRequest| drop(EntityId::new(&asked.name)));
    decoded(content, |asked: &pb::RolloutRequest| {
        let mut scene = Scene::new(rules(vec![template("default")]));
        let rollouts = Arc::make_mut(&mut scene.orders.rollouts);
        for steer in [Steer::Pause, Steer::Resume, Steer::Undo] {
            if let Err(why) = rollouts.steer(&asked.template, steer, scene.now) {
                assert!(!why.to_string().is_empty());
            }
        }
    });
}

/// A file of the user's that is not in force.
fn plan(look: &Look, config: &[u8]) {
    let Ok(text) = std::str::from_utf8(config) else { return };
    let draft = (!config.is_empty()).then(|| parse("draft.toml", text, &Overrides::default()));
    match draft {
        Some(Ok(config)) => {
            let draft = Draft { rules: config.rules, server: None };
            let told = preview(look, Some(draft));
            assert!(told.actions.len() <= look.observed.agents.len() + NAMES.len());
        }
        Some(Err(mistakes)) => assert!(!mistakes.to_string().is_empty()),
        None => drop(preview(look, None)),
    }
}

/// The words of a line: a pattern, and a name.
fn patterns(text: &str) {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "alice"));
    let fitting = matches(pattern, name);
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    assert_eq!(fitting, fits(&chars(pattern), &chars(name)), "{pattern:?} {name:?}");
    assert!(is_pattern(pattern) || fitting == (pattern == name));
}

/// The same as its definition has it: by a table of which beginnings fit which.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for p in pattern {
        let mut next = vec![false; name.len() + 1];
        next[0] = *p == '*' && row[0];
        for (at, n) in name.iter().enumerate() {
            next[at + 1] = match p {
                '*' => row[at + 1] || next[at],
                '?' => row[at],
                _ => row[at] && p == n,
            };
        }
        row = next;
    }
    row[name.len()]
}

fn record() -> Record {
    Record { kind: "agent.started".to_owned(), entity: "wolf-1".to_owned(), ..Record::default() }
}

fn look() -> Look {
    let mut scene = Scene::running(&NAMES);
    scene.exit("wolf-1", Exit::Code(1));
    scene.apply();
    scene.answer(NAMES.iter().skip(1).map(|name| entity(name)));
    let suspended = ["wolf-?", "gone"].iter().filter_map(|name| EntityId::new(name).ok());
    scene.orders.suspended.extend(suspended);
    let plan = scene.plan();
    let settings = Settings {
        generation: 1,
        rules: Arc::clone(&scene.rules),
        log_dir: "logs".into(),
        logs: logs::Policy { max_bytes: None, keep: 1, max_total_bytes: None },
        site: site(),
        instance: "fuzz".to_owned(),
    };
    Look {
        now: scene.now,
        intent: scene.intent,
        desired: Arc::new(scene.desired()),
        observed: scene.observed,
        entities: Some(Arc::new(NAMES.iter().map(|name| entity(name)).collect())),
        membership: scene.membership,
        pending: plan.pending,
        settings: Arc::new(settings),
        orders: scene.orders,
    }
}

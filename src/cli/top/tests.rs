//! What is on the screen, for what has happened and was pressed.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};

use super::keys::Key;
use super::roster::Move;
use super::screen::Screen;
use super::state::{Command, Link, Message, State};
use super::theme::Theme;
use super::wants::Measured;
use crate::cli::get::SortBy;
use crate::cli::output::time_of_day;
use crate::proto::control as pb;
use crate::proto::control::agents_changed::Kind;

const NOW: i64 = 1_795_000_000_000;

fn agent(name: &str, template: &str, phase: &str) -> pb::Agent {
    let runs = phase == "Running";
    pb::Agent {
        name: name.to_owned(),
        r#type: "forager".to_owned(),
        template: template.to_owned(),
        phase: phase.to_owned(),
        pid: u32::from(runs) * 4711,
        run: 7,
        started_at_ms: if runs { NOW - 125_000 } else { 0 },
        max_attempts: 5,
        ..pb::Agent::default()
    }
}

fn agents() -> Vec<pb::Agent> {
    let bob = pb::Agent {
        restarts: 3,
        reason: "exit code 1".to_owned(),
        next: "restart 3 of 5".to_owned(),
        next_at_ms: NOW + 3000,
        ..agent("bob", "bob", "BackingOff")
    };
    let dora = pb::Agent {
        reason: "OOM-killed".to_owned(),
        restarts: 5,
        ..agent("dora", "default", "Failed")
    };
    let eve = pb::Agent {
        suspended: true,
        reason: "it is suspended".to_owned(),
        ..agent("eve", "default", "Suspended")
    };
    let hostile = agent("x\u{1b}[31m\n\u{202e}狼狼狼", "default", "Running");
    let long = agent(&"long-".repeat(12), "a-template-with-a-long-name", "Running");
    vec![
        agent("alice", "default", "Running"),
        bob,
        agent("carol", "default", "Running"),
        dora,
        eve,
        long,
        hostile,
    ]
}

fn status() -> pb::Status {
    pb::Status {
        name: "demo".to_owned(),
        phases: [("Running", 4), ("BackingOff", 1), ("Failed", 1)]
            .map(|(phase, count)| (phase.to_owned(), count))
            .into(),
        suspended: 1,
        world: Some(pb::World { reachable: true, ..pb::World::default() }),
        config_generation: 4,
        log_dir: "/logs".to_owned(),
        ..pb::Status::default()
    }
}

fn of_kind(kind: Kind, agents: Vec<pb::Agent>) -> Message {
    Message::Agents(pb::AgentsChanged { kind: kind.into(), agents, in_pods: false })
}

fn sync(agents: Vec<pb::Agent>) -> Message {
    of_kind(Kind::Sync, agents)
}

fn changed(agents: Vec<pb::Agent>) -> Message {
    of_kind(Kind::Changed, agents)
}

/// So many seconds after the beginning each of these has taken so many milliseconds.
fn measured(at: u64, taken: &[(&str, u64)]) -> Message {
    let used = |(name, cpu_ms): &(&str, u64)| {
        let usage =
            Some(pb::Usage { cpu_ms: *cpu_ms, memory_bytes: 12 << 20, ..pb::Usage::default() });
        pb::Agent { usage, ..agent(name, "default", "Running") }
    };
    let agents = taken.iter().map(used).collect();
    let response = pb::ListAgentsResponse { agents, ..pb::ListAgentsResponse::default() };
    Message::Measured(Duration::from_secs(at), response)
}

/// A program that shows all of it, without a terminal and without an instance.
struct Shown {
    state: State,
    screen: Screen<TestBackend>,
}

impl Shown {
    fn empty(width: u16, height: u16) -> Self {
        let screen = Screen::new(TestBackend::new(width, height), Theme::new(false)).unwrap();
        let mut state = State::new(SortBy::Name);
        state.now_ms = NOW;
        Self { state, screen }
    }

    fn new(width: u16, height: u16) -> Self {
        let mut shown = Self::empty(width, height);
        shown.tell(Message::Status(Box::new(status())));
        shown.tell(sync(agents()));
        for (at, alice) in [(0, 0), (2, 100), (4, 2100), (6, 3100), (8, 3110)] {
            shown.tell(measured(at, &[("alice", alice), ("carol", at)]));
        }
        shown.screen();
        shown
    }

    fn tell(&mut self, message: Message) {
        self.state.take_in(message);
    }

    fn press(&mut self, keys: &str) -> Option<Command> {
        keys.chars().map(|letter| self.state.press(Key::Letter(letter))).last().flatten()
    }

    /// Draws, and returns what is there.
    fn screen(&mut self) -> String {
        self.screen.draw(&mut self.state).unwrap();
        self.screen.backend().to_string()
    }

    /// The names on the screen from above, with a mark at the one that is meant.
    fn order(&mut self) -> Vec<String> {
        self.screen();
        let mark = |selected| if selected { "*" } else { "" };
        let rows = self.state.roster.visible();
        rows.map(|(row, is)| format!("{}{}", row.agent.name, mark(is))).collect()
    }
}

fn event(sequence: u64, level: &str, name: &str) -> Message {
    let event = pb::Event {
        sequence,
        at_ms: NOW,
        level: level.to_owned(),
        kind: "agent.backoff".to_owned(),
        name: name.to_owned(),
        message: "will be restarted".to_owned(),
        reason: "exit code 1".to_owned(),
        ..pb::Event::default()
    };
    Message::Happened(pb::EventHappened { missed: 0, event: Some(event) })
}

fn with_events(width: u16, height: u16) -> String {
    let mut shown = Shown::new(width, height);
    shown.press("e");
    for sequence in [1, 2, 2, 3] {
        shown.tell(event(sequence, "warn", &format!("bob{sequence}")));
    }
    // The time of day is another one elsewhere.
    shown.screen().replace(&time_of_day(NOW), "HH:MM:SS.mmm")
}

#[test]
fn the_screen_is_right_where_there_is_room() {
    insta::assert_snapshot!(Shown::new(120, 30).screen());
    insta::assert_snapshot!(with_events(120, 30));
}

#[test]
fn the_screen_is_right_on_a_usual_terminal() {
    insta::assert_snapshot!(Shown::new(80, 24).screen());
    insta::assert_snapshot!(with_events(80, 24));
}

#[test]
fn the_screen_is_right_on_a_narrow_terminal() {
    insta::assert_snapshot!(Shown::new(40, 12).screen());
    insta::assert_snapshot!(with_events(40, 12));
}

#[test]
fn phases_have_colours_unless_they_are_unwelcome() {
    for colour in [false, true] {
        let mut shown = Shown::new(80, 24);
        shown.screen = Screen::new(TestBackend::new(80, 24), Theme::new(colour)).unwrap();
        shown.screen();
        let styles = |shown: &Shown, word: &str| {
            let buffer = shown.screen.backend().buffer();
            let row = buffer.content.chunks(80).find(|row| {
                row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().contains(word)
            });
            let cell = &row.unwrap()[12];
            (cell.fg, cell.modifier)
        };
        let (of, none) = (|is| if colour { is } else { Color::Reset }, Modifier::empty());
        assert_eq!(styles(&shown, "alice"), (of(Color::Green), Modifier::REVERSED));
        assert_eq!(styles(&shown, "bob "), (of(Color::Yellow), none));
        assert_eq!(styles(&shown, "dora"), (of(Color::Red), none));
        // What is not known any more is grey.
        shown.tell(Message::Away("away".to_owned()));
        shown.screen();
        assert_eq!(styles(&shown, "bob "), (Color::Reset, Modifier::DIM));
    }
}

#[test]
fn what_covers_the_table() {
    let mut shown = Shown::new(80, 24);
    shown.press("?");
    insta::assert_snapshot!(shown.screen());
    let asked = shown.press("qw").unwrap();
    assert_eq!(asked, Command::Explain("alice".to_owned()));
    assert!(shown.screen().contains("WHY alice"));
    let steps = "now           its agent is Running".to_owned();
    // Another answer comes too late.
    let other = Command::Explain("bob".to_owned());
    shown.tell(Message::Answered(other, Ok("nothing of interest".to_owned())));
    shown.tell(Message::Answered(asked, Ok(steps)));
    insta::assert_snapshot!(shown.screen());
    let asked = shown.press("d").unwrap();
    shown.tell(Message::Answered(asked, Err("there is no such entity".to_owned())));
    assert!(shown.screen().contains("error: there is no such entity"));
}

#[test]
fn what_a_pod_takes_is_what_its_cluster_says_or_that_it_does_not() {
    let mut shown = Shown::empty(80, 24);
    let usage = Some(pb::Usage {
        cpu_millicores: Some(123),
        memory_bytes: 12 << 20,
        ..pb::Usage::default()
    });
    let in_pod = || pb::Agent { pid: 0, pod: "wolf-1".to_owned(), ..agent("wolf", "t", "Running") };
    shown.tell(sync(vec![in_pod()]));
    let response = pb::ListAgentsResponse {
        agents: vec![pb::Agent { usage, ..in_pod() }],
        ..pb::ListAgentsResponse::default()
    };
    shown.tell(Message::Measured(Duration::ZERO, response));
    assert!(shown.screen().contains(" 12.3 "));
    // Something else about it changes.
    shown.tell(changed(vec![pb::Agent { reason: "thinking".to_owned(), ..in_pod() }]));
    assert!(shown.screen().contains(" 12.3 "));
    let response = pb::ListAgentsResponse {
        agents: vec![in_pod()],
        usage_unknown: "nobody measures".to_owned(),
        ..pb::ListAgentsResponse::default()
    };
    shown.tell(Message::Measured(Duration::from_secs(2), response));
    let screen = shown.screen();
    assert!(screen.contains("CPU and memory are not known: nobody measures"), "{screen}");
    assert!(!screen.contains(" 12.3 "));
}

#[test]
fn a_log_is_followed_until_it_is_left() {
    let mut shown = Shown::new(40, 12);
    shown.press("l");
    let of = shown.state.wants().log.unwrap();
    assert_eq!((of.dir.to_str(), of.name.as_str()), (Some("/logs"), "alice"));
    let lines = (0..30).map(|number| format!("line {number}"));
    shown.tell(Message::Wrote(of.clone(), lines.collect()));
    insta::assert_snapshot!(shown.screen());
    shown.state.press(Key::Move(Move::Up));
    shown.tell(Message::Wrote(of.clone(), vec!["one more".to_owned()]));
    assert!(!shown.screen().contains("one more"));
    shown.press("G");
    assert!(shown.screen().contains("one more"));
    shown.press("q");
    assert_eq!(shown.state.wants().log, None);
    // What still comes of it is for nobody.
    shown.tell(Message::Wrote(of, vec!["late".to_owned()]));
    assert!(!shown.state.is_over && shown.screen().contains("NAME"));
}

#[test]
fn keys_sort_and_the_same_key_turns_the_order_round() {
    let mut shown = Shown::empty(80, 24);
    let mut three =
        vec![agent("a", "t", "Running"), agent("b", "s", "Failed"), agent("c", "t", "Exited")];
    three[1].restarts = 9;
    three[2].started_at_ms = NOW - 1;
    shown.tell(sync(three));
    shown.tell(measured(0, &[("a", 0), ("b", 0)]));
    shown.tell(measured(1, &[("a", 10), ("b", 900)]));
    for (key, order) in [
        ("N", ["c*", "b", "a"]),
        ("N", ["a*", "b", "c"]),
        ("P", ["c*", "b", "a"]),
        ("T", ["b*", "a", "c"]),
        ("T", ["a*", "c", "b"]),
        ("R", ["b*", "a", "c"]),
        ("A", ["c*", "a", "b"]),
        ("C", ["b*", "a", "c"]),
        ("C", ["c*", "a", "b"]),
        ("M", ["a*", "b", "c"]),
    ] {
        shown.press(key);
        assert_eq!(shown.order(), order, "{key}");
    }
    // The order follows what is measured, and the mark stays with the first.
    shown.press("C");
    shown.tell(measured(2, &[("a", 1000), ("b", 910)]));
    assert_eq!(shown.order(), ["a*", "b", "c"]);
    // It stays with who was chosen, where it was moved.
    shown.press("j");
    shown.tell(measured(3, &[("a", 1000), ("b", 1900)]));
    assert_eq!(shown.order(), ["b*", "a", "c"]);
}

#[test]
fn the_mark_stays_with_who_was_chosen_and_in_its_place_if_that_one_goes() {
    let mut shown = Shown::empty(80, 24);
    shown.tell(sync(["b", "d", "f"].map(|name| agent(name, "t", "Running")).to_vec()));
    shown.press("j");
    assert_eq!(shown.order(), ["b", "d*", "f"]);
    shown.tell(changed(["a", "c"].map(|name| agent(name, "t", "Running")).to_vec()));
    assert_eq!(shown.order(), ["a", "b", "c", "d*", "f"]);
    shown.tell(of_kind(Kind::Gone, vec![agent("d", "t", "Running")]));
    assert_eq!(shown.order(), ["a", "b", "c", "f*"]);
    shown.tell(sync(vec![agent("b", "t", "Running")]));
    assert_eq!(shown.order(), ["b*"]);
}

#[test]
fn a_filter_is_typed_kept_and_taken_back() {
    let mut shown = Shown::new(80, 24);
    shown.press("/phase=Run");
    assert_eq!(shown.order().len(), 0);
    shown.press("ning");
    assert_eq!(shown.order().len(), 4);
    shown.press(" colour=red");
    let screen = shown.screen();
    assert!(screen.contains("`colour` is none of `template`, `type`, `phase`"), "{screen}");
    shown.state.press(Key::Clear);
    shown.press("ar");
    shown.state.press(Key::Enter);
    assert_eq!(shown.order(), ["carol*"]);
    assert!(shown.screen().contains("/ar  1 of 7"));
    // What is typed from now on are keys again.
    shown.press("/x");
    shown.state.press(Key::Escape);
    assert_eq!(shown.order(), ["carol*"]);
    shown.state.press(Key::Escape);
    assert_eq!(shown.order().len(), 7);
}

#[test]
fn nothing_is_done_before_it_is_confirmed() {
    let mut shown = Shown::new(80, 24);
    assert_eq!(shown.press("r"), None);
    assert!(shown.screen().contains("restart alice? [y/N]"));
    assert_eq!(shown.press("n"), None);
    assert_eq!(shown.press("r"), None);
    shown.state.press(Key::Enter);
    assert_eq!(shown.press("y"), None);
    let restart = Command::Restart("alice".to_owned());
    assert_eq!(shown.press("ry").as_ref(), Some(&restart));
    shown.tell(Message::Answered(restart, Ok("alice restarting".to_owned())));
    assert!(shown.screen().contains("alice restarting"));
    assert_eq!(shown.press("sy"), Some(Command::Suspend("alice".to_owned())));
    shown.press("jjjj");
    assert_eq!(shown.press("sy"), Some(Command::Resume("eve".to_owned())));
    let failed = Command::Resume("eve".to_owned());
    shown.tell(Message::Answered(failed, Err("the runner does not answer".to_owned())));
    assert!(shown.screen().contains("error: the runner does not answer"));
    // The mark may move away before the answer: who was asked about is meant.
    shown.press("r");
    shown.tell(sync(vec![agent("zoe", "t", "Running")]));
    assert!(shown.screen().contains("restart eve?"));
}

#[test]
fn an_instance_that_is_away_is_shown_as_it_was_and_told_nothing() {
    let mut shown = Shown::new(80, 24);
    shown.tell(Message::Away("the runner is not there".to_owned()));
    shown.state.tick(NOW + 1_000_000);
    insta::assert_snapshot!(shown.screen());
    assert_eq!(shown.press("ry"), None);
    shown.press("r");
    assert!(shown.screen().contains("error: nobody is there who could do that"));
    shown.tell(Message::Status(Box::new(status())));
    assert_eq!(shown.state.link, Link::Up);
    assert!(!shown.screen().contains("AWAY"));
}

#[test]
fn only_what_is_on_the_screen_is_drawn_and_measured() {
    let mut shown = Shown::empty(100, 24);
    let all = (0..1000).map(|number| agent(&format!("a{number:04}"), "t", "Running"));
    shown.tell(Message::Status(Box::new(status())));
    shown.tell(sync(all.collect()));
    let seen = shown.order();
    assert_eq!((seen.len(), seen[0].as_str()), (21, "a0000*"));
    let names = |from: usize| (from..from + 21).map(|number| format!("a{number:04}")).collect();
    assert_eq!(shown.state.wants().measured, Measured::Of(names(0)));
    shown.press("G");
    assert_eq!(shown.order()[20], "a0999*");
    assert_eq!(shown.state.wants().measured, Measured::Of(names(979)));
    shown.press("k");
    assert_eq!(shown.order()[19], "a0998*");
    shown.state.press(Key::Move(Move::PageUp));
    assert_eq!(shown.order()[0], "a0977*");
    shown.press("C");
    assert_eq!(shown.state.wants().measured, Measured::All);
    shown.press("w");
    assert_eq!(shown.state.wants().measured, Measured::Of(Vec::new()));
}

#[test]
fn nothing_is_written_where_nothing_has_changed() {
    let mut shown = Shown::new(80, 24);
    assert!(!shown.screen.draw(&mut shown.state).unwrap());
    shown.tell(sync(agents()));
    assert!(!shown.screen.draw(&mut shown.state).unwrap());
    shown.state.now_ms += 1000;
    assert!(shown.screen.draw(&mut shown.state).unwrap());
    // Others may have written to it.
    shown.screen.forget().unwrap();
    assert!(shown.screen.draw(&mut shown.state).unwrap());
}

#[derive(Clone, Debug)]
enum Step {
    Press(Key),
    Size(u16, u16),
    Sync(usize),
    Away,
    Event,
    Wrote(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let letters: Vec<_> = "q/?ewdlrsyNTPRACM*狼\u{1b}jkgG ".chars().collect();
    let letter = prop::sample::select(letters).prop_map(Key::Letter);
    let key = prop::sample::select(vec![
        Key::Enter,
        Key::Escape,
        Key::Backspace,
        Key::Clear,
        Key::Move(Move::Up),
        Key::Move(Move::Down),
        Key::Move(Move::PageUp),
        Key::Move(Move::PageDown),
        Key::Move(Move::First),
        Key::Move(Move::Last),
    ]);
    prop_oneof![
        4 => letter.prop_map(Step::Press),
        4 => key.prop_map(Step::Press),
        3 => (0_u16..60, 0_u16..20).prop_map(|(width, height)| Step::Size(width, height)),
        2 => (0_usize..8).prop_map(Step::Sync),
        1 => Just(Step::Away),
        1 => Just(Step::Event),
        1 => (0_usize..40).prop_map(Step::Wrote),
    ]
}

proptest! {
    #[test]
    fn no_size_and_no_key_is_too_much(steps in prop::collection::vec(step(), 1..40)) {
        let mut shown = Shown::new(80, 24);
        let mut events = 10;
        for step in steps {
            match step {
                Step::Press(key) => drop(shown.state.press(key)),
                Step::Size(width, height) => {
                    shown.screen = Screen::new(TestBackend::new(width, height), Theme::new(false)).unwrap();
                }
                Step::Sync(count) => shown.tell(sync(agents().into_iter().take(count).collect())),
                Step::Away => shown.tell(Message::Away("away".to_owned())),
                Step::Event => {
                    events += 1;
                    shown.tell(event(events, "error", "bob"));
                }
                Step::Wrote(count) => {
                    if let Some(of) = shown.state.wants().log {
                        shown.tell(Message::Wrote(of, vec!["狼 and more than fits".repeat(count)]));
                    }
                }
            }
            shown.screen.draw(&mut shown.state).unwrap();
            let Size { width, height } = shown.state.size;
            let seen = shown.state.roster.visible().count();
            prop_assert!(seen <= usize::from(height), "{seen} rows at {width}x{height}");
        }
    }
}

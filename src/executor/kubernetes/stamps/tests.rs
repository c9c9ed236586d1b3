use k8s_openapi::jiff::Unit;

use super::*;

/// A log as a node keeps it: times, of which several lines can have the same, and lines.
struct Node {
    lines: Vec<(Timestamp, Vec<u8>)>,
}

impl Node {
    fn new(random: &mut fastrand::Rng) -> Self {
        let mut nanoseconds = 1_796_000_000_000_000_000_i128;
        let lines = (0..random.usize(..30)).map(|_| {
            nanoseconds += [0, 1, 1000, 400_000_000, 3_000_000_000][random.usize(..5)];
            let line: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(b' '..)).collect();
            (Timestamp::from_nanosecond(nanoseconds).unwrap(), line)
        });
        Self { lines: lines.collect() }
    }

    fn agents(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|(_, line)| [line, b"\n".as_slice()].concat()).collect()
    }

    /// What it answers: it is asked for times by the second only, and for the nearest one.
    fn answer(&self, since: Option<Timestamp>) -> Vec<u8> {
        let since = since.map_or(Timestamp::MIN, |since| since.round(Unit::Second).unwrap());
        let asked = self.lines.iter().filter(|(time, _)| *time >= since);
        asked
            .flat_map(|(time, line)| [format!("{time} ").as_bytes(), line, b"\n"].concat())
            .collect()
    }
}

#[test]
fn wherever_it_is_cut_all_that_was_written_is_read_once() {
    for seed in 0..2000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let node = Node::new(random);
        let mut stamps = Stamps::default();
        let mut read = Vec::new();
        for cuts_left in (0..random.usize(1..6)).rev() {
            stamps.resume();
            let answer = node.answer(stamps.since());
            let to = if cuts_left == 0 { answer.len() } else { random.usize(..=answer.len()) };
            let mut rest = &answer[..to];
            while !rest.is_empty() {
                let (part, others) = rest.split_at(random.usize(1..=rest.len().min(50)));
                read.extend(stamps.take(part));
                rest = others;
            }
            if cuts_left > 0 && random.bool() {
                // What the node says of it stands on a line of its own, or behind what it broke off.
                let whole = answer[..to].ends_with(b"\n") || to == 0;
                if whole {
                    read.extend(stamps.take(b"rpc error: code = NotFound\nnot found"));
                    let said = "rpc error: code = NotFound\nnot found".to_owned();
                    assert_eq!(stamps.words(), Some(said), "seed {seed}");
                }
            }
        }
        assert_eq!(stamps.words(), None, "seed {seed}");
        let (read, written) = (String::from_utf8_lossy(&read), node.agents());
        assert_eq!(read, String::from_utf8_lossy(&written), "seed {seed}");
    }
}

#[test]
fn what_a_node_says_is_not_what_the_agent_wrote() {
    for said in [
        "rpc error: code = NotFound desc = an error occurred when try to find container \"d\": not found",
        "unable to retrieve container logs for containerd://ded584c74f08e78e",
        "unavailable",
        "a-single-word-that-is-longer-than-any-time-can-be",
        "failed to create fsnotify watcher: too many open files",
    ] {
        for size in 1..80 {
            let mut stamps = Stamps::default();
            let answer = format!("2026-11-26T20:00:00.5Z 2026-11-26 bye\n{said}");
            let read: Vec<u8> =
                answer.as_bytes().chunks(size).flat_map(|part| stamps.take(part)).collect();
            assert_eq!(String::from_utf8_lossy(&read), "2026-11-26 bye\n");
            assert_eq!(stamps.words().as_deref(), Some(said));
            assert_eq!(stamps.since(), Some("2026-11-26T20:00:00Z".parse().unwrap()));
        }
    }
}

#[test]
fn no_more_of_a_nodes_words_is_kept_than_anybody_reads() {
    let mut stamps = Stamps::default();
    for _ in 0..100 {
        assert_eq!(stamps.take(&[b'x'; 1000]), b"");
    }
    assert_eq!(stamps.words().unwrap().len(), MOST);
}

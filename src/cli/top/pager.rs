//! Lines that are read a screen at a time, and the end of a log as it grows.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthChar as _;

use super::roster::Move;

/// Lines that are kept of what goes on and on.
const MOST_LINES: usize = 5000;

/// Lines, and the place in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pager {
    lines: VecDeque<String>,
    place: Place,
    /// Columns and rows that there are for them.
    size: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// This line is the first on the screen.
    #[default]
    First,
    From(usize),
    /// The last lines are on the screen, whatever is added.
    End,
}

impl Pager {
    /// A text, from its beginning.
    pub(super) fn of_text(text: &str) -> Self {
        Self { lines: text.lines().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Something that grows, at its end.
    pub(super) fn of_end() -> Self {
        Self { place: Place::End, ..Self::default() }
    }

    /// Adds lines, and forgets the first ones where there are too many.
    pub(super) fn push(&mut self, lines: impl IntoIterator<Item = String>) {
        self.lines.extend(lines);
        let surplus = self.lines.len().saturating_sub(MOST_LINES);
        self.lines.drain(..surplus);
        if let Place::From(first) = &mut self.place {
            *first = first.saturating_sub(surplus);
        }
    }

    pub(super) const fn resize(&mut self, width: usize, height: usize) {
        self.size = (width, height);
    }

    /// Whether what is added is seen.
    pub(super) fn follows(&self) -> bool {
        self.place == Place::End
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn step(&mut self, to: Move) {
        let page = self.size.1.max(2) - 1;
        let (first, last) = (self.first().0, self.last_first().0);
        let from = match to {
            Move::Up => first.saturating_sub(1),
            Move::Down => first + 1,
            Move::PageUp => first.saturating_sub(page),
            Move::PageDown => first + page,
            Move::First => 0,
            Move::Last => usize::MAX,
        };
        self.place = if from < last { Place::From(from) } else { Place::End };
    }

    /// What is on the screen: rows of columns.
    pub(super) fn rows(&self) -> Vec<String> {
        let (width, height) = self.size;
        let (line, skipped) = self.first();
        let lines = self.lines.iter().skip(line);
        lines.flat_map(|line| wrapped(line, width)).skip(skipped).take(height).collect()
    }

    /// The line that is the first on the screen, and how many of its rows are above it.
    fn first(&self) -> (usize, usize) {
        match self.place {
            Place::First => (0, 0),
            Place::From(line) => (line.min(self.lines.len()), 0),
            Place::End => self.last_first(),
        }
    }

    /// The same, where the last line is the last on the screen.
    fn last_first(&self) -> (usize, usize) {
        let (width, height) = self.size;
        let mut room = height;
        for (number, line) in self.lines.iter().enumerate().rev() {
            let rows = wrapped(line, width).count();
            if rows >= room {
                return (number, rows - room);
            }
            room -= rows;
        }
        (0, 0)
    }
}

/// A line in rows of at most so many columns.
fn wrapped(line: &str, width: usize) -> impl Iterator<Item = String> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let mut columns = 0;
        let cut = line.char_indices().find(|(at, character)| {
            columns += character.width().unwrap_or(0);
            columns > width && *at > 0
        });
        let (row, left) = cut.map_or((line, None), |(at, _)| {
            let (row, left) = line.split_at(at);
            (row, Some(left))
        });
        rest = left;
        Some(row.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| number.to_string())
    }

    fn pager(mut pager: Pager, size: (usize, usize)) -> Pager {
        pager.resize(size.0, size.1);
        pager
    }

    #[test]
    fn lines_are_wrapped_at_columns_and_not_at_characters() {
        let rows = |line, width| wrapped(line, width).collect::<Vec<_>>();
        assert_eq!(rows("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(rows("狼狼狼", 5), ["狼狼", "狼"]);
        assert_eq!(rows("", 4), [""]);
        // One that is wider than all there is: better than none for ever.
        assert_eq!(rows("狼a", 1), ["狼", "a"]);
        assert_eq!(rows("ab", 0), ["a", "b"]);
    }

    #[test]
    fn the_end_stays_on_the_screen_until_somebody_goes_up() {
        let mut log = pager(Pager::of_end(), (10, 3));
        log.push(numbered(5));
        assert_eq!(log.rows(), ["2", "3", "4"]);
        log.step(Move::Up);
        log.push(["5".to_owned()]);
        assert_eq!((log.rows(), log.follows()), (["1", "2", "3"].map(str::to_owned).into(), false));
        log.step(Move::PageDown);
        assert_eq!((log.rows().pop(), log.follows()), (Some("5".to_owned()), true));
        log.push(["a long line of three rows".to_owned()]);
        assert_eq!(log.rows(), ["a long lin", "e of three", " rows"]);
        log.step(Move::First);
        assert_eq!(log.rows(), ["0", "1", "2"]);
    }

    #[test]
    fn what_is_read_stays_where_it_is_while_old_lines_are_forgotten() {
        let mut log = pager(Pager::of_end(), (10, 2));
        log.push(numbered(MOST_LINES));
        log.step(Move::Up);
        let before = log.rows();
        log.push(numbered(10));
        assert_eq!(log.rows(), before);
        log.push(numbered(MOST_LINES));
        assert_eq!(log.rows(), ["0", "1"]);
    }

    #[test]
    fn a_text_begins_at_its_beginning_at_any_size() {
        for size in [(0, 0), (1, 1), (3, 2), (80, 24)] {
            let mut text = pager(Pager::of_text("one\ntwo\n\nthree"), size);
            let begins = |row: &String| row.starts_with('o');
            assert!(text.rows().first().is_none_or(begins), "{:?}", text.rows());
            for to in [Move::Down, Move::PageDown, Move::Last, Move::PageUp, Move::Up, Move::First]
            {
                text.step(to);
                assert!(text.rows().len() <= size.1);
            }
        }
    }
}

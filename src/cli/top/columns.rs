//! Which columns there is room for, and how wide they are.

use super::load::HISTORY;

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Name,
    Template,
    Phase,
    Restarts,
    Age,
    Cpu,
    Memory,
    History,
    Reason,
}

/// A column, where it begins and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) column: Column,
    pub(super) x: u16,
    pub(super) width: u16,
}

/// Between two columns.
const GAP: u16 = 2;

/// The first one is there in any case, the last one is the first to go.
const BY_WORTH: [Column; 9] = [
    Column::Name,
    Column::Phase,
    Column::Cpu,
    Column::Restarts,
    Column::Memory,
    Column::Age,
    Column::Reason,
    Column::Template,
    Column::History,
];

impl Column {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Template => "TEMPLATE",
            Self::Phase => "PHASE",
            Self::Restarts => "RESTARTS",
            Self::Age => "AGE",
            Self::Cpu => "CPU%",
            Self::Memory => "MEMORY",
            Self::History => "CPU HISTORY",
            Self::Reason => "REASON",
        }
    }

    /// Whether its words are numbers, whose ends are above each other.
    pub(super) const fn is_number(self) -> bool {
        match self {
            Self::Restarts | Self::Cpu | Self::Memory | Self::Age => true,
            Self::Name | Self::Template | Self::Phase | Self::History | Self::Reason => false,
        }
    }

    /// With less it is of no use.
    const fn least(self) -> u16 {
        match self {
            Self::Name | Self::Memory => 10,
            Self::Template | Self::Restarts => 9,
            Self::Phase => 13,
            Self::Age | Self::Cpu => 5,
            Self::History => 12,
            Self::Reason => 16,
        }
    }
}

/// The columns in so much room, in the order in which they stand, for names and templates that are
/// so wide. What is left when all have their least goes to names, templates, history and reason.
pub(super) fn columns(room: u16, (name, template): (usize, usize)) -> Vec<Placed> {
    let mut left = room;
    let mut there = Vec::new();
    for column in BY_WORTH {
        let gap = if there.is_empty() { 0 } else { GAP };
        // With a least width that is more than all there is, names have what there is.
        let least = if there.is_empty() { column.least().min(left) } else { column.least() };
        if left < gap + least {
            break;
        }
        left -= gap + least;
        there.push((column, least));
    }
    there.sort_by_key(|(column, _)| *column);
    let narrow = |wanted: usize| u16::try_from(wanted).unwrap_or(u16::MAX);
    let history = narrow(HISTORY);
    let wishes = [
        (Column::Name, narrow(name).min((room / 3).max(24))),
        (Column::Template, narrow(template).min(24)),
        (Column::History, history),
        (Column::Reason, u16::MAX),
        // Where there is no reason: names that are longer still.
        (Column::Name, narrow(name)),
    ];
    for (wishing, wanted) in wishes {
        if let Some((_, width)) = there.iter_mut().find(|(column, _)| *column == wishing) {
            let more = wanted.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    }
    let mut x = 0;
    let placed = there.into_iter().map(|(column, width)| {
        let placed = Placed { column, x, width };
        x += width + GAP;
        placed
    });
    placed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(room: u16) -> Vec<Column> {
        columns(room, (5, 7)).iter().map(|placed| placed.column).collect()
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        assert_eq!(shown(0), [Column::Name]);
        assert_eq!(shown(10), [Column::Name]);
        assert_eq!(shown(30), [Column::Name, Column::Phase]);
        assert_eq!(shown(40), [Column::Name, Column::Phase, Column::Cpu]);
        assert_eq!(shown(120).len(), 9);
    }

    #[test]
    fn at_no_width_is_there_more_than_there_is_room_for() {
        for room in 0..300 {
            for (name, template) in [(0, 0), (5, 7), (30, 5), (300, 300), (usize::MAX, usize::MAX)]
            {
                let columns = columns(room, (name, template));
                let mut end = 0;
                for Placed { x, width, .. } in &columns {
                    assert!(*x >= end && x + width <= room, "{room}: {columns:?}");
                    end = x + width;
                }
                let before = columns.len();
                assert!(before <= self::columns(room + 1, (name, template)).len());
            }
        }
    }
}

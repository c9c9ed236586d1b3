//! Directions and distances on the grid. North is y − 1.

use crate::proto::Direction;

/// A place: x grows to the east, y to the south.
pub(super) type Place = (i32, i32);

/// The eight directions, clockwise from north.
pub(super) const COMPASS: [Direction; 8] = [
    Direction::North,
    Direction::Northeast,
    Direction::East,
    Direction::Southeast,
    Direction::South,
    Direction::Southwest,
    Direction::West,
    Direction::Northwest,
];

/// The step that a direction means; none for the unspecified one.
pub(super) fn step(direction: Direction) -> Option<Place> {
    match direction {
        Direction::Unspecified => None,
        Direction::North => Some((0, -1)),
        Direction::Northeast => Some((1, -1)),
        Direction::East => Some((1, 0)),
        Direction::Southeast => Some((1, 1)),
        Direction::South => Some((0, 1)),
        Direction::Southwest => Some((-1, 1)),
        Direction::West => Some((-1, 0)),
        Direction::Northwest => Some((-1, -1)),
    }
}

/// The place one step away.
pub(super) fn neighbour((x, y): Place, direction: Direction) -> Option<Place> {
    let (dx, dy) = step(direction)?;
    Some((x.checked_add(dx)?, y.checked_add(dy)?))
}

/// How many steps one place is from another, diagonals counting as one.
pub(super) fn distance(a: Place, b: Place) -> u32 {
    a.0.abs_diff(b.0).max(a.1.abs_diff(b.1))
}

/// The direction of the first step; none when already there.
pub(super) fn towards(from: Place, to: Place) -> Option<Direction> {
    let wanted = (to.0.cmp(&from.0) as i32, to.1.cmp(&from.1) as i32);
    COMPASS.into_iter().find(|direction| step(*direction) == Some(wanted))
}

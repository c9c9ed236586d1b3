use super::super::Refusal;
use super::{EPOCH_MS, changes, entity, ms, world};

#[test]
fn a_lease_lasts_thirty_seconds() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(500)).unwrap();
    assert_eq!(grant.expires_at_ms, EPOCH_MS + 30_500);
    changes(&mut state, ms(500));
    assert_eq!(state.next_due(), Some(ms(30_500)));
    assert_eq!(changes(&mut state, ms(30_499)), Vec::<String>::new());
    assert_eq!(changes(&mut state, ms(30_500)), ["a forager[] since 1"]);
    assert_eq!(state.renew(&grant.lease_id, ms(30_500)), Err(Refusal::NoSuchLease));
    assert_eq!(state.next_due(), None);
}

#[test]
fn a_renewal_counts_from_itself() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    let renewed = state.renew(&grant.lease_id, ms(20_000)).unwrap();
    assert_eq!(renewed.lease_id, grant.lease_id);
    assert_eq!(renewed.expires_at_ms, EPOCH_MS + 50_000);
    changes(&mut state, ms(20_000));
    assert_eq!(changes(&mut state, ms(49_999)), Vec::<String>::new());
    assert_eq!(state.check_lease(&grant.lease_id, "a"), Ok(()));
    assert_eq!(changes(&mut state, ms(50_000)), ["a forager[] since 1"]);
}

#[test]
fn the_same_controller_renews_by_acquiring() {
    let mut state = world(vec![entity("a")]);
    let first = state.acquire("a", "me", ms(0)).unwrap();
    assert_eq!(changes(&mut state, ms(0)).last().unwrap(), "a forager[] since 1, leased");
    let second = state.acquire("a", "me", ms(10_000)).unwrap();
    assert_eq!(second.lease_id, first.lease_id);
    assert_eq!(second.expires_at_ms, EPOCH_MS + 40_000);
    assert_eq!(changes(&mut state, ms(10_000)), Vec::<String>::new(), "a renewal is no news");
}

#[test]
fn another_controller_is_refused_until_the_lease_is_gone() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    let refused = state.acquire("a", "you", ms(29_999)).unwrap_err();
    assert_eq!(refused.to_string(), r#""a" is leased to "me""#);
    let yours = state.acquire("a", "you", ms(30_000)).unwrap();
    assert_ne!(yours.lease_id, grant.lease_id);
    assert_eq!(state.check_lease(&grant.lease_id, "a"), Err(Refusal::NoSuchLease));
}

#[test]
fn a_released_lease_is_free_at_once() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    changes(&mut state, ms(0));
    state.release(&grant.lease_id, ms(10)).unwrap();
    assert_eq!(changes(&mut state, ms(10)), ["a forager[] since 1"]);
    assert_eq!(state.release(&grant.lease_id, ms(10)), Err(Refusal::NoSuchLease));
    assert!(state.acquire("a", "you", ms(10)).is_ok());
}

#[test]
fn nobody_leases_what_is_not_there_or_without_a_name() {
    let mut state = world(vec![entity("a")]);
    let absent = state.acquire("b", "me", ms(0));
    assert_eq!(absent, Err(Refusal::NoSuchEntity("b".to_owned())));
    assert_eq!(state.acquire("a", "", ms(0)), Err(Refusal::NoController));
}

#[test]
fn a_lease_is_of_one_entity() {
    let mut state = world(vec![entity("a"), entity("b")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    assert_eq!(state.check_lease(&grant.lease_id, "b"), Err(Refusal::NoSuchLease));
    assert!(state.observation(&grant.lease_id, "b", ms(0)).is_err());
}

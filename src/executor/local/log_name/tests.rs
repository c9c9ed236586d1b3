use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn name(id: &str) -> String {
    log_name(&EntityId::new(id).unwrap())
}

#[test]
fn plain_ids_are_kept_as_they_are() {
    assert_eq!(name("alice"), "agent-alice.log");
    assert_eq!(name("A-b_c.1@x+y"), "agent-A-b_c.1@x+y.log");
}

#[test]
fn everything_else_is_percent_encoded() {
    assert_eq!(name("../../etc/passwd"), "agent-..%2F..%2Fetc%2Fpasswd.log");
    assert_eq!(name("/"), "agent-%2F.log");
    assert_eq!(name(".."), "agent-...log");
    assert_eq!(name("a b"), "agent-a%20b.log");
    assert_eq!(name("a%20b"), "agent-a%2520b.log");
    assert_eq!(name("-rf"), "agent--rf.log");
    assert_eq!(name("蚂蚁"), "agent-%E8%9A%82%E8%9A%81.log");
    assert_eq!(name("~x"), "agent-%7Ex.log");
}

#[test]
fn names_differ_by_case() {
    assert_ne!(name("Alice"), name("alice"));
}

#[test]
fn the_longest_name_that_fits_is_not_cut() {
    let id = "x".repeat(LONGEST - PREFIX.len() - SUFFIX.len());
    assert_eq!(name(&id), format!("agent-{id}.log"));
    assert_eq!(name(&id).len(), LONGEST);
}

#[test]
fn long_names_are_cut_and_end_in_a_hash_of_the_id() {
    let one = name(&format!("{}1", "x".repeat(255)));
    let two = name(&format!("{}2", "x".repeat(255)));
    assert_ne!(one, two);
    assert_eq!((one.len(), two.len()), (LONGEST, LONGEST));
    let (kept, hash) = one.split_once('~').unwrap();
    assert!(kept.starts_with("agent-xxx"));
    assert_eq!(hash.len(), "0123456789abcdef.log".len());
}

#[test]
fn the_hash_is_the_published_one() {
    // From the reference vectors of FNV-1a.
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

/// Short ids over few characters, where near misses are likely, and long ones that are cut.
fn ids() -> impl Strategy<Value = String> {
    prop_oneof!["[aA/.~%25F -]{1,4}", "[xX/é]{60,128}", "\\PC{1,64}"]
}

proptest! {
    #[test]
    fn distinct_ids_have_distinct_safe_names(ids in prop::collection::hash_set(ids(), 1..64)) {
        let mut seen = HashMap::new();
        for id in ids.iter().filter_map(|id| EntityId::new(id).ok()) {
            let name = log_name(&id);
            prop_assert!(name.len() <= LONGEST);
            prop_assert!(name.strip_prefix("agent-").is_some_and(|rest| rest.len() > ".log".len()));
            prop_assert_eq!(name.rsplit('.').next(), Some("log"));
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            if let Some(other) = seen.insert(name, id.clone()) {
                prop_assert!(false, "{other} and {id} share a name");
            }
        }
    }
}

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

fn alice() -> Resource {
    Resource::of_agent("alice", "forager", "default")
}

const OWN: &str = "runner.entity=alice,runner.entity.type=forager,runner.template=default,service.instance.id=alice";

#[test]
fn what_the_user_gives_comes_first_and_is_never_overridden() {
    assert_eq!(alice().added_to(""), OWN);
    assert_eq!(alice().added_to("team=a"), format!("team=a,{OWN}"));
    assert_eq!(
        alice().added_to("service.instance.id=1, runner.template = mine"),
        "service.instance.id=1, runner.template = mine,runner.entity=alice,runner.entity.type=forager"
    );
    // What says the same as we do is told from what we say.
    assert_eq!(alice().added_to("runner.entity=alice"), format!("runner.entity=alice,{OWN}"));
    assert_eq!(alice().taken_from(OWN), "");
    // It is not ours to mend.
    assert_eq!(alice().added_to("broken"), format!("broken,{OWN}"));
}

#[test]
fn values_are_encoded_as_the_specification_says() {
    let odd = Resource::of_agent("a=b,c d%\"é;\\", "", "x/y:z");
    let encoded = "a%3Db%2Cc%20d%25%22%C3%A9%3B%5C";
    assert_eq!(
        odd.added_to(""),
        format!(
            "runner.entity={encoded},runner.entity.type=,runner.template=x/y:z,\
             service.instance.id={encoded}"
        )
    );
}

proptest! {
    #[test]
    fn what_is_added_can_be_read_and_taken_away_again(
        entity in "\\PC{1,20}", kind in "\\PC{0,20}", given in "(|[a-z.]{1,9}=[a-z]{0,3}(,[a-z]=[a-z]){0,3})",
        repeated in proptest::sample::subsequence(OWN.split(',').collect::<Vec<_>>(), 0..=4),
    ) {
        let own = [given.as_str()].into_iter().chain(repeated).collect::<Vec<_>>().join(",");
        let added = alice().added_to(&own);
        prop_assert_eq!(alice().taken_from(&added), own.as_str());
        let resource = Resource::of_agent(&entity, &kind, "default");
        let added = resource.added_to(&given);
        prop_assert_eq!(resource.taken_from(&added), given.as_str());
        let read: Vec<_> = added.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let value = |wanted| read.iter().find(|(key, _)| *key == wanted).unwrap().1;
        let decoded = |key| percent_decode_str(value(key)).decode_utf8().unwrap().into_owned();
        prop_assert_eq!(decoded("runner.entity"), entity);
        prop_assert_eq!(decoded("runner.entity.type"), kind);
    }
}

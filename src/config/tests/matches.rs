//! Which matches can be reached.

use super::*;

/// Templates `t0`, `t1`, … with these matches.
fn rules(matches: &[&str]) -> String {
    let template = |(index, rule)| format!("[agents.t{index}]\nmodule = 'm'\nmatch = {rule}\n");
    matches.iter().enumerate().map(template).collect()
}

#[test]
fn reachable_ones() {
    for matches in [
        &["{ types = ['a'] }", "{ types = ['b'] }"][..],
        &["{ types = ['a'], tags = ['x'] }", "{ types = ['a'] }"],
        &["{ types = ['a'] }", "{ types = ['a', 'b'] }"],
        &["{ types = ['a'] }", "{ }"],
        &["{ tags = ['x'] }", "{ tags = ['y'] }"],
        &["{ types = ['a'] }", "{ types = ['b'] }", "{ types = ['a', 'b', 'c'] }"],
    ] {
        good(&rules(matches));
    }
}

#[test]
fn unreachable_ones() {
    for (matches, shadow) in [
        (&["{ }", "{ types = ['a'] }"][..], "`agents.t0` above"),
        (&["{ }", "{ }"], "`agents.t0` above"),
        (&["{ types = ['a', 'b'] }", "{ types = ['b'], tags = ['x'] }"], "`agents.t0` above"),
        (&["{ tags = ['x'] }", "{ types = ['b'], tags = ['y', 'x'] }"], "`agents.t0` above"),
        (
            &["{ types = ['a'] }", "{ types = ['b'] }", "{ types = ['a', 'b'] }"],
            "`agents.t0` and `agents.t1` above",
        ),
    ] {
        let [line] = &brief(&rules(matches))[..] else { panic!("not one mistake: {matches:?}") };
        let last = matches.len() - 1;
        assert!(line.contains(&format!("match of `agents.t{last}`")), "{line}");
        assert!(line.contains(shadow), "{line}");
    }
}

#[test]
fn none_is_reachable_without_discovery() {
    let text = format!("[runner]\nauto_discover = false\n{}", rules(&["{ }", "{ tags = ['x'] }"]));
    assert_eq!(brief(&text).len(), 2);
}

#[test]
fn the_order_is_that_of_the_file() {
    let text = "[agents.zoe.env]\nA = 'a'\n[agents.bob]\nmodule = 'm'\n\
                [agents.zoe]\nmodule = 'm'\n[agents.anna]\nmodule = 'm'\n";
    let config = good(text);
    let names: Vec<&str> = config.rules.templates.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["zoe", "bob", "anna"]);
}

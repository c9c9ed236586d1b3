use super::*;
use crate::plan::Confinement;

fn sandbox(read: &[&str], write: &[&str]) -> Sandbox {
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    Sandbox { read: owned(read), write: owned(write) }
}

#[test]
fn an_entity_is_one_name_in_a_path_whatever_it_is_called() {
    let own = sandbox(&["/usr"], &["work/{entity_id}/x"]);
    for (id, path) in [
        ("alice", "work/alice/x"),
        ("a.b-c_D9", "work/a.b-c_D9/x"),
        ("..", "work/%2E./x"),
        (".", "work/%2E/x"),
        ("../../etc", "work/%2E.%2F..%2Fetc/x"),
        ("a/b", "work/a%2Fb/x"),
        ("é %", "work/%C3%A9%20%25/x"),
        ("{entity_id}", "work/%7Bentity_id%7D/x"),
    ] {
        let resolved = own.resolve(&EntityId::new(id).unwrap());
        assert_eq!(resolved, sandbox(&["/usr"], &[path]), "{id}");
    }
}

#[test]
fn paths_are_those_of_the_working_directory() {
    let own = sandbox(&["/usr", "lib"], &["out"]);
    let paths: Vec<_> = own.paths(Path::new("/a")).collect();
    let expected = [("/usr", false), ("/a/lib", false), ("/a/out", true)];
    assert_eq!(paths, expected.map(|(path, writes)| (PathBuf::from(path), writes)));
}

#[test]
fn what_agents_were_started_as_before_there_were_any_is_unchanged() {
    let without = Confinement::default();
    assert!(!without.to_string().contains("sandbox"));
    let sandbox = Some(sandbox(&["/usr"], &["out"]));
    let with = Confinement { sandbox, ..without };
    assert_eq!(serde_json::from_str::<Confinement>(&with.to_string()).unwrap(), with);
}

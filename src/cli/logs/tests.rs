use super::*;

const LOG: &[u8] = b"old\n--- runner: 2026-11-23T06:00:00.000Z run #1 x\na\nb\n\
--- runner: 2026-11-23T07:00:00.000Z run #2 x\nc\nd\ne\n\
--- runner: 2999-01-01T00:00:00.000Z run #3 x\nf";

fn part(options: &[&str]) -> String {
    let args = ["logs", "x"].iter().chain(options);
    let args = Args::try_parse_from(args).unwrap();
    String::from_utf8(wanted(&args, LOG).to_vec()).unwrap()
}

#[test]
fn parts_of_a_log() {
    assert_eq!(part(&[]).as_bytes(), LOG);
    assert_eq!(part(&["--tail", "2"]), "--- runner: 2999-01-01T00:00:00.000Z run #3 x\nf");
    assert_eq!(part(&["--tail", "0"]), "");
    assert_eq!(part(&["--tail", "99"]).as_bytes(), LOG);
    let previous = "--- runner: 2026-11-23T07:00:00.000Z run #2 x\nc\nd\ne\n";
    assert_eq!(part(&["--previous"]), previous);
    assert_eq!(part(&["--previous", "--tail", "1"]), "e\n");
    assert_eq!(part(&["--since", "1s"]), "--- runner: 2999-01-01T00:00:00.000Z run #3 x\nf");
}

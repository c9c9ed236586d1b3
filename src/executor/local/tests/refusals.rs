//! What a person reads when an agent cannot be started.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Rig;
use crate::executor::Executor;
use crate::plan::Exit;

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut rig = Rig::new();
    let request = rig.request(&["no-such-program"]);
    assert_eq!(
        rig.refused(request).await,
        "cannot start \"no-such-program\": not found in PATH (No such file or directory)"
    );
    let request = rig.request(&["./nothing"]);
    assert_eq!(
        rig.refused(request).await,
        "cannot start \"./nothing\": not found from TEMP (No such file or directory)"
    );
    let request = rig.request(&["/no/thing"]);
    assert_eq!(
        rig.refused(request).await,
        "cannot start \"/no/thing\": not found (No such file or directory)"
    );
    let request = rig.request(&[]);
    assert_eq!(rig.refused(request).await, "the command is empty");
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_told_from_one_that_is_not_there() {
    let mut rig = Rig::new();
    let file = |name: &str, text: &str, mode| {
        let path = rig.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    file("data", "data", 0o644);
    file("stale", "#!/no/such/python\n", 0o755);
    let request = rig.request(&["./data"]);
    assert_eq!(
        rig.refused(request).await,
        "cannot start \"./data\": not a file that may be executed (Permission denied)"
    );
    let stale = "TEMP/./stale is there, but the interpreter that it names is not";
    let request = rig.request(&["./stale"]);
    assert_eq!(
        rig.refused(request).await,
        format!("cannot start \"./stale\": {stale} (No such file or directory)")
    );
    let mut request = rig.request(&["stale"]);
    request.spec.env.insert("PATH".to_owned(), rig.path("").to_str().unwrap().to_owned());
    assert!(rig.refused(request).await.contains("the interpreter that it names is not"));
}

#[tokio::test]
async fn a_working_directory_that_cannot_be_entered_is_named() {
    let mut rig = Rig::new();
    fs::write(rig.path("file"), "").unwrap();
    let mut request = rig.request(&["true"]);
    request.spec.cwd = rig.path("absent");
    assert_eq!(rig.refused(request).await, "working directory TEMP/absent does not exist");
    let mut request = rig.request(&["true"]);
    request.spec.cwd = rig.path("file");
    assert_eq!(rig.refused(request).await, "working directory TEMP/file is not a directory");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_named() {
    let mut rig = Rig::new();
    fs::write(rig.path("file"), "").unwrap();
    let mut request = rig.request(&["true"]);
    request.log_dir = rig.path("file");
    assert_eq!(
        rig.refused(request).await,
        "cannot open log TEMP/file/agent-alice.log: Not a directory"
    );
    let mut request = rig.request(&["true"]);
    request.log_dir = rig.path("new/dir");
    let run = request.run;
    rig.local.spawn(request);
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    assert!(rig.text("new/dir/agent-alice.log").starts_with("--- runner: "));
}

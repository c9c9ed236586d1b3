//! A real socket, and a client at its other end.

use std::pin::pin;

use tonic::Code;

use super::*;
use crate::events::Recorder;

/// An instance whose asks come here.
fn instance(dir: &Path) -> (Instance, UnboundedReceiver<Ask>) {
    let (asks, asked) = mpsc::unbounded_channel();
    let instance = Instance {
        name: "one".to_owned(),
        config: dir.join("one.toml"),
        state_dir: dir.to_owned(),
        requests: mpsc::unbounded_channel().0,
        changes: watch::channel(0).1,
        events: Events::keep(&Recorder::default(), dir, 1 << 20).unwrap(),
        cluster: None,
        asks,
    };
    (instance, asked)
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered_and_who_watches_is_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (instance, mut asked) = instance(dir.path());
    let (over, until) = watch::channel(());
    let mut serving = pin!(serve(listen(dir.path()).unwrap(), instance, until));
    let mut client = client::connect(dir.path()).unwrap();
    let mut watching = client.clone();

    let talk = async {
        let mut events = watching.watch_events(pb::ListEventsRequest::default()).await.unwrap();
        let asking = tokio::spawn(async move { client.reload(pb::ReloadRequest {}).await });
        let Some(Ask::Reload(done)) = asked.recv().await else { panic!("something else") };
        drop(over);
        let last = events.get_mut().message().await.unwrap_err();
        assert_eq!(
            (last.code(), last.message()),
            (Code::Unavailable, "the runner is about to end")
        );
        (done, asking)
    };
    let (done, asking) = tokio::select! {
        _ = &mut serving => panic!("it did not wait for the answer"),
        talked = talk => talked,
    };
    let outcome = pb::ReloadResponse { config_generation: 7, ..pb::ReloadResponse::default() };
    done.send(outcome.clone()).unwrap();
    serving.await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap().into_inner(), outcome);
}

#[tokio::test]
async fn to_whom_nobody_came_there_is_nothing_to_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (instance, _asked) = instance(dir.path());
    let (over, until) = watch::channel(());
    drop(over);
    serve(listen(dir.path()).unwrap(), instance, until).await.unwrap();
}

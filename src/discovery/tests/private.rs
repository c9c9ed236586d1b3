//! Worlds behind TLS that ask who is there.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::script::World;
use super::{Subject, ids, reaches, settings};
use crate::clock::Clock;
use crate::credentials::fixture::{Authority, Issued};
use crate::credentials::{Credentials, Identity, Tls};
use crate::discovery::link::{Connections, Link};
use crate::discovery::{Settings, View};

/// TLS in front of a world.
struct Front {
    address: SocketAddr,
    shows: Arc<Mutex<Arc<ServerConfig>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Front {
    /// Shows this certificate, and asks for one that `clients` vouches for, if it is there.
    async fn start(world: &World, issued: &Issued, clients: Option<&Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shows = Arc::new(Mutex::new(server(issued, clients)));
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (to, config, live) = (world.server(), Arc::clone(&shows), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&config.lock().unwrap()));
                let to = to.clone();
                live.lock().unwrap().spawn(async move {
                    let Ok(mut private) = acceptor.accept(stream).await else { return };
                    let mut world = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut private, &mut world).await;
                });
            }
        });
        Self { address, shows, connections }
    }

    /// Shows this one from now on, on new connections.
    fn show(&self, issued: &Issued) {
        *self.shows.lock().unwrap() = server(issued, None);
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

fn server(issued: &Issued, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let pem = authority.pem();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.into()
}

/// What the runner is given.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn tls(&self, authority: &Authority) -> Tls {
        let ca = Some(self.write("ca.pem", &authority.pem()));
        Tls { ca, ..Tls::default() }
    }

    fn identity(&self, issued: &Issued) -> Identity {
        let (cert, key) =
            (self.write("cert.pem", &issued.cert), self.write("key.pem", &issued.key));
        Identity { cert, key }
    }
}

fn with(front: &Front, credentials: Credentials) -> Settings {
    Settings { credentials, ..settings(&front.address.to_string()) }
}

fn over(front: &Front, tls: Tls) -> Settings {
    with(front, Credentials { tls: Some(tls), token_file: None })
}

/// Waits until it was tried, and nothing came of it.
async fn nothing_known(subject: &mut Subject) {
    let view = subject.until(|view| view.disrupted_at.is_some()).await;
    assert_eq!((view.latest.as_ref(), view.reachable), (None, false));
}

/// Waits until a call from now on has failed, and checks that nothing is forgotten.
async fn lost(subject: &mut Subject, before: &View) {
    let asked = subject.clock.now();
    subject.discovery.ask();
    let failed = |view: &View| view.disrupted_at.is_some_and(|at| at > asked) && !view.reachable;
    let view = subject.until(failed).await;
    assert_eq!(view.latest, before.latest);
}

#[tokio::test]
async fn a_world_is_known_by_its_certificate_and_by_no_other() {
    let world = World::start(&["a"]);
    let (files, authority) = (Files::new(), Authority::new());
    let front = Front::start(&world, &authority.issue("127.0.0.1"), None).await;
    let mut subject = Subject::start(over(&front, files.tls(&authority)));
    let before = subject.until_answers(1).await;
    assert_eq!(ids(&before), ["a"]);

    // Somebody else is there from now on: nothing that it says is heard, and nobody is gone.
    let stranger = Authority::new();
    front.show(&stranger.issue("127.0.0.1"));
    world.script.say(&[]);
    front.cut();
    let asked = *world.script.lists.borrow();
    lost(&mut subject, &before).await;
    front.show(&authority.issue("elsewhere"));
    let failures = subject.until(|view| !view.reachable).await.disrupted_at;
    subject.until(|view| view.disrupted_at > failures).await;
    assert_eq!(*world.script.lists.borrow(), asked, "a stranger was asked");

    // A new certificate of the same authority is as good as the old one.
    front.show(&authority.issue("127.0.0.1"));
    world.script.say(&["a", "b"]);
    let view = subject.until(|view| view.reachable).await;
    assert_eq!(ids(&view), ["a", "b"]);
    assert!(view.disrupted_at.is_some());
}

#[tokio::test]
async fn a_file_that_is_replaced_is_taken_at_the_next_connection() {
    let world = World::start(&["a"]);
    let (files, authority) = (Files::new(), Authority::new());
    let front = Front::start(&world, &authority.issue("127.0.0.1"), None).await;
    let mut subject = Subject::start(over(&front, files.tls(&authority)));
    let before = subject.until_answers(1).await;
    let next = Authority::new();
    front.show(&next.issue("127.0.0.1"));
    front.cut();
    lost(&mut subject, &before).await;
    // A file that is not there is a failed call, and no reason to forget anybody.
    fs::remove_file(files.0.path().join("ca.pem")).unwrap();
    lost(&mut subject, &before).await;
    files.write("ca.pem", &next.pem());
    subject.until(|view| view.reachable).await;
}

#[tokio::test]
async fn a_world_that_asks_for_a_certificate_gets_it_and_refuses_others() {
    let world = World::start(&["a"]);
    let (files, authority) = (Files::new(), Authority::new());
    let front = Front::start(&world, &authority.issue("world"), Some(&authority)).await;
    let named = Tls { server_name: Some("world".to_owned()), ..files.tls(&authority) };
    let mut subject = Subject::start(over(&front, named.clone()));
    nothing_known(&mut subject).await;
    let stranger = Some(files.identity(&Authority::new().issue("runner")));
    subject.settings.send_replace(over(&front, Tls { identity: stranger, ..named.clone() }));
    let failed = subject.until(|view| view.disrupted_at.is_some()).await.disrupted_at;
    subject.until(|view| view.disrupted_at > failed).await;
    assert_eq!(*world.script.lists.borrow(), 0);
    // The same paths hold another certificate now.
    files.identity(&authority.issue("runner"));
    assert_eq!(ids(&*subject.until_answers(1).await), ["a"]);
}

#[tokio::test]
async fn each_call_bears_the_token_that_the_file_holds_then() {
    let world = World::start(&["a"]);
    world.script.offer_watch();
    let files = Files::new();
    let file = files.write("token", "first\n");
    *world.script.demands.lock().unwrap() = Some("first".to_owned());
    let plain = settings(&world.server());
    let mut subject = Subject::start(Settings {
        credentials: Credentials { tls: None, token_file: Some(file) },
        ..plain.clone()
    });
    let before = subject.until_answers(1).await;
    reaches(&world.script.watches, 1).await;
    *world.script.demands.lock().unwrap() = Some("second".to_owned());
    lost(&mut subject, &before).await;
    // On the connection that there is: no new one is needed.
    files.write("token", "second");
    let before = subject.until(|view| view.reachable).await;
    fs::set_permissions(files.0.path().join("token"), Permissions::from_mode(0o644)).unwrap();
    lost(&mut subject, &before).await;
    // Settings that change are as good as a start.
    let another = files.write("another", "second");
    let credentials = Credentials { tls: None, token_file: Some(another) };
    subject.settings.send_replace(Settings { credentials, ..plain });
    let view = subject.until(|view| view.reachable).await;
    assert_eq!(view.latest.as_ref().unwrap().entities, before.latest.as_ref().unwrap().entities);
}

/// Lets nobody in: the handshake is done, and then the connection ends, without any word of why.
/// With a reset where there is something that was not read.
async fn shut_up(issued: &Issued, reset: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(server(issued, None));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(private) = acceptor.accept(stream).await else { continue };
            let (stream, _) = private.into_inner();
            if reset {
                stream.set_zero_linger().unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_ends_before_a_word_was_said_was_refused() {
    let (files, authority) = (Files::new(), Authority::new());
    let issued = authority.issue("127.0.0.1");
    for reset in [false, true] {
        let address = shut_up(&issued, reset).await;
        let credentials = Credentials { tls: Some(files.tls(&authority)), token_file: None };
        // Which of our steps finds it out is a matter of luck.
        for _ in 0..50 {
            let link = link(&address.to_string(), &credentials);
            let told = link.list(super::LONG).await.unwrap_err().to_string();
            assert!(told.starts_with("the world refused the TLS connection: "), "{reset} {told}");
            assert!(told.contains("`tls.cert` and `tls.key`"), "{reset} {told}");
        }
    }
}

fn link(server: &str, credentials: &Credentials) -> Link {
    Link::new(server, credentials, Clock::new(), Connections::default()).unwrap()
}

#[tokio::test]
async fn what_went_wrong_is_told_and_secrets_are_not() {
    let world = World::start(&["a"]);
    let (files, authority) = (Files::new(), Authority::new());
    let front = Front::start(&world, &authority.issue("127.0.0.1"), None).await;
    let asking = Front::start(&world, &authority.issue("127.0.0.1"), Some(&authority)).await;
    let token_file = Some(files.write("token", "s3cret"));
    *world.script.demands.lock().unwrap() = Some("other".to_owned());
    let said = |settings: Settings| async move {
        let link = link(&settings.server, &settings.credentials);
        let failure = link.list(super::LONG).await.unwrap_err();
        assert!(!format!("{failure:?} {failure}").contains("s3cret"), "{failure:?}");
        failure.to_string()
    };
    let stranger =
        Tls { ca: Some(files.write("s.pem", &Authority::new().pem())), ..Tls::default() };
    let told = said(over(&front, stranger)).await;
    assert!(told.contains("is not vouched for by `tls.ca`"), "{told}");
    let own = files.tls(&authority);
    let told =
        said(over(&front, Tls { server_name: Some("x.example".into()), ..own.clone() })).await;
    assert!(told.contains("certificate is not accepted") && told.contains("x.example"), "{told}");
    let told = said(over(&asking, own.clone())).await;
    assert!(told.contains("refused the TLS connection: CertificateRequired"), "{told}");
    let plain = Settings { server: world.server(), ..over(&front, own.clone()) };
    assert_eq!(said(plain).await, "the world does not speak TLS there");
    let missing = Tls { ca: Some("/no/such/file".into()), ..Tls::default() };
    assert!(said(over(&front, missing)).await.starts_with("cannot read /no/such/file: "));
    let told = said(with(&front, Credentials { tls: Some(own), token_file })).await;
    assert_eq!(told, "the world answered Unauthenticated: who are you with Bearer [token]?");
}

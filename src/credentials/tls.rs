//! A TLS client, made of files.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{CredentialError, Identity, Tls, pem};

/// What both ends have to agree on: gRPC is HTTP/2.
const HTTP2: &[u8] = b"h2";

impl Tls {
    /// A client, made of the files as they are. Blocks for them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn client(&self) -> Result<ClientConfig, CredentialError> {
        let unusable = |error: rustls::Error| CredentialError::Unusable(error.to_string());
        // Named, and not the process's: nobody else decides about it.
        let provider: Arc<CryptoProvider> = ring::default_provider().into();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(self.roots()?);
        let mut client = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(pem::certificates(&identity.cert)?, pem::key(&identity.key)?)
                .map_err(|error| identity.unfit(&error))?,
        };
        client.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(client)
    }

    fn roots(&self) -> Result<RootCertStore, CredentialError> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            // Some of a system's are broken, for years.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let why = "this system has no certificates that vouch for servers: install \
                           `ca-certificates`, or write `tls = { ca = \"ca.pem\" }`";
                return Err(CredentialError::Unusable(why.to_owned()));
            }
            return Ok(roots);
        };
        for certificate in pem::certificates(ca)? {
            roots.add(certificate).map_err(|error| {
                CredentialError::Unusable(format!("{} cannot vouch: {error}", ca.display()))
            })?;
        }
        Ok(roots)
    }

    /// The name that the world's certificate must have, for a world at `HOST:PORT`.
    ///
    /// # Errors
    /// If it is no name that a certificate could have.
    pub fn name_for(&self, server: &str) -> Result<ServerName<'static>, CredentialError> {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| {
            let why = format!("{name:?} is no name of a server: set `tls = {{ server_name = … }}`");
            CredentialError::Unusable(why)
        })
    }
}

impl Identity {
    /// Whether it could be shown to a world. Blocks for the files.
    ///
    /// # Errors
    /// The file that is wrong, and why.
    pub fn check(&self) -> Result<(), (PathBuf, CredentialError)> {
        let certificates =
            pem::certificates(&self.cert).map_err(|error| (self.cert.clone(), error))?;
        let key = pem::key(&self.key).map_err(|error| (self.key.clone(), error))?;
        CertifiedKey::from_der(certificates, key, &ring::default_provider())
            .map(|_| ())
            .map_err(|error| (self.key.clone(), self.unfit(&error)))
    }

    fn unfit(&self, error: &rustls::Error) -> CredentialError {
        let (cert, key) = (self.cert.display(), self.key.display());
        CredentialError::Unusable(format!("{cert} and {key} do not go together: {error}"))
    }
}

/// A connection that others cannot read.
///
/// By TLS 1.3 a server looks at our certificate when our half of the handshake is over: we send, and
/// learn of a refusal later, by its alert, or by the end of the connection that overtook the alert.
/// So an end before the first word is told as the refusal that it most likely is.
#[derive(Debug)]
pub struct Private {
    stream: TlsStream<TcpStream>,
    /// Whether the other end has said anything, and so has let us in.
    heard: bool,
    refusal: Refusal,
}

/// That a connection was refused, in words: for who has it from the layers above only that it broke,
/// as a call is told that comes when the connection has ended and is not gone yet.
#[derive(Clone, Debug, Default)]
pub struct Refusal(Arc<OnceLock<String>>);

impl Refusal {
    /// How it was refused, if it was.
    #[must_use]
    pub fn told(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Makes a connection private, after it was proved who is at the other end.
///
/// # Errors
/// If the files are wrong, or the other end is not who it should be; in words for people.
pub async fn connect(
    tls: &Tls,
    server: &str,
    (stream, refusal): (TcpStream, Refusal),
) -> io::Result<Private> {
    // As text: it says of which file, and its cause does not.
    let told = |error: CredentialError| io::Error::other(error.to_string());
    let name = tls.name_for(server).map_err(told)?;
    let files = tls.clone();
    let client = tokio::task::spawn_blocking(move || files.client())
        .await
        .map_err(io::Error::other)?
        .map_err(told)?;
    let connected = TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    let stream = connected.map_err(|error| explain(&error).unwrap_or(error))?;
    Ok(Private { stream, heard: false, refusal })
}

impl Private {
    /// What it means that the connection broke, now.
    fn broken(&self, error: &io::Error) -> io::Error {
        if let Some(explained) = explain(error) {
            if !self.heard {
                self.refusal.0.get_or_init(|| explained.to_string());
            }
            return explained;
        }
        // Without a word, not even that of TLS: what rustls says of that is long.
        let closed = error.kind() == io::ErrorKind::UnexpectedEof;
        let how = if closed { "connection closed".to_owned() } else { error.kind().to_string() };
        if self.heard {
            return io::Error::new(error.kind(), how);
        }
        let refused = refused(&how);
        self.refusal.0.get_or_init(|| refused.to_string());
        refused
    }

    /// The same where we were sending: why is what is still to be read, if anything is.
    fn broken_off(&mut self, cx: &mut Context<'_>, error: &io::Error) -> io::Error {
        let mut unread = [0; 1];
        match Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut unread)) {
            Poll::Ready(Err(last_word)) => self.broken(&last_word),
            Poll::Ready(Ok(())) | Poll::Pending => self.broken(error),
        }
    }
}

impl AsyncRead for Private {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        read.map_err(|error| self.broken(&error))?;
        if !self.heard && buffer.filled().len() == before {
            return Poll::Ready(Err(self.broken(&io::ErrorKind::UnexpectedEof.into())));
        }
        self.heard = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Private {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| self.broken_off(cx, &error)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces));
        Poll::Ready(written.map_err(|error| self.broken_off(cx, &error)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.broken_off(cx, &error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What it means that the other end broke a connection off before it said anything.
fn refused(how: &str) -> io::Error {
    io::Error::other(format!(
        "the world refused the TLS connection: {how}; it may want `tls.cert` and `tls.key`, or \
         others"
    ))
}

/// What an error of TLS means, in words that say what to look at; none if it is not one.
fn explain(error: &io::Error) -> Option<io::Error> {
    let inner: &(dyn Error + 'static) = error.get_ref()?;
    let error = inner.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error {
        return Some(refused(&format!("{alert:?}")));
    }
    let why = if let rustls::Error::InvalidCertificate(why) = error {
        // The latter is what one says whose name is the same.
        let stranger =
            matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature);
        if stranger {
            format!(
                "the world's certificate is not vouched for by `tls.ca` (or, without it, by this \
                 system): {why:?}"
            )
        } else {
            format!("the world's certificate is not accepted: {why}")
        }
    } else if *error == rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) {
        "the world does not speak TLS there".to_owned()
    } else {
        format!("no TLS connection: {error}")
    };
    Some(io::Error::other(why))
}

//! Connections: so many at once, each with a time for its head, with or without TLS.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How much is taken from whom.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait until one ends.
    pub connections: usize,
    /// How long the head of a request may take, and how long a connection may stay without one.
    pub head: Duration,
}

impl Default for Limits {
    /// 1024 connections, 10 s.
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(10),
        }
    }
}

/// The longest head of a request, in bytes.
const HEAD: usize = 32 * 1024;
/// How long a client may leave an answer unread.
const STALL: Duration = Duration::from_secs(60);
/// The share of the places that one address may hold is one in this many.
const SHARE: usize = 2;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A certificate and its key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct TlsError(String);

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// From PEM files: the certificate with its chain, and its private key.
    ///
    /// # Errors
    /// A file that cannot be read or used, or a key of another certificate. Never with a part of the key.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let bad = |path: &Path, why: String| TlsError(format!("{}: {why}", path.display()));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
            .map_err(|error| bad(certificate, error.to_string()))?
            .collect();
        let chain = chain.map_err(|error| bad(certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(bad(certificate, "it holds no certificate".into()));
        }
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|_| bad(key, "it holds no private key that can be read".into()))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, secret);
        let config = config.map_err(|error| bad(certificate, error.to_string()))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let peers: Peers = Arc::default();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, or a connection that broke before it was taken: a moment later it may be better.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without it an answer in two writes costs 40 ms; a socket that refuses it still works.
        let _ = stream.set_nodelay(true);
        let most = (limits.connections / SHARE).max(1);
        let Some(share) = Share::of(&peers, peer.ip(), most) else {
            continue;
        };
        let connection = Connection {
            router: router.clone(),
            peer,
            limits,
            _place: place,
            _share: share,
        };
        let watcher = graceful.watcher();
        match tls.clone() {
            None => tokio::spawn(connection.run(stream, watcher)),
            Some(tls) => tokio::spawn(connection.run_tls(stream, tls, watcher)),
        };
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

type Watcher = hyper_util::server::graceful::Watcher;

struct Connection {
    router: Router,
    peer: SocketAddr,
    limits: Limits,
    _place: OwnedSemaphorePermit,
    _share: Share,
}

type Peers = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection of an address, counted while it lasts.
struct Share {
    peers: Peers,
    peer: IpAddr,
}

impl Share {
    /// `None`: the address has its share.
    fn of(peers: &Peers, peer: IpAddr, most: usize) -> Option<Self> {
        let mut counts = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self {
            peers: Arc::clone(peers),
            peer,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

impl Connection {
    async fn run_tls(self, stream: TcpStream, tls: Tls, watcher: Watcher) {
        let handshake = tokio::time::timeout(HANDSHAKE, tls.0.accept(stream));
        if let Ok(Ok(stream)) = handshake.await {
            self.run(stream, watcher).await;
        }
    }

    async fn run<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = self.peer;
        let service = self
            .router
            .map_request(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.map(axum::body::Body::new)
            });
        let mut stream = Box::pin(TimeoutStream::new(stream));
        // Who asks and never reads the answer holds no place.
        stream.as_mut().set_write_timeout_pinned(Some(STALL));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        // A connection that ends early is its client's affair.
        let _ = watcher.watch(connection).await;
    }
}

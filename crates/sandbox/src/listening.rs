//! The sockets of a stand-in: listening, and for a while refusing when that was ordered.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// A system that is to be gone, and for how long.
pub(crate) type Down = (&'static str, Duration);

/// A listener, and a second socket on its port that never listens: while the first one is closed, connections are refused
/// and nobody else gets the port.
pub(crate) struct Port {
    listener: TcpListener,
    _placeholder: TcpSocket,
}

impl Port {
    /// Takes a port of 127.0.0.1; 0: any.
    pub(crate) fn take(port: u16) -> std::io::Result<Self> {
        let listener = bound(SocketAddr::from(([127, 0, 0, 1], port)))?.listen(1024)?;
        let placeholder = bound(listener.local_addr()?)?;
        Ok(Self {
            listener,
            _placeholder: placeholder,
        })
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until `stop`; gone for a while whenever `downs` says so of this system.
pub(crate) async fn serve(
    system: &'static str,
    port: Port,
    router: Router,
    stop: CancellationToken,
    downs: broadcast::Sender<Down>,
) -> std::io::Result<()> {
    let address = port.address()?;
    let Port {
        mut listener,
        _placeholder,
    } = port;
    loop {
        let mut ordered = downs.subscribe();
        let gone = CancellationToken::new();
        let quick = listener.tap_io(|stream| {
            // Without it every answer in two writes costs 40 ms.
            drop(stream.set_nodelay(true));
        });
        let served = axum::serve(quick, router.clone())
            .with_graceful_shutdown(gone.clone().cancelled_owned())
            .into_future();
        let served = tokio::spawn(served);
        let back = tokio::select! {
            () = stop.cancelled() => {
                served.abort();
                return Ok(());
            }
            back = next(&mut ordered, system) => back,
        };
        gone.cancel();
        tokio::time::sleep(back).await;
        listener = bound(address)?.listen(1024)?;
    }
}

async fn next(ordered: &mut broadcast::Receiver<Down>, system: &str) -> Duration {
    loop {
        match ordered.recv().await {
            Ok((named, back)) if named == system => return back,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_system_that_goes_down_refuses_and_comes_back_on_its_port() {
        let port = Port::take(0).unwrap();
        let address = port.address().unwrap();
        let (downs, _) = broadcast::channel(4);
        let router = Router::new();
        let served = serve("it", port, router, CancellationToken::new(), downs.clone());
        let served = tokio::spawn(served);
        drop(tokio::net::TcpStream::connect(address).await.unwrap());
        while downs.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        downs.send(("it", Duration::from_millis(50))).unwrap();
        let refused = loop {
            if let Err(error) = tokio::net::TcpStream::connect(address).await {
                break error;
            }
        };
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        served.abort();
    }
}

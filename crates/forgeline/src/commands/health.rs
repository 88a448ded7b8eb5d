//! `forgeline health`: for a container that has no other program to ask with. Needs no configuration.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{exit, output};

const PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn run(url: &str) -> u8 {
    let asked = tokio::time::timeout(PATIENCE, ask(url)).await;
    match asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))) {
        Ok(()) => exit::OK,
        Err(why) => {
            output::complain(&format!("{url} is not well"), Some(&why), None);
            exit::UNEXPECTED
        }
    }
}

async fn ask(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    let host = url.host_str().ok_or("the address names no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let mut stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| error.to_string())?;
    let request = format!("GET {} HTTP/1.0\r\nHost: {host}\r\n\r\n", url.path());
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = [0_u8; 12];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    let status = String::from_utf8_lossy(&answer[9..]).into_owned();
    if status.starts_with('2') {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

//! Attach through a websocket (RFC 6455): each message is bytes of stdin, or of stdout and stderr together.

use crate::{error::ApiError, frames::Framing, socket::Socket};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use minke_engine::container::Attachment;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

/// The largest message that a client may send, bytes.
const MOST: usize = 1 << 20;
/// Bytes read from the process at a time.
const CHUNK: usize = 32 << 10;

/// The head that makes a connection a websocket, or why it cannot be one.
pub(crate) fn head(headers: &HeaderMap) -> Result<Vec<u8>, ApiError> {
    let field = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let upgrade = field(header::UPGRADE).eq_ignore_ascii_case("websocket");
    let connection = field(header::CONNECTION).to_ascii_lowercase().contains("upgrade");
    let key = field(header::SEC_WEBSOCKET_KEY);
    if !upgrade || !connection || key.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "not websocket protocol"));
    }
    let accept = derive_accept_key(key.as_bytes());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes())
}

/// Carries messages until one side ends. The head has been written.
pub(crate) async fn run(socket: Socket, attachment: Attachment, takes_input: bool, binary: bool) {
    let config = WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST));
    let websocket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let (mut to_client, mut from_client) = websocket.split();
    let message = |bytes: Vec<u8>| match binary {
        true => Message::binary(bytes),
        false => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
    };
    let framing = if attachment.tty { Framing::Keep } else { Framing::Remove };
    let mut framer = framing.framer();
    let mut stream = attachment.stream;
    let replay = framer.pass(std::mem::take(&mut stream.replay));
    if !replay.is_empty() && to_client.send(message(replay)).await.is_err() {
        return;
    }
    let opened = tokio::select! {
        opened = stream.open() => opened,
        // What comes before the start is not kept here; a client that leaves ends the wait.
        () = async { while let Some(Ok(_)) = from_client.next().await {} } => return,
    };
    if let Some(process) = opened {
        let (mut output, mut input) = process.into_split();
        let say = async {
            let mut buffer = vec![0u8; CHUNK];
            while let Ok(n) = output.read(&mut buffer).await {
                let payload = framer.pass(buffer[..n].to_vec());
                if n == 0 || !payload.is_empty() && to_client.send(message(payload)).await.is_err() {
                    return;
                }
            }
        };
        let hear = async {
            while let Some(Ok(heard)) = from_client.next().await {
                let bytes = match heard {
                    Message::Text(text) => text.as_bytes().to_vec(),
                    Message::Binary(bytes) => bytes.to_vec(),
                    Message::Close(_) => return,
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                };
                // A process that reads no more still speaks.
                if takes_input && input.write_all(&bytes).await.is_err() {
                    continue;
                }
            }
        };
        tokio::select! {
            () = say => {}
            () = hear => {}
        }
    }
    // A client that is gone needs no goodbye.
    let _ = to_client.send(Message::Close(None)).await;
    let _ = to_client.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_rfc_6455() {
        let mut headers = HeaderMap::new();
        assert!(head(&headers).is_err());
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let head = String::from_utf8(head(&headers).expect("a websocket")).expect("text");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    }
}

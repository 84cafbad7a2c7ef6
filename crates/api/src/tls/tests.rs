//! Handshakes with certificates made for these tests (they end in 2126).

use super::*;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CA: &[u8] = include_bytes!("ca.pem");
const SERVER: (&[u8], &[u8]) = (include_bytes!("server.pem"), include_bytes!("server.key"));
const CLIENT: (&[u8], &[u8]) = (include_bytes!("client.pem"), include_bytes!("client.key"));

/// What a client reads from a server that says `hello`, or that it was sent away.
async fn hello(config: Arc<ServerConfig>, with_certificate: bool) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        if let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.shutdown().await;
        }
    });
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, "authority").expect("PEM") {
        roots.add(certificate).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let client = match with_certificate {
        true => builder.with_client_auth_cert(
            certificates(CLIENT.0, "certificate").expect("PEM"),
            PrivateKeyDer::from_pem_slice(CLIENT.1).expect("a key"),
        ),
        false => Ok(builder.with_no_client_auth()),
    };
    let connector = TlsConnector::from(Arc::new(client.expect("a client's setup")));
    let tcp = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.map_err(|e| e.to_string())?;
    Ok(said)
}

#[tokio::test]
async fn without_an_authority_every_client_is_let_in() {
    let config = server_config(SERVER.0, SERVER.1, None).expect("a setup");
    assert_eq!(hello(config, false).await, Ok("hello".to_owned()));
}

#[tokio::test]
async fn with_an_authority_only_its_clients_are_let_in() {
    let config = server_config(SERVER.0, SERVER.1, Some(CA)).expect("a setup");
    assert_eq!(hello(config.clone(), true).await, Ok("hello".to_owned()));
    assert!(hello(config, false).await.is_err(), "a client without a certificate was let in");
}

#[test]
fn what_cannot_be_used_is_named() {
    let refused = |certificate: &[u8], key: &[u8], authority| {
        server_config(certificate, key, authority).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(
        refused(b"", SERVER.1, None),
        Err("there is no certificate in the file of the certificate".to_owned())
    );
    assert!(refused(SERVER.0, b"x", None).is_err_and(|e| e.starts_with("cannot read the key")));
    assert!(
        refused(SERVER.0, CLIENT.1, None)
            .is_err_and(|e| e.starts_with("cannot use the certificate with its key"))
    );
    assert!(refused(SERVER.0, SERVER.1, Some(b"")).is_err_and(|e| e.contains("clients' authority")));
}

//! TLS to a daemon: whom the client trusts, who it says it is, and one connection in two halves.
//!
//! Certificates are files, as docker's `--tls…` and contexts have them. Blocking, as all of this client.

use super::ClientError;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Ciphertext is read in pieces of this many bytes.
const PIECE: usize = 16 * 1024;

/// The files of one side's trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Who signs the daemon's certificate.
    pub(crate) authority: Option<PathBuf>,
    /// The client's certificate.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of it.
    pub(crate) key: Option<PathBuf>,
    /// The daemon must show a certificate of the authority, for the name it is reached by.
    pub(crate) verify: bool,
}

impl Trust {
    /// What lies in `directory` under docker's names.
    pub(crate) fn of_directory(directory: &Path, verify: bool) -> Self {
        let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        Self { authority: there("ca.pem"), certificate: there("cert.pem"), key: there("key.pem"), verify }
    }

    /// Whether it can be used: the error is a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.authority {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        let builder = match self.verify {
            true => builder.with_root_certificates(roots),
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        };
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let bytes = read(key)?;
                let wrong = |error: String| format!("{}: {error}", key.display());
                let secret =
                    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, secret)
                    .map_err(|error| wrong(error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path)
        .map_err(|error| format!("open {}: {}", path.display(), crate::commands::go_error(&error)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    list.map_err(|error| format!("{}: {error}", path.display()))
}

/// Takes any certificate: what `--tls` without `--tlsverify` means. What is said is not overheard, but by whom it is
/// heard nobody knows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What both halves share.
struct Shared {
    stream: TcpStream,
    session: Mutex<ClientConnection>,
    /// Held while ciphertext goes out, so that it goes in order. Not the session's lock: who reads must get through while
    /// the other side takes nothing more.
    sending: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Does something to the session that makes ciphertext, and sends that.
    fn send<T>(&self, work: impl FnOnce(&mut ClientConnection) -> io::Result<T>) -> io::Result<T> {
        let _order = lock(&self.sending);
        let mut ciphertext = Vec::new();
        let done = {
            let mut session = lock(&self.session);
            let done = work(&mut session)?;
            while session.wants_write() {
                session.write_tls(&mut ciphertext)?;
            }
            done
        };
        (&self.stream).write_all(&ciphertext)?;
        Ok(done)
    }
}

/// The half that reads.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    piece: Vec<u8>,
    /// The part of `piece` that the session has not taken yet.
    left: std::ops::Range<usize>,
}

/// The half that writes.
pub(crate) struct Transmitter(Arc<Shared>);

/// Dials `address` and greets. The names in errors are docker's.
pub(crate) fn connect(address: &str, trust: &Trust) -> Result<(Receiver, Transmitter), ClientError> {
    let failed = |why: String| ClientError::Connect(format!("dial tcp://{address}: {why}"));
    let config = trust.config().map_err(ClientError::Connect)?;
    let name = address.rsplit_once(':').map_or(address, |(name, _)| name).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|error| failed(error.to_string()))?;
    let mut session =
        ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
    let mut stream = TcpStream::connect(address)
        .map_err(|cause| super::connection::unreachable(&super::Host::Tcp(address.to_owned()), cause))?;
    stream.set_nodelay(true)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|error| failed(error.to_string()))?;
    }
    let shared = Arc::new(Shared { stream, session: Mutex::new(session), sending: Mutex::new(()) });
    let receiver = Receiver { shared: Arc::clone(&shared), piece: vec![0; PIECE], left: 0..0 };
    Ok((receiver, Transmitter(shared)))
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match lock(&self.shared.session).reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.left.is_empty() {
                self.left = 0..(&self.shared.stream).read(&mut self.piece)?;
            }
            let owes = {
                let mut session = lock(&self.shared.session);
                let taken = session.read_tls(&mut &self.piece[self.left.clone()])?;
                self.left.start += taken;
                session.process_new_packets().map_err(io::Error::other)?;
                session.wants_write()
            };
            if owes {
                self.shared.send(|_| Ok(()))?;
            }
        }
    }
}

impl Transmitter {
    /// Tells the other side that nothing more comes.
    pub(crate) fn finish(&mut self) {
        // A connection that is gone needs no farewell.
        let _ = self.0.send(|session| {
            session.send_close_notify();
            Ok(())
        });
    }
}

impl Write for Transmitter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(|session| session.writer().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

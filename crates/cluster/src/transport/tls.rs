//! Mutual TLS between members, by certificates of the cluster's authority.
//!
//! A certificate is good when its chain leads to a trusted authority and its name is that of its key; which host it
//! was met at says nothing, since members change addresses. Whoever dials a manager also checks that it is one: a
//! worker's certificate, stolen, never makes a manager.

use super::TransportError;
use crate::membership::ca::{Identity, certificates};
use minke_model::{ClusterNodeId, node::Role};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Somebody answers within this time, or is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Name that is sent: nobody looks at it.
const NAME: &str = "swarm";

/// Who is at the other end, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub node: ClusterNodeId,
    /// What its certificate lets it do; its record may say less.
    pub role: Role,
    /// Identifier of the key that signed its certificate.
    pub issuer: Vec<u8>,
    /// Until when its certificate is good, in seconds since 1970.
    pub not_after: i64,
}

/// What a member shows, and whom it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// Its certificate and all between it and a root, PEM.
    pub chain: String,
    /// Its private key, PKCS #8.
    pub key: Vec<u8>,
    /// Certificates of trusted authorities, PEM.
    pub trusted: String,
    /// Which cluster: certificates of others are refused, also those of an authority that both trust.
    pub cluster: String,
}

fn failed(tried: &str) -> impl Fn(Error) -> TransportError + '_ {
    move |e| TransportError::Tls { tried: tried.to_owned(), detail: e.to_string() }
}

fn wrong(tried: &str, detail: impl ToString) -> TransportError {
    TransportError::Tls { tried: tried.to_owned(), detail: detail.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(trusted: &str) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(trusted).map_err(|e| wrong("read the trusted authorities", e))? {
        roots.add(certificate).map_err(failed("trust an authority"))?;
    }
    Ok(roots)
}

impl Credentials {
    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TransportError> {
        let chain = certificates(&self.chain).map_err(|e| wrong("read the node's certificate", e))?;
        Ok((chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))))
    }

    /// For who is called. Callers without certificate come through too: they can only join.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TransportError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&self.trusted)?), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|e| wrong("trust the cluster's authority", e))?;
        let (chain, key) = self.own()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed("speak TLS 1.3"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(failed("use the node's certificate"))?;
        Ok(Arc::new(config))
    }

    /// For who dials.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TransportError> {
        let (chain, key) = self.own()?;
        let config = client_config(Trust::These(roots(&self.trusted)?))?
            .with_client_auth_cert(chain, key)
            .map_err(failed("use the node's certificate"))?;
        Ok(Arc::new(config))
    }
}

/// For who has no certificate yet but knows the authority (PEM).
///
/// # Errors
/// When that cannot be used.
pub fn stranger(trusted: &str) -> Result<Arc<ClientConfig>, TransportError> {
    Ok(Arc::new(client_config(Trust::These(roots(trusted)?))?.with_no_client_auth()))
}

/// For who only wants to hear which authority it is, and checks what it heard by itself.
///
/// # Errors
/// When TLS 1.3 is not there.
pub fn blind() -> Result<Arc<ClientConfig>, TransportError> {
    Ok(Arc::new(client_config(Trust::Nobody)?.with_no_client_auth()))
}

fn client_config(
    trust: Trust,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TransportError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed("speak TLS 1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { trust, provider: provider() })))
}

/// Dials `address`. Does not say yet who answered.
///
/// # Errors
/// When nobody answers there, or no handshake comes about.
pub async fn dial(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<client::TlsStream<TcpStream>, TransportError> {
    let failed = |detail: String| TransportError::Connect { address: address.to_owned(), detail };
    let tcp = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|e| failed(e.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", CONNECT.as_secs()))),
    };
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(|e| failed(e.to_string()))?;
    match timeout(HANDSHAKE, TlsConnector::from(config).connect(name, tcp)).await {
        Ok(connected) => connected.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed(format!("no TLS handshake within {} s", HANDSHAKE.as_secs()))),
    }
}

/// Takes one caller.
///
/// # Errors
/// When no handshake comes about.
pub async fn accept(
    tcp: TcpStream,
    from: SocketAddr,
    config: Arc<ServerConfig>,
) -> Result<server::TlsStream<TcpStream>, TransportError> {
    tcp.set_nodelay(true)?;
    let tried = || format!("speak TLS with {from}");
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(tcp)).await {
        Ok(accepted) => accepted.map_err(|e| wrong(&tried(), e)),
        Err(_) => Err(wrong(&tried(), format!("no handshake within {} s", HANDSHAKE.as_secs()))),
    }
}

/// Who showed `chain` in a handshake that was good; `None`: nobody.
///
/// # Errors
/// When it is no node's certificate, or one of another cluster.
pub fn peer(chain: Option<&[CertificateDer<'_>]>, cluster: &str) -> Result<Option<Peer>, TransportError> {
    let Some(first) = chain.and_then(<[_]>::first) else { return Ok(None) };
    let identity = Identity::of(first).map_err(|e| wrong("know the other side", e))?;
    if identity.cluster != cluster {
        return Err(wrong("know the other side", "it is of another cluster"));
    }
    Ok(Some(Peer {
        node: identity.node,
        role: identity.role,
        issuer: identity.issuer,
        not_after: identity.not_after,
    }))
}

/// Whom one who dials believes.
#[derive(Debug)]
enum Trust {
    These(RootCertStore),
    /// Anybody: nothing that is heard is believed.
    Nobody,
}

/// Checks a manager's certificate: by its chain, not by its name.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::These(roots) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms)?;
        let identity = Identity::of(certificate).map_err(|e| Error::General(e.to_string()))?;
        if identity.role != Role::Manager {
            return Err(Error::General(format!("node {} is no manager", identity.node)));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> Option<&[rustls::DistinguishedName]> {
        None
    }
}

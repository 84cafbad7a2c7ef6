//! Whom to believe: the machine's authorities, those in a registry's certs directory, or (insecure) anybody.

use super::{
    error::{RegistryError, TransportError},
    mirror::{Endpoint, RegistryConfig},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest certificate or key file, in bytes.
const MAX_PEM: u64 = 1 << 20;

/// The machine's authorities; Mozilla's where it has none. One that cannot be parsed is left out.
pub(crate) fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the machine's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// TLS for one endpoint. Reads its certs directories. Errors: `Settings`.
pub(crate) fn client_config(
    config: &RegistryConfig,
    endpoint: &Endpoint,
) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |e: rustls::Error| RegistryError::Settings(format!("cannot set up TLS: {e}"));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let mut roots = config.roots();
    let mut pair = None;
    for directory in &config.options().certs_dirs {
        let own = HostCerts::read(directory, &endpoint.host)?;
        if !own.authorities.is_empty() {
            Arc::make_mut(&mut roots).add_parsable_certificates(own.authorities);
        }
        pair = pair.or(own.pair);
    }
    let builder = match endpoint.insecure {
        // Such a registry may want to see who asks, all the same.
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody { provider: provider.clone() })),
        false => builder.with_root_certificates(roots),
    };
    let Some(pair) = pair else { return Ok(builder.with_no_client_auth()) };
    let certified = pair.certified(&provider)?;
    Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

/// TLS for proxies: they see no certificate of ours. Errors: `Settings`.
pub(crate) fn proxy_config(config: &RegistryConfig) -> Result<ClientConfig, RegistryError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| RegistryError::Settings(format!("cannot set up TLS: {e}")))?;
    Ok(builder.with_root_certificates(config.roots()).with_no_client_auth())
}

/// A certificate to show to a registry, and its key.
struct ClientPair {
    file: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientPair {
    /// Ready to sign. A certificate that rustls cannot read is shown all the same: its registry judges it.
    fn certified(self, provider: &CryptoProvider) -> Result<CertifiedKey, RegistryError> {
        let (file, of) = (self.file.display(), self.file.with_extension("key"));
        let wrong = |e: rustls::Error| {
            RegistryError::Settings(format!("cannot use {file} with {}: {e}", of.display()))
        };
        let key = provider.key_provider.load_private_key(self.key).map_err(wrong)?;
        let certified = CertifiedKey::new(self.chain, key);
        match certified.keys_match() {
            Err(e @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => Err(wrong(e)),
            _ => Ok(certified),
        }
    }
}

/// What a registry's directory holds.
#[derive(Default)]
struct HostCerts {
    /// Of all `*.crt`.
    authorities: Vec<CertificateDer<'static>>,
    /// Of the first `*.cert` and its `*.key`.
    pair: Option<ClientPair>,
}

impl HostCerts {
    /// Reads `directory/host`, if it is there.
    fn read(directory: &Path, host: &str) -> Result<Self, RegistryError> {
        // A host comes from an image's name, whose grammar has neither slashes nor `..`; a colon is allowed here.
        let directory = directory.join(host);
        let names: BTreeSet<PathBuf> = match fs::read_dir(&directory) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => {
                return Err(RegistryError::Settings(format!("cannot read {}: {e}", directory.display())));
            }
        };
        let mut certs = Self::default();
        for path in &names {
            let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let wrong = |e: String| RegistryError::Settings(format!("cannot use {}: {e}", path.display()));
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => {
                    let pem = read_pem(path).map_err(wrong)?;
                    // As dockerd, what is no certificate in it is passed over; but something must be.
                    let before = certs.authorities.len();
                    certs.authorities.extend(CertificateDer::pem_slice_iter(&pem).flatten());
                    if certs.authorities.len() == before {
                        return Err(wrong("it has no certificate in PEM form".into()));
                    }
                }
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !names.contains(&key) {
                        let why = format!(
                            "missing key {} for client certificate {}. CA certificates must use the extension .crt (in {})",
                            file(&key),
                            file(path),
                            directory.display()
                        );
                        return Err(RegistryError::Settings(why));
                    }
                    let pem = read_pem(path).map_err(wrong)?;
                    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
                    let chain = chain.map_err(|e| wrong(e.to_string()))?;
                    if chain.is_empty() {
                        return Err(wrong("it has no certificate in PEM form".into()));
                    }
                    let wrong_key =
                        |e: String| RegistryError::Settings(format!("cannot use {}: {e}", key.display()));
                    let pem = read_pem(&key).map_err(wrong_key)?;
                    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| match e {
                        pem::Error::NoItemsFound => wrong_key("it has no key in PEM form".into()),
                        other => wrong_key(other.to_string()),
                    })?;
                    let pair = ClientPair { file: path.clone(), chain, key: secret };
                    certs.pair.get_or_insert(pair);
                }
                Some("key") if !names.contains(&path.with_extension("cert")) => {
                    let why = format!(
                        "missing client certificate {} for key {} (in {})",
                        file(&path.with_extension("cert")),
                        file(path),
                        directory.display()
                    );
                    return Err(RegistryError::Settings(why));
                }
                _ => {}
            }
        }
        Ok(certs)
    }
}

/// A file of bounded size.
fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_PEM => Err(format!("it is larger than {MAX_PEM} bytes")),
        Ok(_) => fs::read(path).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// Believes any certificate; signatures must still be right.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why TLS failed, in Go's words where people know those.
pub(crate) fn explain(error: &rustls::Error) -> TransportError {
    use rustls::{CertificateError as Cert, Error};
    let x509 = |why: &str| TransportError::Tls(format!("tls: failed to verify certificate: x509: {why}"));
    match error {
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TransportError::PlainHttp,
        Error::InvalidCertificate(Cert::UnknownIssuer) => x509("certificate signed by unknown authority"),
        Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            x509("certificate has expired or is not yet valid")
        }
        Error::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            x509("certificate is not valid for this name")
        }
        other => TransportError::Tls(format!("tls: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("minke-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("h:1")).unwrap();
        for (file, content) in files {
            fs::write(directory.join("h:1").join(file), content).unwrap();
        }
        directory
    }

    #[test]
    fn what_is_wrong_with_certificates_names_the_file() {
        for (name, file, why) in [
            (
                "cert",
                "client.cert",
                "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt (in DIR)",
            ),
            ("key", "client.key", "missing client certificate client.cert for key client.key (in DIR)"),
            ("ca", "ca.crt", "cannot use DIR/ca.crt: it has no certificate in PEM form"),
        ] {
            let directory = directory(name, &[(file, "")]);
            let error = HostCerts::read(&directory, "h:1").err().map(|e| e.to_string());
            let why = why.replace("DIR", &directory.join("h:1").display().to_string());
            assert_eq!(error, Some(why));
            fs::remove_dir_all(directory).unwrap();
        }
        let directory = directory("pair", &[("client.cert", "x"), ("client.key", "")]);
        let error = HostCerts::read(&directory, "h:1").err().map(|e| e.to_string()).unwrap();
        assert!(error.contains("h:1/client.cert: it has no certificate"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_host_without_a_directory_has_no_certificates_of_its_own() {
        let certs = HostCerts::read(Path::new("/nonexistent"), "h").unwrap();
        assert!(certs.authorities.is_empty() && certs.pair.is_none());
    }
}

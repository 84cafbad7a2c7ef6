//! TLS for network listeners: a certificate, its key, and, to tell clients apart, who signs theirs.

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::sync::Arc;
use thiserror::Error;

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not PEM, or holds nothing of the wanted kind.
    #[error("cannot read the {what}: {source}")]
    Pem {
        /// Which file.
        what: &'static str,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// There is none in it.
    #[error("there is no certificate in the file of the {0}")]
    Empty(&'static str),
    /// rustls refused what the files hold.
    #[error("cannot use the {what}: {source}")]
    Rustls {
        /// Which file.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
    /// The clients' authority cannot be used.
    #[error("cannot check clients' certificates: {0}")]
    Clients(String),
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|source| TlsError::Pem { what, source })?;
    if list.is_empty() { Err(TlsError::Empty(what)) } else { Ok(list) }
}

/// From PEM texts. With `client_authority` only clients with a certificate that it signed are let in (`--tlsverify`).
pub fn server_config(
    certificate: &[u8],
    key: &[u8],
    client_authority: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem { what: "key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Rustls { what: "protocol versions", source })?;
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let what = "clients' authority";
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, what)? {
                roots.add(certificate).map_err(|source| TlsError::Rustls { what, source })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| TlsError::Clients(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Rustls { what: "certificate with its key", source })?;
    // Streams take the connection over, which HTTP/2 does not allow.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;

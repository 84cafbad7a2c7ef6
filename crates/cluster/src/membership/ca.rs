//! The cluster's certificate authority, and what a node's certificate says.
//!
//! A node's certificate names its id (the common name), its role (the organisational unit, as Swarm's do) and the
//! cluster (the organisation). Of a request only the key is taken, after it has signed for itself: who asks never
//! chooses what it is. While the authority rotates, the new one is signed by the old one too, so that every node
//! trusts every other at each moment.

use super::{MembershipError, Result};
use minke_model::{ClusterId, ClusterNodeId, Timestamp, node::Role};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::time::Duration;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

/// Role of workers in certificates (swarmkit, `ca/certificates.go`).
const WORKER_UNIT: &str = "swarm-worker";
/// Role of managers.
const MANAGER_UNIT: &str = "swarm-manager";
/// How long an authority's own certificate is good: twenty years, as Swarm's.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates are good from so long ago: clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Shortest life of a node's certificate, as Swarm's.
pub const SHORTEST_LIFE: Duration = Duration::from_secs(3600);

fn failed(tried: &'static str) -> impl Fn(rcgen::Error) -> MembershipError {
    move |e| MembershipError::Certificate { tried, detail: e.to_string() }
}

fn wrong(tried: &'static str, detail: impl Into<String>) -> MembershipError {
    MembershipError::Certificate { tried, detail: detail.into() }
}

/// The id that a public key (its DER of SubjectPublicKeyInfo) always has.
pub fn node_id(public_key: &[u8]) -> ClusterNodeId {
    let digest = ring::digest::digest(&ring::digest::SHA256, public_key);
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest.as_ref()[..16]);
    ClusterNodeId::from_bits(u128::from_be_bytes(bits))
}

/// A node's key: its identity for as long as it is in the cluster.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn generate() -> Result<Self> {
        KeyPair::generate().map(NodeKey).map_err(failed("make a key"))
    }

    /// From PEM.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(pem: &str) -> Result<Self> {
        KeyPair::from_pem(pem).map(NodeKey).map_err(failed("read the node's key"))
    }

    /// As PEM: to be kept where nobody else reads.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// PKCS #8.
    pub fn to_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// Whose key it is.
    pub fn id(&self) -> ClusterNodeId {
        node_id(&self.0.subject_public_key_info())
    }

    /// A request for a certificate (PEM), signed by the key.
    ///
    /// # Errors
    /// When signing fails.
    pub fn request(&self) -> Result<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.id().as_str());
        let request = params.serialize_request(&self.0).map_err(failed("ask for a certificate"))?;
        request.pem().map_err(failed("ask for a certificate"))
    }
}

/// What signs certificates of nodes.
pub struct Authority {
    /// Its certificate, PEM: the one that signs, self-signed or signed by its predecessor.
    certificate: String,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn generate(now: Timestamp) -> Result<Self> {
        let key = KeyPair::generate().map_err(failed("make the authority's key"))?;
        let certificate = authority_params(now).self_signed(&key).map_err(failed("make the authority"))?;
        Ok(Authority { certificate: certificate.pem(), key })
    }

    /// From PEM, as it was kept or as a user brings it.
    ///
    /// # Errors
    /// When they are none, no authority's, or not of each other.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).map_err(failed("read the authority's key"))?;
        let der = first_certificate(certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|e| wrong("read the authority's certificate", e.to_string()))?;
        if !parsed.is_ca() {
            return Err(wrong("use the authority's certificate", "it is no CA's"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(wrong("use the authority's key", "it is not that of the certificate"));
        }
        Ok(Authority { certificate: certificate.to_owned(), key })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key, PEM: to be sealed before it is kept anywhere.
    pub fn key_to_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// `next` with its name and key, signed by this one: who trusts this one trusts what `next` signs.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_authority(&self, next: &Authority, now: Timestamp) -> Result<String> {
        let mut params = authority_params(now);
        let der = first_certificate(&next.certificate)?;
        let as_issuer =
            Issuer::from_ca_cert_der(&der, &next.key).map_err(failed("read the next authority"))?;
        // The name must be the same to the byte: issuers are found by it.
        params.distinguished_name = distinguished_name(&der)?;
        drop(as_issuer);
        let issuer = self.issuer()?;
        let signed = params.signed_by(&next.key, &issuer).map_err(failed("sign the next authority"))?;
        Ok(signed.pem())
    }

    /// A node's certificate for the key of `request` (PEM), with all between it and a root (PEM).
    ///
    /// # Errors
    /// When the request is none, or was not signed by its own key.
    pub fn sign(
        &self,
        request: &str,
        role: Role,
        cluster: &ClusterId,
        life: Duration,
        now: Timestamp,
    ) -> Result<Issued> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(failed("read the request for a certificate"))?;
        let id = node_id(&request.public_key.subject_public_key_info());
        let unit = match role {
            Role::Worker => WORKER_UNIT,
            Role::Manager => MANAGER_UNIT,
        };
        let mut params = CertificateParams::new(vec![unit.to_owned(), id.as_str().to_owned()])
            .map_err(failed("make a certificate"))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, id.as_str());
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        params.distinguished_name.push(DnType::OrganizationName, cluster.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        valid(&mut params, now, life.max(SHORTEST_LIFE));
        let issuer = self.issuer()?;
        let leaf = params.signed_by(&request.public_key, &issuer).map_err(failed("sign a certificate"))?;
        let der = first_certificate(&self.certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|e| wrong("read the authority's certificate", e.to_string()))?;
        let mut chain = leaf.pem();
        if parsed.subject() != parsed.issuer() || parsed.verify_signature(None).is_err() {
            chain.push_str(&self.certificate);
        }
        Ok(Issued { node: id, chain })
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>> {
        let der = first_certificate(&self.certificate)?;
        Issuer::from_ca_cert_der(&der, &self.key).map_err(failed("read the authority's certificate"))
    }
}

/// A certificate that was just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// For whom.
    pub node: ClusterNodeId,
    /// The certificate and all between it and a root, PEM.
    pub chain: String,
}

/// What a certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub node: ClusterNodeId,
    /// What it may do.
    pub role: Role,
    /// Where.
    pub cluster: String,
    /// Good from, in seconds since 1970.
    pub not_before: i64,
    /// Good until.
    pub not_after: i64,
    /// Which key signed it: that key's identifier.
    pub issuer: Vec<u8>,
}

impl Identity {
    /// Reads a node's certificate. That it was signed by whom one trusts is checked elsewhere.
    ///
    /// # Errors
    /// When it is no node's: without an id, or with one that is not its key's.
    pub fn of(certificate: &[u8]) -> Result<Self> {
        let tried = "read a node's certificate";
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|e| wrong(tried, e.to_string()))?;
        let first = |mut names: Box<dyn Iterator<Item = String> + '_>| names.next().unwrap_or_default();
        let subject = parsed.subject();
        let text =
            |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or_default().to_owned();
        let name = first(Box::new(subject.iter_common_name().map(text)));
        let unit = first(Box::new(subject.iter_organizational_unit().map(text)));
        let cluster = first(Box::new(subject.iter_organization().map(text)));
        let node = node_id(parsed.public_key().raw);
        if name != node.as_str() {
            return Err(wrong(tried, "its name is not that of its key"));
        }
        let role = match unit.as_str() {
            WORKER_UNIT => Role::Worker,
            MANAGER_UNIT => Role::Manager,
            other => return Err(wrong(tried, format!("it has the unknown role {other:?}"))),
        };
        Ok(Identity {
            node,
            role,
            cluster,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            issuer: signed_by(&parsed),
        })
    }

    /// As [`Identity::of`], from PEM.
    ///
    /// # Errors
    /// As there.
    pub fn of_pem(chain: &str) -> Result<Self> {
        Self::of(&first_certificate(chain)?)
    }

    /// When it should be renewed: at a point between 50 and 80 % of its life, that `chance` (0 to 255) chooses so
    /// that a thousand nodes do not ask at once (swarmkit, `ca/renewer.go`).
    pub fn renew_at(&self, chance: u8) -> i64 {
        // The life that was asked for: certificates are backdated.
        let from = self.not_before + BACKDATED.as_secs() as i64;
        let life = (self.not_after - from).max(0);
        from + life / 2 + life * 3 / 10 * i64::from(chance) / 255
    }
}

/// What Docker's clients show of an authority: name and public key, DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityInfo {
    /// The subject's name, DER.
    pub subject: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// By which certificates name it as their issuer.
    pub key_id: Vec<u8>,
}

impl AuthorityInfo {
    /// Of the first certificate in `pem`.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_pem(pem: &str) -> Result<Self> {
        let der = first_certificate(pem)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|e| wrong("read the authority's certificate", e.to_string()))?;
        Ok(AuthorityInfo {
            subject: parsed.subject().as_raw().to_vec(),
            public_key: parsed.public_key().raw.to_vec(),
            key_id: key_id(&parsed),
        })
    }
}

/// The identifier of the key that a certificate names as its issuer's; empty when it names none.
fn signed_by(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let named = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    named.unwrap_or_default()
}

/// The identifier of an authority's key: as its certificate says, or as certificates that it signs will.
fn key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let named = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    let public_key = certificate.public_key().raw;
    named.unwrap_or_else(|| ring::digest::digest(&ring::digest::SHA256, public_key).as_ref()[..20].to_vec())
}

/// All certificates in `pem`.
///
/// # Errors
/// When one cannot be read.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| wrong("read certificates", e.to_string()))
}

/// The first certificate in `pem`.
///
/// # Errors
/// When there is none.
pub fn first_certificate(pem: &str) -> Result<CertificateDer<'static>> {
    certificates(pem)?.into_iter().next().ok_or_else(|| wrong("read a certificate", "there is none"))
}

fn distinguished_name(der: &[u8]) -> Result<DistinguishedName> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| wrong("read the authority's certificate", e.to_string()))?;
    let mut name = DistinguishedName::new();
    for attribute in parsed.subject().iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter().map(Iterator::collect).unwrap_or_default();
        let text = attribute.as_str().map_err(|e| wrong("read the authority's name", e.to_string()))?;
        name.push(DnType::from_oid(&oid), text);
    }
    Ok(name)
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "swarm-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, AUTHORITY_LIFE);
    params
}

fn valid(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let since = Duration::from_secs(now.as_second().max(0) as u64);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since.saturating_sub(BACKDATED);
    params.not_after = epoch + since + life;
}

fn serial() -> Result<SerialNumber> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| wrong("choose a serial number", e.to_string()))?;
    // Positive, and never with a leading zero byte.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests;

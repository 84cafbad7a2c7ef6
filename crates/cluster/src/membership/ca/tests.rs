//! What certificates say and what they are worth.

use super::*;
use crate::membership::rotate::first_pem;
use crate::transport::tls::Credentials;

fn now() -> Timestamp {
    Timestamp::now()
}

fn month() -> Duration {
    Duration::from_secs(30 * 24 * 3600)
}

#[test]
fn a_node_is_its_key_and_its_certificate_says_what_the_authority_chose() {
    let authority = Authority::generate(now()).unwrap();
    let (key, cluster) = (NodeKey::generate().unwrap(), ClusterId::random());
    let issued = authority.sign(&key.request().unwrap(), Role::Worker, &cluster, month(), now()).unwrap();
    assert_eq!(issued.node, key.id());
    let identity = Identity::of_pem(&issued.chain).unwrap();
    assert_eq!(
        (identity.node, identity.role, identity.cluster.as_str()),
        (key.id(), Role::Worker, cluster.as_str())
    );
    assert_eq!(identity.issuer, AuthorityInfo::of_pem(authority.certificate()).unwrap().key_id);
    assert_eq!(NodeKey::from_pem(&key.to_pem()).unwrap().id(), key.id());
}

#[test]
fn who_asks_for_another_name_or_role_gets_its_own() {
    let authority = Authority::generate(now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["swarm-manager".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "somebodyelse");
    params.distinguished_name.push(DnType::OrganizationalUnitName, MANAGER_UNIT);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.sign(&request, Role::Worker, &ClusterId::random(), month(), now()).unwrap();
    let identity = Identity::of_pem(&issued.chain).unwrap();
    assert_eq!((identity.node, identity.role), (node_id(&key.subject_public_key_info()), Role::Worker));
    let der = first_certificate(&issued.chain).unwrap();
    assert!(!x509_parser::parse_x509_certificate(&der).unwrap().1.is_ca());
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let authority = Authority::generate(now()).unwrap();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let other = NodeKey::generate().unwrap().request().unwrap();
    // The beginning of one and the end of another.
    let half = request.len() / 2;
    let forged = format!("{}{}", &request[..half], &other[half..]);
    for bad in ["", "x", &forged, &request[..half]] {
        assert!(authority.sign(bad, Role::Worker, &ClusterId::random(), month(), now()).is_err());
    }
}

#[test]
fn certificates_are_renewed_between_half_and_four_fifths_of_their_life() {
    let authority = Authority::generate(now()).unwrap();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let at = now();
    let issued = authority.sign(&request, Role::Worker, &ClusterId::random(), month(), at).unwrap();
    let identity = Identity::of_pem(&issued.chain).unwrap();
    let days = |chance| (identity.renew_at(chance) - at.as_second()) / (24 * 3600);
    assert_eq!((days(0), days(255)), (15, 24));
}

#[test]
fn a_user_brings_an_authority_only_with_its_own_key() {
    let (one, other) = (Authority::generate(now()).unwrap(), Authority::generate(now()).unwrap());
    assert!(Authority::from_pem(one.certificate(), &one.key_to_pem()).is_ok());
    assert!(Authority::from_pem(one.certificate(), &other.key_to_pem()).is_err());
    let key = NodeKey::generate().unwrap();
    let leaf =
        one.sign(&key.request().unwrap(), Role::Manager, &ClusterId::random(), month(), now()).unwrap();
    assert!(Authority::from_pem(&leaf.chain, &key.to_pem()).is_err(), "a node is no authority");
}

/// A handshake between two members in memory, who trust what they trust.
async fn meets(manager: &Credentials, worker: &Credentials) -> bool {
    let (a, b) = tokio::io::duplex(64 << 10);
    let (server, client) = (manager.server().unwrap(), worker.client().unwrap());
    let name = rustls_pki_types::ServerName::try_from("swarm").unwrap();
    let (called, dialled) = tokio::join!(
        tokio_rustls::TlsAcceptor::from(server).accept(a),
        tokio_rustls::TlsConnector::from(client).connect(name, b)
    );
    called.is_ok() && dialled.is_ok()
}

fn member(authority: &Authority, trusted: &str, role: Role, cluster: &ClusterId) -> Credentials {
    let key = NodeKey::generate().unwrap();
    let issued = authority.sign(&key.request().unwrap(), role, cluster, month(), now()).unwrap();
    Credentials {
        chain: issued.chain,
        key: key.to_der(),
        trusted: trusted.to_owned(),
        cluster: cluster.as_str().to_owned(),
    }
}

#[tokio::test]
async fn while_the_authority_rotates_everybody_trusts_everybody() {
    let cluster = ClusterId::random();
    let old = Authority::generate(now()).unwrap();
    let new = Authority::generate(now()).unwrap();
    let crossed = Authority::from_pem(&old.sign_authority(&new, now()).unwrap(), &new.key_to_pem()).unwrap();
    let both = format!("{}{}", new.certificate(), old.certificate());
    assert_eq!(first_pem(&both).trim(), new.certificate().trim());

    // Not told yet, told, and renewed already; and after the end: only the new.
    let before = |role| member(&old, old.certificate(), role, &cluster);
    let told = |role| member(&old, &both, role, &cluster);
    let renewed = |role| member(&crossed, &both, role, &cluster);
    let ended = |role| member(&new, new.certificate(), role, &cluster);
    let stages: [&dyn Fn(Role) -> Credentials; 4] = [&before, &told, &renewed, &ended];
    for (manager, worker, meet) in [
        (0, 0, true),
        (0, 1, true),
        (1, 0, true),
        (2, 0, true),
        (0, 2, true),
        (2, 1, true),
        (2, 2, true),
        (3, 2, true),
        (2, 3, true),
        (3, 3, true),
        (3, 0, false),
    ] {
        let met = meets(&stages[manager](Role::Manager), &stages[worker](Role::Worker)).await;
        assert_eq!(met, meet, "manager at {manager}, worker at {worker}");
    }
}

#[tokio::test]
async fn a_stolen_workers_certificate_never_makes_a_manager() {
    let cluster = ClusterId::random();
    let authority = Authority::generate(now()).unwrap();
    let worker = |role| member(&authority, authority.certificate(), role, &cluster);
    assert!(meets(&worker(Role::Manager), &worker(Role::Worker)).await);
    assert!(!meets(&worker(Role::Worker), &worker(Role::Worker)).await);
}

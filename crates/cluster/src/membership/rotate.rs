//! What a cluster is made with, and how its authority and tokens are replaced while everybody goes on.
//!
//! ```text
//! trusted: old            → rotate →  trusted: new + old      → all nodes have certificates of new → trusted: new
//! signer:  old                        signer: new, by old                                            signer:  new
//! ```

use super::{
    MembershipError, Result,
    ca::{Authority, AuthorityInfo},
    seal::{Seal, UnlockKey},
    token::{Token, new_secret},
};
use crate::tables::{CLUSTER, CLUSTER_NAME, NODES};
use minke_model::{
    ClusterId, Subnet, Timestamp,
    cluster::{CertificateAuthority, Cluster, ClusterSpec},
    node::Node,
    object::Meta,
};
use minke_store::{AnyStore, Prefix, Prefixes, Store as _, StoreError, Txn};
use std::net::IpAddr;

/// Tries against others who write the same records.
const TRIES: usize = 16;
/// UDP port of overlay networks.
pub const DATA_PORT: u16 = 4789;

/// What a new cluster is asked to be.
#[derive(Clone, Debug, Default)]
pub struct Founding {
    /// As asked.
    pub spec: ClusterSpec,
    /// UDP; 0 is [`DATA_PORT`].
    pub data_path_port: u16,
    /// Empty: 10.0.0.0/8.
    pub address_pools: Vec<Subnet>,
    /// 0: 24.
    pub subnet_size: u8,
}

/// The record of a new cluster, signed for by `authority`.
///
/// # Errors
/// When the machine has no random numbers.
pub fn found(founding: Founding, authority: &Authority, seal: &Seal, now: Timestamp) -> Result<Cluster> {
    let secret = || seal.seal(new_secret().as_bytes());
    let autolock = founding.spec.autolock;
    Ok(Cluster {
        id: ClusterId::random(),
        meta: Meta::new(now),
        spec: founding.spec,
        ca: CertificateAuthority {
            trusted: authority.certificate().to_owned(),
            signer: authority.certificate().to_owned(),
            key: Some(seal.seal(authority.key_to_pem().as_bytes())),
            rotating: false,
            epoch: 1,
        },
        worker_token: secret(),
        manager_token: secret(),
        unlock_key: autolock.then(|| seal.seal(UnlockKey::generate().to_string().as_bytes())),
        data_path_port: if founding.data_path_port == 0 { DATA_PORT } else { founding.data_path_port },
        address_pools: if founding.address_pools.is_empty() {
            vec![Subnet { address: IpAddr::from([10, 0, 0, 0]), prefix: 8 }]
        } else {
            founding.address_pools
        },
        subnet_size: if founding.subnet_size == 0 { 24 } else { founding.subnet_size },
    })
}

/// Changes the cluster's record, unless `change` refuses.
///
/// # Errors
/// What `change` says, or when the store fails.
pub async fn change<E: From<MembershipError>>(
    store: &AnyStore,
    change: impl Fn(&mut Cluster) -> Result<(), E>,
) -> Result<Cluster, E> {
    let mut last = StoreError::Closed;
    for _ in 0..TRIES {
        let snapshot = store.read(CLUSTER.prefix()).await.map_err(MembershipError::from)?;
        let found = CLUSTER.get(&snapshot, CLUSTER_NAME).map_err(MembershipError::from)?;
        let found = found.ok_or(MembershipError::NoCluster)?;
        let mut cluster = (*found.value).clone();
        change(&mut cluster)?;
        if cluster == *found.value {
            return Ok(cluster);
        }
        let txn = Txn::on(&snapshot).guard_at(CLUSTER.key(CLUSTER_NAME), found.revision).put(
            &CLUSTER,
            CLUSTER_NAME,
            cluster.clone(),
        );
        match store.commit(txn).await {
            Ok(_) => return Ok(cluster),
            Err(lost @ (StoreError::Refused(_) | StoreError::OutcomeUnknown { .. })) => last = lost,
            Err(failed) => return Err(MembershipError::from(failed).into()),
        }
    }
    Err(MembershipError::from(last).into())
}

/// Whole tokens of a cluster: for workers, and for managers.
///
/// # Errors
/// When they were sealed with another key.
pub fn tokens(cluster: &Cluster, seal: &Seal) -> Result<(Token, Token)> {
    let token = |sealed| Token::new(&cluster.ca.trusted, &seal.open_text(sealed)?);
    Ok((token(&cluster.worker_token)?, token(&cluster.manager_token)?))
}

/// Begins to move to `next`: it signs from now on, and everybody trusts both.
///
/// # Errors
/// When the old authority's key is not here.
pub fn begin(cluster: &mut Cluster, next: &Authority, seal: &Seal, now: Timestamp) -> Result<()> {
    let Some(key) = &cluster.ca.key else {
        return Err(MembershipError::Denied(
            "the key of the CA that is to be replaced is not in this cluster".into(),
        ));
    };
    let old = Authority::from_pem(&cluster.ca.signer, &seal.open_text(key)?)?;
    let crossed = old.sign_authority(next, now)?;
    cluster.ca.trusted = format!("{}{}", next.certificate(), cluster.ca.trusted);
    cluster.ca.signer = crossed;
    cluster.ca.key = Some(seal.seal(next.key_to_pem().as_bytes()));
    cluster.ca.rotating = true;
    cluster.ca.epoch += 1;
    Ok(())
}

/// Ends a rotation once every node has a certificate of the new authority. Whether it did.
///
/// # Errors
/// When the store fails.
pub async fn finish(store: &AnyStore) -> Result<bool> {
    let snapshot =
        store.read(Prefixes::from([CLUSTER.prefix(), NODES.prefix(), Prefix::new("guard/")])).await?;
    let Some(cluster) = CLUSTER.get(&snapshot, CLUSTER_NAME)? else { return Ok(false) };
    if !cluster.ca.rotating {
        return Ok(false);
    }
    let signer = AuthorityInfo::of_pem(&cluster.ca.signer)?.key_id;
    let has_it = |node: &Node| node.signed_by == signer;
    if !NODES.list(&snapshot)?.iter().all(|(_, node)| has_it(node)) {
        return Ok(false);
    }
    change::<MembershipError>(store, |cluster| {
        if !cluster.ca.rotating {
            return Ok(());
        }
        let newest = first_pem(&cluster.ca.trusted);
        cluster.ca.trusted = newest.clone();
        cluster.ca.signer = newest;
        cluster.ca.rotating = false;
        Ok(())
    })
    .await?;
    Ok(true)
}

/// The first certificate of several, as text.
pub fn first_pem(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    pem.find(END).map_or_else(String::new, |at| format!("{}\n", pem[..at + END.len()].trim_start()))
}

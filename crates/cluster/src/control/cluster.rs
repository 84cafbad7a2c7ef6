//! The cluster's own record, as its users see and change it. What rotates is the membership's.

use super::{Code, Control, ControlError, Look, Result};
use crate::tables::{CLUSTER, CLUSTER_NAME};
use minke_model::{
    Kind,
    cluster::{Cluster, ClusterSpec},
};
use minke_store::Txn;
use std::{sync::Arc, time::Duration};

/// The shortest life of a node's certificate.
const SHORTEST_CERTIFICATE: Duration = Duration::from_secs(3600);

/// All that can be said of a spec by itself.
pub fn check(spec: &ClusterSpec) -> Result<()> {
    if spec.name != "default" {
        return Err(ControlError::invalid("modification of cluster name is not allowed"));
    }
    if spec.certificate_life < SHORTEST_CERTIFICATE {
        return Err(ControlError::invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    Ok(())
}

impl Control {
    /// The cluster.
    pub async fn cluster(&self) -> Result<Arc<Cluster>> {
        match CLUSTER.get(&self.look().await?, CLUSTER_NAME)? {
            Some(cluster) => Ok(cluster.value),
            None => Err(ControlError::plain(Kind::Unavailable, "This node is not part of a swarm")),
        }
    }

    /// Changes the cluster to `spec` and what `rotate` makes of the rest of it, if it is still of `version`.
    pub async fn update_cluster(
        &self,
        version: u64,
        spec: ClusterSpec,
        mut rotate: impl FnMut(&mut Cluster) -> Result<()>,
    ) -> Result<()> {
        check(&spec)?;
        let now = self.now();
        self.wish(|snapshot| {
            let Some(found) = CLUSTER.get(snapshot, CLUSTER_NAME)? else {
                return Err(ControlError::new(Code::NotFound, "cluster not found"));
            };
            if found.meta.version == version + 1 && found.meta.updated == now {
                return Ok(Look::Done(()));
            }
            if found.meta.version != version {
                return Err(ControlError::out_of_sequence());
            }
            let mut next = Cluster::clone(&found);
            next.spec = spec.clone();
            next.meta = next.meta.changed(now);
            rotate(&mut next)?;
            let txn = Txn::on(snapshot).guard_at(CLUSTER.key(CLUSTER_NAME), found.revision).put(
                &CLUSTER,
                CLUSTER_NAME,
                next,
            );
            Ok(Look::Write(txn, ()))
        })
        .await
    }
}

/// Subject and public key (DER) of a certificate (PEM): how Docker's clients tell which CA signed.
pub fn issuer(pem: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = block.parse_x509().ok()?;
    let subject = certificate.tbs_certificate.subject.as_raw().to_vec();
    Some((subject, certificate.tbs_certificate.subject_pki.raw.to_vec()))
}

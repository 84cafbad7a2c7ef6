//! A client whose build context came whole in a request (`POST /build?version=2`), and whose session, where it has one,
//! serves all else.

use super::{Buildkit, client::SessionClient};
use crate::error::{ApiError, Result};
use futures_util::future::BoxFuture;
use minke_engine::{
    build::{
        BuildError, Client, Upload,
        host::{Blobs, Duplex, Files, Incoming, Wanted},
    },
    registry::RegistryAuth,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::io::AsyncWrite;

/// What the upload's directory is called.
pub(crate) const UPLOADED: &str = "uploaded";

/// Both.
pub(crate) struct Both {
    upload: Upload,
    session: Option<SessionClient>,
}

impl Buildkit {
    /// A client with an upload, and with the session of that name where it is not empty.
    pub(crate) async fn client_with(&self, upload: Upload, session: &str) -> Result<Arc<dyn Client>> {
        let session = match session {
            "" => None,
            name => {
                let found = self.sessions.find(name).await;
                let found = found.map_err(|e| ApiError::internal(e.message().to_owned()))?;
                let images = self.engine.images.clone();
                Some(SessionClient::new(self.sessions.clone(), found, BTreeMap::new(), images))
            }
        };
        Ok(Arc::new(Both { upload, session }))
    }
}

impl Both {
    /// Who has the directory, and whatever else there is to ask for.
    fn of(&self, local: &str) -> &dyn Client {
        match &self.session {
            Some(session) if local != UPLOADED => session,
            _ => &self.upload,
        }
    }

    fn rest(&self) -> &dyn Client {
        self.of("")
    }
}

type Answer<'a, T> = BoxFuture<'a, std::result::Result<T, BuildError>>;

impl Client for Both {
    fn key(&self, local: &str) -> String {
        self.of(local).key(local)
    }

    fn sync<'a>(&'a self, local: &'a str, wanted: Wanted, into: Incoming) -> Answer<'a, ()> {
        self.of(local).sync(local, wanted, into)
    }

    fn secret<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Vec<u8>>> {
        self.rest().secret(id)
    }

    fn has_ssh<'a>(&'a self, id: &'a str) -> Answer<'a, bool> {
        self.rest().has_ssh(id)
    }

    fn ssh<'a>(&'a self, id: &'a str) -> Answer<'a, Box<dyn Duplex>> {
        self.rest().ssh(id)
    }

    fn auth<'a>(&'a self, registry: &'a str) -> Answer<'a, Option<RegistryAuth>> {
        Box::pin(async move {
            // What came with the request goes first.
            match (self.upload.auth(registry).await?, &self.session) {
                (None, Some(session)) => session.auth(registry).await,
                (found, _) => Ok(found),
            }
        })
    }

    fn send_tar<'a>(
        &'a self,
        exporter: &'a str,
        metadata: BTreeMap<String, String>,
    ) -> Answer<'a, Box<dyn AsyncWrite + Send + Unpin>> {
        self.rest().send_tar(exporter, metadata)
    }

    fn send_files<'a>(&'a self, exporter: &'a str, files: Arc<dyn Files>) -> Answer<'a, ()> {
        self.rest().send_files(exporter, files)
    }

    fn blobs(&self, store: &str) -> Option<Arc<dyn Blobs>> {
        self.rest().blobs(store)
    }
}

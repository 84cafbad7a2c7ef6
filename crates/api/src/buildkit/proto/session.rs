//! What a client serves us over its session: credentials, secrets, an ssh agent. Its directories are `fsutil`'s.

/// `moby.filesync.v1.CredentialsRequest`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CredentialsRequest {
    #[prost(string, tag = "1")]
    pub(crate) host: String,
}

/// `moby.filesync.v1.CredentialsResponse`. Without a name the secret is an identity token.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CredentialsResponse {
    #[prost(string, tag = "1")]
    pub(crate) username: String,
    #[prost(string, tag = "2")]
    pub(crate) secret: String,
}

/// `moby.buildkit.secrets.v1.GetSecretRequest`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct GetSecretRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// `moby.buildkit.secrets.v1.GetSecretResponse`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct GetSecretResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

/// `moby.sshforward.v1.CheckAgentRequest`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct CheckAgentRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

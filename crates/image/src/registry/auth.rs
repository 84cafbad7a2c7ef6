//! Who we are to a registry: challenges (RFC 7235), Basic, and Docker's bearer tokens.
//!
//! Tokens: distribution's `spec/auth/token.md` (GET with Basic) and `spec/auth/oauth.md` (POST with an identity
//! token). Never: keeps a password longer than its pull; shows one in a message or a log.

use super::{
    client::{self, Client, MAX_DOCUMENT},
    error::{ApiError, Code, RegistryError},
    patience::Patience,
};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Token servers know Docker's clients by this name.
const CLIENT_ID: &str = "docker";

/// Before a token server that failed is asked again.
const BACK_OFF: Duration = Duration::from_millis(250);

/// A token lives at least so long, whatever its server says (`spec/auth/token.md`, `expires_in`).
const MIN_LIFE: Duration = Duration::from_secs(60);

/// A token is renewed so long before its end, for clocks and long ways.
const MARGIN: Duration = Duration::from_secs(10);

/// What a user has to show. All may be empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// With `password`.
    pub username: String,
    /// With `username`.
    pub password: String,
    /// Instead of a password: from an earlier login.
    pub identity_token: String,
    /// Instead of all else: sent as it is.
    pub registry_token: String,
    /// For which registry; used by logins only.
    pub server_address: String,
}

impl fmt::Debug for RegistryAuth {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (username, server_address) = (&self.username, &self.server_address);
        f.debug_struct("RegistryAuth")
            .field("username", username)
            .field("server_address", server_address)
            .finish_non_exhaustive()
    }
}

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case.
    pub(crate) scheme: String,
    /// Keys in lower case.
    pub(crate) params: BTreeMap<String, String>,
}

/// The challenges of a 401; of other answers none.
pub(crate) fn challenges(status: StatusCode, headers: &HeaderMap) -> Vec<Challenge> {
    if status != StatusCode::UNAUTHORIZED {
        return Vec::new();
    }
    let values = headers.get_all(header::WWW_AUTHENTICATE);
    values.iter().filter_map(|value| value.to_str().ok()).filter_map(parse_challenge).collect()
}

/// Why a bearer token was refused, as the challenge tells (RFC 6750 section 3.1).
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<ApiError> {
    challenges(status, headers).iter().filter(|challenge| challenge.scheme == "bearer").find_map(
        |challenge| {
            let code = match challenge.params.get("error")?.as_str() {
                "invalid_token" => Code::Unauthorized,
                "insufficient_scope" => Code::Denied,
                _ => return None,
            };
            let words =
                challenge.params.get("error_description").map(String::as_str).filter(|w| !w.is_empty());
            Some(ApiError::new(code, words))
        },
    )
}

/// One challenge a header, as registries send them: `Bearer realm="…",service="…"`.
fn parse_challenge(header: &str) -> Option<Challenge> {
    let is_token = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[]\\{}".contains(c);
    let split = |text: &str| text.find(|c| !is_token(c)).unwrap_or(text.len());
    let (scheme, mut rest) = header.split_at(split(header));
    if scheme.is_empty() {
        return None;
    }
    let mut params = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (key, after) = rest.split_at(split(rest));
        let Some(value) = after.strip_prefix('=').filter(|_| !key.is_empty()) else { break };
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => match unquote(quoted) {
                Some(parts) => parts,
                None => break,
            },
            None => {
                let (value, after) = value.split_at(split(value));
                (value.to_owned(), after)
            }
        };
        params.insert(key.to_ascii_lowercase(), value);
        rest = after;
    }
    Some(Challenge { scheme: scheme.to_ascii_lowercase(), params })
}

/// The text up to the closing quote, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Answers a registry's challenges for one repository.
pub(crate) struct Authorizer {
    auth: RegistryAuth,
    scopes: Vec<String>,
    /// Ask for an identity token too: logins do.
    offline: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenges: Vec<Challenge>,
    /// By the scope that each has beside the usual ones; mostly none.
    tokens: HashMap<String, Token>,
    identity_token: Option<String>,
}

struct Token {
    value: HeaderValue,
    until: Instant,
}

impl Authorizer {
    pub(crate) fn new(auth: Option<RegistryAuth>, challenges: Vec<Challenge>, scopes: Vec<String>) -> Self {
        let state = Mutex::new(State { challenges, ..State::default() });
        Self { auth: auth.unwrap_or_default(), scopes, offline: false, state }
    }

    /// For a login: without a scope, and with a wish for an identity token.
    pub(crate) fn for_login(auth: RegistryAuth, challenges: Vec<Challenge>) -> Self {
        Self { offline: true, ..Self::new(Some(auth), challenges, Vec::new()) }
    }

    /// The identity token that a token server gave in exchange for a password.
    pub(crate) async fn identity_token(&self) -> Option<String> {
        self.state.lock().await.identity_token.clone()
    }

    /// The value of `Authorization` for the next request; `None` when nothing is asked for. Requests that need a
    /// new token wait for the first of them. `beside` is a scope that this request needs more than others, or empty.
    pub(crate) async fn authorization(
        &self,
        client: &Client,
        beside: &str,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        let of = |scheme: &str| state.challenges.iter().find(|c| c.scheme == scheme).cloned();
        let Some(bearer) = of("bearer") else {
            return match of("basic") {
                Some(_) => self.basic().ok_or(RegistryError::NoBasicCredentials).map(Some),
                None => Ok(None),
            };
        };
        if !self.auth.registry_token.is_empty() {
            return bearer_value(&self.auth.registry_token).map(Some);
        }
        if let Some(token) = state.tokens.get(beside).filter(|token| Instant::now() < token.until) {
            return Ok(Some(token.value.clone()));
        }
        let answer = self.fetch(client, &bearer, beside).await?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or_default()).max(MIN_LIFE);
        let value = bearer_value(&answer.token)?;
        let token = Token { value: value.clone(), until: Instant::now() + (life - MARGIN) };
        state.tokens.insert(beside.to_owned(), token);
        if answer.refresh_token.is_some() {
            state.identity_token = answer.refresh_token;
        }
        Ok(Some(value))
    }

    /// Whether a refused request may go well with new credentials: its token ended early, or the registry asks only
    /// now. Forgets the token that was refused.
    pub(crate) async fn may_retry(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> bool {
        let asked = challenges(status, headers);
        if asked.is_empty() {
            return false;
        }
        let mut state = self.state.lock().await;
        if state.challenges.is_empty() {
            state.challenges = asked;
            return true;
        }
        let ended = asked.iter().any(|c| c.params.get("error").is_some_and(|e| e == "invalid_token"));
        if !ended {
            return false;
        }
        // Another request may have fetched a new one meanwhile.
        let before = state.tokens.len();
        state.tokens.retain(|_, token| Some(&token.value) != sent);
        state.tokens.len() < before || !state.tokens.is_empty()
    }

    /// `Basic …`, if there are a name and a password.
    fn basic(&self) -> Option<HeaderValue> {
        let RegistryAuth { username, password, .. } = &self.auth;
        if username.is_empty() || password.is_empty() {
            return None;
        }
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        secret(&format!("Basic {pair}")).ok()
    }

    /// Asks the token server that the challenge names.
    async fn fetch(
        &self,
        client: &Client,
        challenge: &Challenge,
        beside: &str,
    ) -> Result<TokenAnswer, RegistryError> {
        let wrong = |why: &str| RegistryError::Challenge(why.to_owned());
        let realm = challenge
            .params
            .get("realm")
            .ok_or_else(|| wrong("no realm specified for token auth challenge"))?;
        let uri: http::Uri = realm
            .parse()
            .map_err(|e| RegistryError::Challenge(format!("invalid token auth challenge realm: {e}")))?;
        let secure = client.endpoint().scheme == "https" && !client.endpoint().insecure;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if !secure => {}
            Some("http") => {
                return Err(wrong("token auth challenge realm of a registry with TLS has none"));
            }
            _ => return Err(wrong("invalid token auth challenge realm: it is no http or https URL")),
        }
        let service = challenge.params.get("service").map(String::as_str).unwrap_or_default();
        let beside = Some(beside).filter(|scope| !scope.is_empty());
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).chain(beside).collect();
        match self.auth.identity_token.is_empty() {
            true => self.fetch_by_password(client, realm, service, &scopes).await,
            false => self.fetch_by_identity(client, realm, service, &scopes).await,
        }
    }

    /// `spec/auth/token.md`.
    async fn fetch_by_password(
        &self,
        client: &Client,
        realm: &str,
        service: &str,
        scopes: &[&str],
    ) -> Result<TokenAnswer, RegistryError> {
        let basic = self.basic();
        let mut query: Vec<(&str, &str)> = Vec::new();
        if basic.is_some() {
            query.push(("account", &self.auth.username));
        }
        if self.offline {
            query.extend([("client_id", CLIENT_ID), ("offline_token", "true")]);
        }
        query.extend(scopes.iter().map(|scope| ("scope", *scope)));
        if !service.is_empty() {
            query.push(("service", service));
        }
        let query = encode_form(&query);
        let joint = if realm.contains('?') { '&' } else { '?' };
        let url = if query.is_empty() { realm.to_owned() } else { format!("{realm}{joint}{query}") };
        let mut patience = Patience::new(BACK_OFF);
        let answer = loop {
            let answer = client.get(Method::GET, &url, &HeaderMap::new(), basic.as_ref()).await;
            if !patience.wait(&answer).await {
                break answer?;
            }
        };
        if !answer.status().is_success() {
            return Err(client::refusal(answer).await);
        }
        read_token(answer.into_body()).await
    }

    /// `spec/auth/oauth.md`.
    async fn fetch_by_identity(
        &self,
        client: &Client,
        realm: &str,
        service: &str,
        scopes: &[&str],
    ) -> Result<TokenAnswer, RegistryError> {
        let form = encode_form(&[
            ("client_id", CLIENT_ID),
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.auth.identity_token),
            ("scope", &scopes.join(" ")),
            ("service", service),
        ]);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let form = Bytes::from(form);
        let mut patience = Patience::when_asked();
        let answer = loop {
            let body = Full::new(form.clone()).map_err(|never| match never {}).boxed_unsync();
            // A redirection is an error here: the form has the token in it.
            let answer = client.send(Method::POST, realm, headers.clone(), body).await;
            if !patience.wait(&answer).await {
                break answer?;
            }
        };
        if !answer.status().is_success() {
            return Err(client::refusal(answer).await);
        }
        let answer = read_token(answer.into_body()).await?;
        let refresh_token = answer.refresh_token.filter(|token| *token != self.auth.identity_token);
        Ok(TokenAnswer { refresh_token, ..answer })
    }
}

/// What a token server gives.
struct TokenAnswer {
    token: String,
    /// Seconds.
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

async fn read_token(body: hyper::body::Incoming) -> Result<TokenAnswer, RegistryError> {
    #[derive(serde::Deserialize)]
    struct Raw {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
        refresh_token: Option<String>,
    }
    let body = client::read_all(body, MAX_DOCUMENT).await?;
    let raw: Raw = serde_json::from_slice(&body)
        .map_err(|e| RegistryError::Challenge(format!("unable to decode token response: {e}")))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let token = given(raw.access_token).or(given(raw.token)).ok_or(RegistryError::NoToken)?;
    Ok(TokenAnswer { token, expires_in: raw.expires_in, refresh_token: given(raw.refresh_token) })
}

fn bearer_value(token: &str) -> Result<HeaderValue, RegistryError> {
    secret(&format!("Bearer {token}"))
}

/// A header's value that is never shown or kept in HTTP/2's tables.
fn secret(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        RegistryError::Challenge("credentials have characters that HTTP does not carry".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`, in the order given.
fn encode_form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    (b as char).to_string()
                }
                b' ' => "+".into(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let challenge = parse_challenge(
            "Bearer realm=\"https://auth.example/token?x=1\",service=\"a, \\\"b\\\"\" , Scope=repo error=\"x\"",
        )
        .unwrap();
        assert_eq!(challenge.scheme, "bearer");
        let get = |key: &str| challenge.params.get(key).map(String::as_str);
        assert_eq!(get("realm"), Some("https://auth.example/token?x=1"));
        assert_eq!(get("service"), Some("a, \"b\""));
        assert_eq!((get("scope"), get("error")), (Some("repo"), Some("x")));
        assert_eq!(parse_challenge("Basic realm=\"x").unwrap().params.len(), 0);
        assert_eq!(parse_challenge("BASIC").unwrap().scheme, "basic");
        assert_eq!(parse_challenge("=\"x\""), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth =
            RegistryAuth { username: "alice".into(), password: "s3cret".into(), ..RegistryAuth::default() };
        assert!(!format!("{auth:?}").contains("s3cret"));
        assert!(!format!("{:?}", bearer_value("t0ken").unwrap()).contains("t0ken"));
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(
            encode_form(&[("scope", "repository:a/b:pull"), ("s", "x y&z")]),
            "scope=repository%3Aa%2Fb%3Apull&s=x+y%26z"
        );
    }
}

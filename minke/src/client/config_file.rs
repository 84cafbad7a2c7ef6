//! The user's `~/.docker/config.json`: credentials, proxies, formats, the current context.
//!
//! Read here, and written by `login` and `logout` (and by `context use`). A missing file is an empty one.

use crate::format::value::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The key of Docker Hub's credentials.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// What a credential helper names a user of an identity token.
const TOKEN_USER: &str = "<token>";

/// The file, read.
pub(crate) struct ConfigFile {
    directory: PathBuf,
    value: Value,
}

/// Who asks a registry for something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user.
    pub(crate) username: String,
    /// The password.
    pub(crate) password: String,
    /// A token instead of both.
    pub(crate) identity_token: String,
    /// The registry's key.
    pub(crate) server: String,
}

impl ConfigFile {
    /// Reads the file in `directory`. The error is a warning, not a failure, to who asks.
    pub(crate) fn load(directory: &Path) -> (Self, Option<String>) {
        let file = directory.join("config.json");
        let (value, warning) = match std::fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => (value, None),
                Err(error) => (
                    Value::Null,
                    Some(format!("WARNING: Error loading config file: {}: {error}", file.display())),
                ),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Value::Null, None),
            Err(error) => (
                Value::Null,
                Some(format!("WARNING: Error loading config file: {}: {error}", file.display())),
            ),
        };
        (Self { directory: directory.to_owned(), value }, warning)
    }

    /// The directory that it lies in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A setting that is a text; empty when it is not set.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.value.text(key)
    }

    /// A setting that is a list of texts.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        self.value.texts(key).into_iter().map(str::to_owned).collect()
    }

    /// `HttpHeaders`, sent with each request.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        self.value
            .at("HttpHeaders")
            .entries()
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent"))
            .map(|(name, value)| (name.clone(), value.as_text().to_owned()))
            .collect()
    }

    /// The proxies of `host`, as variables of a container's environment, upper and lower case.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        let all = self.value.at("proxies");
        let own = all.at_key(host);
        let proxies = if own.is_null() { all.at_key("default") } else { own };
        let names = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let set = names.iter().filter(|(key, _)| !proxies.text(key).is_empty());
        set.flat_map(|(key, name)| {
            [
                (name.to_string(), proxies.text(key).to_owned()),
                (name.to_lowercase(), proxies.text(key).to_owned()),
            ]
        })
        .collect()
    }

    /// The header `X-Registry-Auth` for images of `domain`; empty credentials when there are none.
    pub(crate) fn registry_auth(&self, domain: &str) -> Result<String, String> {
        let key = if domain == "docker.io" || domain == "index.docker.io" { HUB } else { domain };
        let found = self.credentials(key)?;
        let mut auth = serde_json::Map::new();
        for (name, text) in [
            ("username", found.username),
            ("password", found.password),
            ("identitytoken", found.identity_token),
            ("serveraddress", found.server),
        ] {
            if !text.is_empty() {
                auth.insert(name.into(), text.into());
            }
        }
        Ok(base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE,
            serde_json::Value::Object(auth).to_string(),
        ))
    }

    /// User and password for a registry's host, for who sends them on; without a user the password is a token. `None`
    /// where nobody is logged in.
    pub(crate) fn pair(&self, host: &str) -> Result<Option<(String, String)>, String> {
        let key = match host {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
            other => other,
        };
        let found = self.credentials(key)?;
        Ok(match (found.identity_token.is_empty(), found.username.is_empty()) {
            (false, _) => Some((String::new(), found.identity_token)),
            (true, false) => Some((found.username, found.password)),
            (true, true) => None,
        })
    }

    /// Keeps credentials: with the helper for that registry, or in the file, whose path is then returned.
    pub(crate) fn store(&self, credentials: &Credentials) -> Result<Option<String>, String> {
        let key = &credentials.server;
        if let Some(helper) = self.helper(key) {
            let (user, secret) = match credentials.identity_token.as_str() {
                "" => (credentials.username.as_str(), credentials.password.as_str()),
                token => (TOKEN_USER, token),
            };
            let entry = serde_json::json!({ "ServerURL": key, "Username": user, "Secret": secret });
            return tell_helper(helper, "store", &entry.to_string()).map(|()| None);
        }
        let pair = format!("{}:{}", credentials.username, credentials.password);
        let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        let mut entry = serde_json::json!({ "auth": auth });
        if !credentials.identity_token.is_empty() {
            entry["identitytoken"] = credentials.identity_token.clone().into();
        }
        self.change(|file| file["auths"][key] = entry)?;
        Ok(Some(self.directory.join("config.json").display().to_string()))
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub(crate) fn forget(&self, key: &str) -> Result<bool, String> {
        let known = self.value.at("auths").entries().iter().any(|(name, _)| name == key);
        if let Some(helper) = self.helper(key) {
            let had = ask_helper(helper, key)? != Credentials::default();
            tell_helper(helper, "erase", key)?;
            return Ok(had || known);
        }
        if known {
            self.change(|file| {
                if let Some(auths) = file["auths"].as_object_mut() {
                    auths.remove(key);
                }
            })?;
        }
        Ok(known)
    }

    /// The helper that keeps a registry's credentials.
    fn helper(&self, key: &str) -> Option<&str> {
        let own = self.value.at("credHelpers").text(key);
        let helper = if own.is_empty() { self.value.text("credsStore") } else { own };
        (!helper.is_empty()).then_some(helper)
    }

    /// Changes the file as a whole; what this program does not know stays. Only its owner may read it.
    fn change(&self, change: impl FnOnce(&mut serde_json::Value)) -> Result<(), String> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.join("config.json");
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let mut file = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => serde_json::json!({}),
            Err(error) => return Err(failed(error)),
        };
        if !file.is_object() {
            return Err(format!("{}: it must be a map", path.display()));
        }
        change(&mut file);
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        let fresh = path.with_extension(format!("new{}", std::process::id()));
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut out| out.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&fresh, &path));
        written.map_err(failed)
    }

    /// Asks the helper for that registry, the general one, or the file itself.
    fn credentials(&self, key: &str) -> Result<Credentials, String> {
        if let Some(helper) = self.helper(key) {
            return ask_helper(helper, key);
        }
        let auths = self.value.at("auths");
        let entry = auths
            .entries()
            .iter()
            .find(|(known, _)| known == key || hostname(known) == hostname(key))
            .map(|(_, entry)| entry);
        let Some(entry) = entry else { return Ok(Credentials::default()) };
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, entry.text("auth"))
            .map_err(|error| format!("invalid auth configuration of {key}: {error}"))?;
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        let (username, password) = decoded.split_once(':').unwrap_or_default();
        Ok(Credentials {
            username: username.into(),
            password: password.trim_end_matches('\0').into(),
            identity_token: entry.text("identitytoken").into(),
            server: key.into(),
        })
    }
}

/// The host of a credential key, which may be a whole address.
fn hostname(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare)
}

/// Gives a helper something to keep or to forget.
fn tell_helper(helper: &str, verb: &str, text: &str) -> Result<(), String> {
    let name = format!("docker-credential-{helper}");
    let failed = |cause: std::io::Error| format!("error storing credentials with {name}: {cause}");
    let mut child = Command::new(&name)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("error storing credentials with {name}: {}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// Speaks the protocol of `docker-credential-*`: the server's name on stdin, JSON on stdout.
fn ask_helper(helper: &str, key: &str) -> Result<Credentials, String> {
    let name = format!("docker-credential-{helper}");
    let failed = |cause: std::io::Error| format!("error getting credentials from {name}: {cause}");
    let mut child = Command::new(&name)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if text.contains("credentials not found") {
            return Ok(Credentials::default());
        }
        return Err(format!("error getting credentials from {name}: {}", text.trim()));
    }
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| format!("error getting credentials from {name}: {error}"))?;
    let (username, secret) = (answer.text("Username").to_owned(), answer.text("Secret").to_owned());
    if username == TOKEN_USER {
        return Ok(Credentials { identity_token: secret, server: key.into(), ..Credentials::default() });
    }
    Ok(Credentials { username, password: secret, server: key.into(), ..Credentials::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> ConfigFile {
        ConfigFile { directory: "/x".into(), value: serde_json::from_str(json).unwrap() }
    }

    #[test]
    fn credentials_are_found_by_host() {
        let file = config(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cHc="}, "r.io": {"auth": "YTpiOmM=", "identitytoken": "t"}}}"#,
        );
        assert_eq!(
            file.credentials(HUB).unwrap(),
            Credentials {
                username: "me".into(),
                password: "pw".into(),
                identity_token: String::new(),
                server: HUB.into()
            }
        );
        assert_eq!(file.credentials("r.io").unwrap().password, "b:c");
        assert_eq!(file.registry_auth("other.io").unwrap(), "e30=");
    }

    #[test]
    fn proxies_are_written_in_both_cases() {
        let file =
            config(r#"{"proxies": {"default": {"httpProxy": "http://p:1"}, "tcp://h:1": {"noProxy": "x"}}}"#);
        assert_eq!(
            file.proxies("unix:///s"),
            [("HTTP_PROXY".into(), "http://p:1".into()), ("http_proxy".into(), "http://p:1".into())]
        );
        assert_eq!(file.proxies("tcp://h:1")[0].0, "NO_PROXY");
    }
}

//! Environment and labels: from flags, from files, and from our own environment.

/// `--env-file` and `--env`, in that order: files first, so that flags win.
pub(crate) fn environment(files: &[String], given: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read_file(file, true)?);
    }
    all.extend_from_slice(given);
    Ok(all)
}

/// `--label-file` and `--label`, as pairs.
pub(crate) fn labels(files: &[String], given: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read_file(file, false)?);
    }
    for entry in given {
        if entry.split('=').next().is_none_or(|name| name.trim().is_empty()) {
            return Err(format!("invalid label '{entry}': empty name"));
        }
        all.push(entry.clone());
    }
    Ok(all
        .iter()
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// One `--env`: a name without a value takes it from our own environment.
pub(crate) fn validate(entry: &str) -> Result<String, String> {
    if entry.is_empty() || entry.starts_with('=') {
        return Err(format!("invalid environment variable: {entry}"));
    }
    if entry.contains('=') {
        return Ok(entry.to_owned());
    }
    Ok(match std::env::var(entry) {
        Ok(value) => format!("{entry}={value}"),
        Err(_) => entry.to_owned(),
    })
}

/// Lines `NAME=value`; blank ones and comments are skipped.
fn read_file(path: &str, from_environment: bool) -> Result<Vec<String>, String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("open {path}: {}", crate::commands::go_error(&error)))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        format!("invalid utf8 bytes at line {line}: {path}")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.contains([' ', '\t']) {
            return Err(format!("poorly formatted environment: variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return Err(format!("poorly formatted environment: no variable name on line '{line}'"));
        }
        match value {
            Some(value) => entries.push(format!("{name}={value}")),
            None if !from_environment => entries.push(name.to_owned()),
            None => entries.extend(std::env::var(name).ok().map(|value| format!("{name}={value}"))),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_first_and_comments_are_skipped() {
        let file = std::env::temp_dir().join(format!("minke-env-{}", std::process::id()));
        std::fs::write(&file, "# no\n\n  A=1=2\nMINKE_SURELY_UNSET\nB=\n").unwrap();
        let path = file.display().to_string();
        assert_eq!(
            environment(std::slice::from_ref(&path), &["C=3".into(), "MINKE_SURELY_UNSET".into()]).unwrap(),
            ["A=1=2", "B=", "C=3", "MINKE_SURELY_UNSET"]
        );
        std::fs::write(&file, "A B=1\n").unwrap();
        assert_eq!(
            environment(std::slice::from_ref(&path), &[]).unwrap_err(),
            "poorly formatted environment: variable 'A B' contains whitespaces"
        );
        std::fs::remove_file(file).unwrap();
        assert_eq!(
            environment(std::slice::from_ref(&path), &[]).unwrap_err(),
            format!("open {path}: no such file or directory")
        );
        assert_eq!(validate("=x").unwrap_err(), "invalid environment variable: =x");
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(
            labels(&[], &["a=b=c".into(), "d".into()]).unwrap(),
            [("a".into(), "b=c".into()), ("d".into(), String::new())]
        );
    }
}

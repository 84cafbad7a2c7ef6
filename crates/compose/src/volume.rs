//! `[source:]target[:options]`: the short form of a mount (compose-go `format/volume.go`). Pure.

use crate::node::{Data, Map, Node};

/// The long form of a short one.
///
/// Fails with compose-go's sentence.
pub(crate) fn parse(spec: &str) -> Result<Node, String> {
    if spec.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let mut mount = Mount::default();
    if spec.len() <= 2 {
        let node = Node::map([("type", "volume".into()), ("target", spec.into())]);
        return Ok(node);
    }
    for (part, last) in sections(spec) {
        mount.take(&part, last).map_err(|reason| format!("invalid spec: {spec}: {reason}"))?;
    }
    Ok(mount.node())
}

/// What stands between colons, and whether it is the last. A Windows drive's colon and those in `${…}` do not count.
fn sections(spec: &str) -> Vec<(String, bool)> {
    let (mut sections, mut buffer, mut braces) = (Vec::new(), String::new(), 0);
    let mut chars = spec.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' if chars.peek() == Some(&'{') => braces += 1,
            '}' if braces > 0 => braces -= 1,
            ':' if braces == 0 && !is_drive(&buffer) => {
                sections.push((std::mem::take(&mut buffer), false));
                continue;
            }
            _ => {}
        }
        buffer.push(c);
    }
    // An unclosed `${` swallows the end.
    if braces == 0 {
        sections.push((buffer, true));
    }
    sections
}

fn is_drive(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

#[derive(Default)]
struct Mount {
    source: String,
    target: String,
    read_only: bool,
    nocopy: bool,
    propagation: String,
    selinux: String,
}

impl Mount {
    fn take(&mut self, part: &str, last: bool) -> Result<(), &'static str> {
        match part {
            "" => return Err("empty section between colons"),
            part if self.source.is_empty() && last => self.target = part.to_owned(),
            part if self.source.is_empty() => self.source = part.to_owned(),
            part if self.target.is_empty() => self.target = part.to_owned(),
            _ if !last => return Err("too many colons"),
            options => options.split(',').for_each(|option| self.option(option)),
        }
        Ok(())
    }

    /// Takes an option. Unknown ones are ignored, as compose does.
    fn option(&mut self, option: &str) {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.nocopy = true,
            "z" | "Z" => self.selinux = option.to_owned(),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                self.propagation = option.to_owned()
            }
            _ => {}
        }
    }

    fn node(self) -> Node {
        let mut map = Map::new();
        let mut bind = Map::new();
        let set = |map: &mut Map, key: &str, value: &str| {
            if !value.is_empty() {
                map.insert(key.to_owned(), value.into());
            }
        };
        set(&mut map, "source", &self.source);
        let target =
            if self.target.is_empty() { String::new() } else { minke_model::go::clean(&self.target) };
        set(&mut map, "target", &target);
        set(&mut bind, "selinux", &self.selinux);
        set(&mut bind, "propagation", &self.propagation);
        if self.read_only {
            map.insert("read_only".to_owned(), true.into());
        }
        let is_path = is_path(&self.source);
        map.insert("type".to_owned(), if is_path { "bind" } else { "volume" }.into());
        if is_path {
            // As of old, a missing path is made.
            bind.insert("create_host_path".to_owned(), true.into());
        }
        if !bind.is_empty() {
            map.insert("bind".to_owned(), Data::Map(bind).into());
        }
        if self.nocopy {
            map.insert("volume".to_owned(), Node::map([("nocopy", true.into())]));
        } else if !is_path {
            map.insert("volume".to_owned(), Node::map([]));
        }
        Data::Map(map).into()
    }
}

/// Whether a source is a path and no volume's name.
fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    let drive = chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':');
    source.starts_with(['.', '/', '~']) || source.starts_with("\\\\") || drive
}

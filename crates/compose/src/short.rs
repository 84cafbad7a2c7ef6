//! The short forms of ports, volumes and commands, as flags of `run` write them. Pure.

use crate::node::Node;
use crate::project::{Mount, Part, Port, Reader};
use crate::{port, text, volume};

fn read<T: Part>(node: &Node) -> Result<T, String> {
    let mut faults = Vec::new();
    let read = T::read_any(node, &mut Reader { faults: &mut faults, files: &[], path: Vec::new() });
    faults.pop().map_or(Ok(read), |fault| Err(fault.message))
}

/// `8080:80`, `127.0.0.1:53:53/udp`, ranges.
pub fn parse_port(spec: &str) -> Result<Vec<Port>, String> {
    port::parse(spec)?.iter().map(read).collect()
}

/// `data:/var/lib`, `./source:/target:ro`.
pub fn parse_volume(spec: &str) -> Result<Mount, String> {
    read(&volume::parse(spec)?)
}

/// A command line, cut into words as compose cuts `command`.
pub fn shell_words(line: &str) -> Result<Vec<String>, String> {
    text::shell_words(line).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_what_the_files_long_ones_are() {
        let ports = parse_port("127.0.0.1:8080:80/udp").unwrap();
        assert_eq!(
            (ports[0].host_ip.as_str(), ports[0].target, ports[0].protocol.as_str()),
            ("127.0.0.1", 80, "udp")
        );
        let mount = parse_volume("data:/var/lib:ro").unwrap();
        assert_eq!((mount.r#type.as_str(), mount.source.as_str(), mount.read_only), ("volume", "data", true));
        assert!(parse_port("x").is_err());
        assert_eq!(shell_words("sh -c 'echo a'").unwrap(), ["sh", "-c", "echo a"]);
    }
}

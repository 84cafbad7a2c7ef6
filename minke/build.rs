//! Embeds the shim's own program where `script/build` made one (`MINKE_SHIM`); a plain build has none to embed.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=MINKE_SHIM");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shim.rs");
    let text = match env::var("MINKE_SHIM") {
        Ok(path) if !path.is_empty() => {
            println!("cargo:rerun-if-changed={path}");
            format!("Some(include_bytes!({path:?}))")
        }
        _ => "None".to_owned(),
    };
    if let Err(e) = fs::write(&out, text) {
        println!("cargo:error=cannot write {}: {e}", out.display());
    }
}

//! The shim as a program of its own, so that its memory does not grow with the daemon's.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(minke_shim::main(&args));
}

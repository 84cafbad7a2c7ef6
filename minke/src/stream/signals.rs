//! Signals to this process, handed to a function on a thread of its own.

use tokio::signal::unix::{SignalKind, signal};

/// What docker forwards to a container: all that can be caught and is meant for a program. Not the
/// kernel's own about us (child, pipe, faults), nor a terminal's job control.
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
];

/// Calls `on` with the name of each signal that should go to a container.
pub(crate) fn forward(on: impl Fn(&'static str) + Send + 'static) -> std::io::Result<()> {
    watch(FORWARDED, on)
}

/// Calls `on` when somebody wants this process to end.
pub(crate) fn on_stop(on: impl Fn() + Send + 'static) -> std::io::Result<()> {
    watch(&[(2, "INT"), (15, "TERM")], move |_| on())
}

/// Calls `on` when the terminal changes its size.
pub(crate) fn on_resize(on: impl Fn() + Send + 'static) -> std::io::Result<()> {
    watch(&[(28, "WINCH")], move |_| on())
}

/// Returns once all signals are caught: none that comes after is missed.
fn watch(
    signals: &'static [(i32, &'static str)],
    on: impl Fn(&'static str) + Send + 'static,
) -> std::io::Result<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        runtime.block_on(async move {
            let (caught, mut next) = tokio::sync::mpsc::channel(64);
            for (number, name) in signals {
                let mut stream = match signal(SignalKind::from_raw(*number)) {
                    Ok(stream) => stream,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let caught = caught.clone();
                tokio::spawn(async move {
                    while stream.recv().await.is_some() && caught.send(*name).await.is_ok() {}
                });
            }
            let _ = ready.send(Ok(()));
            while let Some(name) = next.recv().await {
                on(name);
            }
        });
    });
    is_ready.recv().unwrap_or_else(|_| Err(std::io::Error::other("cannot watch for signals")))
}

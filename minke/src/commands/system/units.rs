//! What `system install` writes for systemd, and where everything lies (pure).

/// Where the binary goes.
pub(super) const PROGRAM: &str = "/usr/local/bin/minke";
/// Where the units go.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// The daemon's unit.
pub(super) const SERVICE: &str = "minke.service";
/// Its socket: systemd holds it, so that it survives restarts of the daemon.
pub(super) const SOCKET: &str = "minke.socket";
/// Docker's socket, for `--docker`.
pub(super) const DOCKER_SOCKET: &str = "minke-docker.socket";
/// State that stays.
pub(super) const DATA_ROOT: &str = "/var/lib/minke";
/// State that a reboot ends.
pub(super) const EXEC_ROOT: &str = "/run/minke";

/// The daemon's unit. `docker`: Docker's socket leads to it, too.
///
/// The daemon's end is no end for its containers, so systemd must kill nothing but the daemon (`KillMode=process`), must
/// leave its cgroups alone (`Delegate`), and must not count containers against it (`TasksMax`, `OOMPolicy`).
pub(super) fn service(docker: bool) -> String {
    let sockets = if docker { format!("{SOCKET} {DOCKER_SOCKET}") } else { SOCKET.to_owned() };
    format!(
        "[Unit]\n\
         Description=Minke, a container engine\n\
         After=network-online.target nss-lookup.target firewalld.service {sockets}\n\
         Wants=network-online.target\n\
         Requires={sockets}\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={PROGRAM} daemon --host fd://\n\
         ExecReload=/bin/kill -s HUP $MAINPID\n\
         Sockets={sockets}\n\
         Restart=always\n\
         RestartSec=1\n\
         Delegate=yes\n\
         KillMode=process\n\
         TasksMax=infinity\n\
         OOMPolicy=continue\n\
         OOMScoreAdjust=-500\n\
         LimitNOFILE=1048576\n\
         LimitNPROC=infinity\n\
         LimitCORE=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// A socket's unit: `path`, open to `group`.
pub(super) fn socket(path: &str, group: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Minke's API on {path}\n\
         \n\
         [Socket]\n\
         ListenStream={path}\n\
         SocketMode=0660\n\
         SocketUser=root\n\
         SocketGroup={group}\n\
         Service={SERVICE}\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_end_is_no_end_for_containers() {
        let unit = service(false);
        for line in
            ["Type=notify", "Delegate=yes", "KillMode=process", "TasksMax=infinity", "OOMPolicy=continue"]
        {
            assert!(unit.lines().any(|l| l == line), "{line} in\n{unit}");
        }
        assert!(!unit.contains("docker"), "{unit}");
    }

    #[test]
    fn docker_s_socket_leads_to_the_same_daemon() {
        assert!(service(true).contains("Sockets=minke.socket minke-docker.socket\n"));
        let unit = socket("/run/docker.sock", "docker");
        assert!(
            unit.contains("ListenStream=/run/docker.sock\n") && unit.contains("SocketGroup=docker\n"),
            "{unit}"
        );
        assert!(unit.contains("Service=minke.service\n"), "{unit}");
    }
}

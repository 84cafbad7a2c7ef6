//! Real containers through plan, shim and process. Needs root.

mod common;
use common::*;
use minke_runtime::{Found, RuntimeError};

#[tokio::test]
async fn a_container_runs_and_tells_how_it_ended() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let ran = house.sh("echo out; echo err >&2; exit 7").await;
    assert_eq!(
        (ran.exit.code, ran.out.as_str(), ran.err.as_str(), ran.exit.oom),
        (7, "out\n", "err\n", false)
    );
}

#[tokio::test]
async fn a_signal_is_told_as_128_and_more() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    process.kill().await.unwrap();
    assert_eq!(process.wait().await.code, 137);
    process.kill().await.unwrap();
    assert_eq!(process.wait().await.code, 137, "later waiters too");
}

#[tokio::test]
async fn a_handled_signal_reaches_pid_1() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house
        .runtime()
        .create(house.request(&["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"]))
        .await
        .unwrap();
    let mut stream = process.attach(OUT).await.unwrap();
    process.go().await.unwrap();
    until(&mut stream, "ready").await;
    process.signal(15).await.unwrap();
    assert_eq!(process.wait().await.code, 3);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    if !can_run() {
        return;
    }
    let house = House::new();
    for (args, code, text) in [
        (&["nothing"][..], 127, "exec: \"nothing\": executable file not found in $PATH"),
        (&["/no/such"], 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
        (&["/etc"], 126, "exec: \"/etc\": is a directory: permission denied"),
        (&["/etc/passwd"], 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let request = house.request(args);
        let id = request.container.id.clone();
        let process = house.runtime().create(request).await.unwrap();
        let Err(RuntimeError::Start(error)) = process.go().await else { panic!("{args:?} started") };
        assert_eq!((error.exit_code(), error.to_string().as_str()), (code, text));
        house.runtime().forget(&id).await.unwrap();
    }
    let mut request = house.request(&["true"]);
    change(&mut request, |c| c.spec.process.user = "nobody".into());
    let process = house.runtime().create(request).await.unwrap();
    let error = process.go().await.unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
}

#[tokio::test]
async fn the_log_has_every_line_of_both_streams() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let request = house.request(&["sh", "-c", "seq 1 20000; echo bad >&2; printf end"]);
    let id = request.container.id.clone();
    let ran = house.run(request).await;
    let log = house.log(&id);
    let out: String = log.iter().filter(|l| l.1 == "stdout").map(|l| l.0.as_str()).collect();
    assert_eq!(out, ran.out);
    assert!(out.ends_with("20000\nend"));
    assert!(log.contains(&("bad\n".into(), "stderr".into())));
}

#[tokio::test]
async fn stdin_goes_in_and_its_end_too() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["cat"]);
    request.stdin = true;
    change(&mut request, |c| (c.spec.process.open_stdin, c.spec.process.stdin_once) = (true, true));
    let process = house.runtime().create(request).await.unwrap();
    let mut stream = process.attach(ALL).await.unwrap();
    process.go().await.unwrap();
    let big = "0123456789abcdef\n".repeat(20_000);
    let (mut read, mut write) = stream.split();
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut write, big.as_bytes()).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut write).await.unwrap();
    };
    let mut got = Vec::new();
    let receive = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut got);
    let (_, received) = tokio::join!(send, receive);
    received.unwrap();
    let body: usize = got.len();
    assert!(body > big.len(), "{body}");
    assert_eq!(process.wait().await.code, 0);
}

#[tokio::test]
async fn stdin_that_stays_open_survives_its_client() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["cat"]);
    request.stdin = true;
    change(&mut request, |c| c.spec.process.open_stdin = true);
    let process = house.runtime().create(request).await.unwrap();
    process.go().await.unwrap();
    for word in ["first", "second"] {
        let mut stream = process.attach(ALL).await.unwrap();
        say(&mut stream, &format!("{word}\n")).await;
        until(&mut stream, word).await;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        read_all(stream).await;
    }
    process.kill().await.unwrap();
}

#[tokio::test]
async fn a_terminal_is_the_containers_own_and_has_a_size() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh"]);
    request.stdin = true;
    change(&mut request, |c| {
        c.spec.process.tty = true;
        c.spec.process.open_stdin = true;
        c.spec.console_size = (30, 100);
    });
    let process = house.runtime().create(request).await.unwrap();
    let mut stream = process.attach(ALL).await.unwrap();
    process.go().await.unwrap();
    say(&mut stream, "tty; stty size; echo $((1+1))two\n").await;
    let got = until(&mut stream, "2two").await;
    assert!(got.contains("/dev/pts/0") && got.contains("30 100"), "{got}");
    process.resize(40, 120).await.unwrap();
    say(&mut stream, "stty size; ls -l /dev/console; exit 4\n").await;
    let got = read_all(stream).await;
    assert!(got.contains("40 120") && got.contains("/dev/console"), "{got}");
    assert_eq!(process.wait().await.code, 4);
}

#[tokio::test]
async fn execs_run_inside_with_streams_users_and_codes() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house
        .runtime()
        .create(house.request(&["sh", "-c", "hostname > /tmp/name; mkfifo /tmp/wait; cat /tmp/wait"]))
        .await
        .unwrap();
    process.go().await.unwrap();
    let (code, out, err) =
        exec_run(&process, exec(&["sh", "-c", "id -u; id -G; echo $HOME; echo oops >&2; exit 5"])).await;
    assert_eq!((code, out.as_str(), err.as_str()), (5, "0\n0\n/root\n", "oops\n"));
    let mut request = exec(&["sh", "-c", "id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status"]);
    request.user = "web".into();
    let (_, out, _) = exec_run(&process, request).await;
    assert_eq!(out, "33\n34\n34 40\n/home/web\nCapEff:\t0000000000000000\n");
    let mut request = exec(&["cat"]);
    request.streams = Some(ALL);
    let id = request.id.clone();
    let mut stream = process.exec(request).await.unwrap().stream.unwrap();
    say(&mut stream, "through\n").await;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    assert_eq!(split(stream).await.0, "through\n");
    assert_eq!(process.exec_wait(&id).await.unwrap(), 0);
    assert_eq!(process.exec_wait(&id).await.unwrap(), 0, "later waiters too");
    let error = process.exec(exec(&["nothing"])).await.unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nothing\": executable file not found in $PATH");
    process.kill().await.unwrap();
    process.wait().await;
    assert!(matches!(process.exec(exec(&["true"])).await, Err(RuntimeError::NotRunning { .. })));
}

#[tokio::test]
async fn an_exec_has_a_terminal_when_asked() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
    process.go().await.unwrap();
    let mut request = exec(&["sh"]);
    (request.tty, request.streams, request.size) = (true, Some(ALL), Some((11, 22)));
    let id = request.id.clone();
    let mut stream = process.exec(request).await.unwrap().stream.unwrap();
    say(&mut stream, "stty size; tty; echo $((2+1))three\n").await;
    let got = until(&mut stream, "3three").await;
    assert!(got.contains("11 22") && got.contains("/dev/pts/0"), "{got}");
    process.exec_resize(&id, 33, 44).await.unwrap();
    say(&mut stream, "stty size; exit 6\n").await;
    assert!(read_all(stream).await.contains("33 44"));
    assert_eq!(process.exec_wait(&id).await.unwrap(), 6);
    process.kill().await.unwrap();
}

#[tokio::test]
async fn a_crashed_daemon_finds_its_containers_again() {
    if !can_run() {
        return;
    }
    let mut house = House::new();
    let request = house.request(&["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"]);
    let id = request.container.id.clone();
    let process = house.runtime().create(request).await.unwrap();
    let started = process.go().await.unwrap();
    let pid = process.pid();
    drop(process);
    house.crash();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    house.open();
    assert_eq!(house.runtime().containers(), std::slice::from_ref(&id));
    let Some(Found::Running(process)) = house.runtime().reconnect(&id).await.unwrap() else { panic!("lost") };
    assert_eq!((process.pid(), process.started()), (pid, started));
    let (code, out, _) = exec_run(&process, exec(&["echo", "again"])).await;
    assert_eq!((code, out.as_str()), (0, "again\n"));
    let mut stream = process.attach(OUT).await.unwrap();
    frame(&mut stream).await.unwrap();
    process.kill().await.unwrap();
    assert_eq!(process.wait().await.code, 137);
    let log = house.log(&id);
    for (n, (line, _)) in log.iter().enumerate() {
        assert_eq!(line, &format!("{n}\n"));
    }
    house.runtime().forget(&id).await.unwrap();
    assert!(house.runtime().containers().is_empty());
    assert!(house.runtime().reconnect(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_client_sent_before_it_left_arrives() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut request = house.request(&["sh", "-c", "sleep 0.2; wc -c"]);
    request.stdin = true;
    change(&mut request, |c| (c.spec.process.open_stdin, c.spec.process.stdin_once) = (true, true));
    let process = house.runtime().create(request).await.unwrap();
    let mut sender = process.attach(ALL).await.unwrap();
    let watcher = process.attach(OUT).await.unwrap();
    process.go().await.unwrap();
    // More than the pipe and the shim take at once, less than the socket.
    say(&mut sender, &"x".repeat(150_000)).await;
    drop(sender);
    assert_eq!(split(watcher).await.0.trim(), "150000");
}

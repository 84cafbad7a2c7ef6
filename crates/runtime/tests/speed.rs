//! How long a container's whole life takes; shown, not judged, as machines differ: `--ignored --nocapture`.

mod common;
use common::*;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_life_of_true() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut parts: Vec<[f64; 5]> = Vec::new();
    for _ in 0..60 {
        let request = house.request(&["true"]);
        let id = request.container.id.clone();
        let mut marks = vec![Instant::now()];
        let process = house.runtime().create(request).await.unwrap();
        marks.push(Instant::now());
        process.go().await.unwrap();
        marks.push(Instant::now());
        process.wait().await;
        marks.push(Instant::now());
        house.runtime().forget(&id).await.unwrap();
        marks.push(Instant::now());
        let ms = |a: usize, b: usize| (marks[b] - marks[a]).as_secs_f64() * 1000.0;
        parts.push([ms(0, 1), ms(1, 2), ms(2, 3), ms(3, 4), ms(0, 4)]);
    }
    for (n, name) in ["create", "go", "exit", "forget", "all"].iter().enumerate() {
        let mut column: Vec<f64> = parts.iter().map(|p| p[n]).collect();
        column.sort_by(f64::total_cmp);
        println!("{name:8} median {:.2} ms, least {:.2} ms", column[column.len() / 2], column[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn two_hundred_megabytes_of_lines() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let request = house.request(&["cat", "/lines"]);
    let line = format!("{}\n", "x".repeat(99));
    std::fs::write(request.rootfs.upper.join("lines"), line.repeat(2_000_000)).unwrap();
    let id = request.container.id.clone();
    let log = house.root.join(id.short()).join("log");
    let process = house.runtime().create(request).await.unwrap();
    let start = Instant::now();
    process.go().await.unwrap();
    assert_eq!(process.wait().await.code, 0);
    println!(
        "200 MB of lines: {:.2} s, {} bytes of log",
        start.elapsed().as_secs_f64(),
        std::fs::metadata(log).unwrap().len()
    );
}

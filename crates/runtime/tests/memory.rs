//! What a shim weighs; shown, not judged: `--ignored --nocapture`.

mod common;
use common::*;

#[tokio::test]
#[ignore = "a measurement"]
async fn twenty_shims_at_rest() {
    if !can_run() {
        return;
    }
    let house = House::new();
    let mut running = Vec::new();
    for _ in 0..20 {
        let process = house.runtime().create(house.request(&["sleep", "100"])).await.unwrap();
        process.go().await.unwrap();
        running.push(process);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut pss = Vec::new();
    for process in &running {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
        let shim = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim();
        let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let kb = |name: &str| {
            rollup
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .unwrap()
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap()
        };
        pss.push((kb("Pss:"), kb("Private_Dirty:")));
    }
    println!("shims: PSS, private dirty in kB: {pss:?}");
    for process in running {
        process.kill().await.unwrap();
    }
}

use super::*;
use std::fs;

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let tree = Tree::at(dir.path());
    (dir, tree)
}

const MOUNT: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";

/// Ten seconds on two processors, at 100 ticks a second: 2000 ticks pass.
fn pair() -> (LoadSnapshot, LoadSnapshot) {
    let process = |id: u32, parent: u32, ticks: u64| {
        format!("{id} (advisor) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 1")
    };
    let snapshot = |stat: &str, own: u64, child: u64, cpu_stat: &str| {
        let (_dir, tree) = tree(&[
            ("proc/stat", stat),
            ("proc/self/stat", &process(100, 1, own)),
            ("proc/100/stat", &process(100, 1, own)),
            ("proc/101/stat", &process(101, 100, child)),
            ("proc/200/stat", &process(200, 1, 9_999)),
            ("proc/loadavg", "1.25 0.80 0.40 2/345 6789\n"),
            ("proc/self/mountinfo", MOUNT),
            ("proc/self/cgroup", "1:cpu:/job\n"),
            ("sys/fs/cgroup/cpu/job/cpu.stat", cpu_stat),
        ]);
        LoadSnapshot::read(&tree)
    };
    (
        snapshot(
            "cpu  1000 0 0 9000 0 0 0 0 0 0\ncpu0 500 0 0 4500\ncpu1 500 0 0 4500\n",
            100,
            200,
            "nr_periods 10\nnr_throttled 1\nthrottled_time 5000000\n",
        ),
        snapshot(
            "cpu  2100 0 100 9720 0 0 0 80 0 0\ncpu0 1050 0 50 4860\ncpu1 1050 0 50 4860\n",
            150,
            950,
            "nr_periods 110\nnr_throttled 21\nthrottled_time 1005000000\n",
        ),
    )
}

#[test]
fn what_happened_between_two_snapshots_is_told() {
    let (before, after) = pair();
    let d = between(&before, &after);
    let close = |r: &Reading<f64>, x: f64| assert!((r.known().unwrap() - x).abs() < 1e-9, "{r:?}");
    // 80 of 2000 ticks stolen; 1200 busy, of which 800 were ours.
    assert!((d.steal.known().unwrap().get() - 0.04).abs() < 1e-12);
    close(&d.own_load_cores, 0.8);
    close(&d.other_load_cores, 0.4);
    close(&d.load_average, 1.25);
    assert!((d.throttled.known().unwrap().get() - 0.2).abs() < 1e-12);
    assert_eq!(d.throttled_time, Reading::Known(Time::from_millis(1000.0)));
    assert_eq!(d.processors, Reading::Known(2));
    assert!(d.temperature_celsius.known().is_none());
}

#[test]
fn disturbances_that_matter_become_caveats() {
    let (before, after) = pair();
    let told: Vec<String> = between(&before, &after)
        .caveats()
        .into_iter()
        .map(|c| c.message)
        .collect();
    assert_eq!(
        told,
        [
            "the hypervisor took 4.0% of the processors' time for others (steal)",
            "the CPU quota stopped this container in 20% of its periods, 1.00 s in all",
            "other programs kept 0.4 of 2 processors busy",
        ]
    );
}

#[test]
fn a_calm_machine_gives_no_caveat() {
    let d = Disturbance {
        steal: Reading::Known(Fraction::saturating(0.009)),
        throttled: Reading::Known(Fraction::saturating(0.0)),
        throttled_time: Reading::Known(Time::ZERO),
        other_load_cores: Reading::Known(0.09),
        own_load_cores: Reading::Known(2.0),
        processors: Reading::Known(2),
        load_average: Reading::Known(2.0),
        clock_mhz: Reading::Known(Change {
            before: 3000.0,
            after: 2900.0,
        }),
        temperature_celsius: Reading::unknown("none"),
        thermal_events: Reading::Known(0),
    };
    assert_eq!(d.caveats(), []);
    let hot = Disturbance {
        clock_mhz: Reading::Known(Change {
            before: 3000.0,
            after: 2400.0,
        }),
        thermal_events: Reading::Known(3),
        ..d
    };
    let kinds: Vec<CaveatKind> = hot.caveats().iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [CaveatKind::Drift, CaveatKind::Noise]);
}

#[test]
fn the_same_snapshot_twice_gives_reasons_not_zeros() {
    let (before, _) = pair();
    let d = between(&before, &before);
    assert!(d.steal.to_string().contains("no processor time passed"));
    assert!(d.other_load_cores.known().is_none());
}

#[test]
fn an_empty_tree_gives_reasons_and_no_caveats() {
    let (_dir, tree) = tree(&[]);
    let nothing = LoadSnapshot::read(&tree);
    let d = between(&nothing, &nothing);
    assert!(d.steal.known().is_none() && d.throttled.known().is_none());
    assert_eq!(d.caveats(), []);
}

/// Work of this very process is counted as its own.
#[cfg(target_os = "linux")]
#[test]
fn own_work_is_told_from_that_of_others() {
    let before = LoadSnapshot::take();
    let start = std::time::Instant::now();
    let mut x = 0_u64;
    while start.elapsed() < std::time::Duration::from_millis(400) {
        x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(7));
    }
    let d = between(&before, &LoadSnapshot::take());
    // A container may hide `/proc/stat`; a tick is a hundredth of a second.
    if let Some(own) = d.own_load_cores.known() {
        assert!(*own > 0.0, "{d:?}");
    }
}

//! Trees as they were recorded on machines of each kind, cut to the files that count.

use super::*;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

/// A tree of the given files; a path that ends in `/` makes an empty folder.
fn tree(files: &[(&str, &str)]) -> (TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(file).unwrap();
        } else {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }
    let tree = Tree::at(dir.path());
    (dir, tree)
}

const ONLINE: (&str, &str) = ("sys/devices/system/cpu/online", "0-15\n");

fn allowed(list: &str) -> String {
    format!("Name:\tadvisor\nCpus_allowed:\tffff\nCpus_allowed_list:\t{list}\n")
}

#[test]
fn v1_docker_whose_mount_hides_the_path() {
    let id = "/docker/4f1a9c0b7d2e";
    let mounts = format!(
        "612 611 0:27 {id} /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct\n\
         613 611 0:30 {id} /sys/fs/cgroup/memory ro,nosuid master:12 - cgroup cgroup rw,memory\n\
         614 611 0:31 {id} /sys/fs/cgroup/cpuset ro,nosuid master:13 - cgroup cgroup rw,cpuset\n"
    );
    let groups = format!("9:cpuset:{id}\n5:memory:{id}\n3:cpu,cpuacct:{id}\n1:name=systemd:{id}\n");
    let (_dir, tree) = tree(&[
        ("proc/self/mountinfo", &mounts),
        ("proc/self/cgroup", &groups),
        ("proc/self/status", &allowed("4-7")),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
        ("sys/fs/cgroup/cpuset/cpuset.cpus", "4-7\n"),
        ONLINE,
    ]);
    let limits = limits(&tree);
    assert_eq!(limits.cpu_quota_cores, Some(1.5));
    assert_eq!(limits.memory_bytes, Some(Bytes::from_gib(2.0)));
    assert_eq!(limits.cpuset_cores, Some(4));
    assert_eq!(limits.cgroup, Reading::Known("v1".into()));
}

#[test]
fn v1_nested_with_the_tighter_limit_above() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        ),
        (
            "proc/self/cgroup",
            "4:memory:/batch/job7\n3:cpu:/batch/job7/step1\n",
        ),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/cpu/batch/cpu.cfs_quota_us", "200000"),
        ("sys/fs/cgroup/cpu/batch/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/cpu/batch/job7/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu/batch/job7/cpu.cfs_period_us", "100000"),
        (
            "sys/fs/cgroup/cpu/batch/job7/step1/cpu.cfs_quota_us",
            "800000",
        ),
        (
            "sys/fs/cgroup/cpu/batch/job7/step1/cpu.cfs_period_us",
            "50000",
        ),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712",
        ),
        (
            "sys/fs/cgroup/memory/batch/memory.limit_in_bytes",
            "1073741824",
        ),
        (
            "sys/fs/cgroup/memory/batch/job7/memory.limit_in_bytes",
            "4294967296",
        ),
    ]);
    let limits = limits(&tree);
    assert_eq!(limits.cpu_quota_cores, Some(2.0));
    assert_eq!(limits.memory_bytes, Some(Bytes::from_gib(1.0)));
}

#[test]
fn v1_memory_that_nobody_limited_is_no_limit() {
    let mount = "31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    for unlimited in ["9223372036854771712", "9223372036854710272", "-1"] {
        let (_dir, tree) = tree(&[
            ("proc/self/mountinfo", mount),
            ("proc/self/cgroup", "4:memory:/user\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited),
            ("sys/fs/cgroup/memory/user/memory.limit_in_bytes", unlimited),
        ]);
        let limits = limits(&tree);
        assert_eq!(limits.memory_bytes, None, "{unlimited}");
        assert_eq!(limits.cgroup, Reading::Known("v1".into()));
    }
}

#[test]
fn v1_memory_limited_above_what_the_mount_shows() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "31 25 0:27 /pod/app /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        ),
        ("proc/self/cgroup", "4:memory:/pod/app\n"),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712",
        ),
        (
            "sys/fs/cgroup/memory/memory.stat",
            "cache 0\nrss 4096\nhierarchical_memory_limit 536870912\n",
        ),
    ]);
    assert_eq!(limits(&tree).memory_bytes, Some(Bytes::from_mib(512)));
}

/// As a process on the node sees it, without a cgroup namespace: the pod's slice
/// carries the quota, the container inside it none.
#[test]
fn v2_kubernetes_pod_with_the_quota_on_its_slice() {
    let pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
    let container = format!("{pod}/cri-containerd-9ab.scope");
    let group = format!("0::/{container}\n");
    let file = |folder: &str, name: &str| format!("sys/fs/cgroup/{folder}/{name}");
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "35 24 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        ),
        ("proc/self/cgroup", &group),
        ("proc/self/status", &allowed("0-15")),
        (&file("kubepods.slice", "cpu.max"), "1500000 100000"),
        (&file("kubepods.slice", "memory.max"), "max"),
        (&file(pod, "cpu.max"), "250000 100000"),
        (&file(pod, "memory.max"), "8589934592"),
        (&file(pod, "memory.high"), "6442450944"),
        (&file(&container, "cpu.max"), "max 100000"),
        (&file(&container, "memory.max"), "max"),
        (&file(&container, "cpuset.cpus.effective"), "0-15"),
        ONLINE,
    ]);
    let limits = limits(&tree);
    assert_eq!(limits.cpu_quota_cores, Some(2.5));
    assert_eq!(limits.memory_bytes, Some(Bytes::from_gib(6.0)));
    assert_eq!(limits.cpuset_cores, None, "all processors are no limit");
    assert_eq!(limits.cgroup, Reading::Known("v2".into()));
}

/// Inside the container: the namespace makes its own group the root.
#[test]
fn v2_in_a_namespace_reads_the_mount_point_itself() {
    for (root, group) in [("/", "0::/"), ("/", "0::/../other"), ("/../..", "0::/")] {
        let mount = format!("35 24 0:29 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        let (_dir, tree) = tree(&[
            ("proc/self/mountinfo", &mount),
            ("proc/self/cgroup", group),
            ("sys/fs/cgroup/cpu.max", "50000 100000"),
            ("sys/fs/cgroup/memory.max", "268435456"),
            ("sys/fs/other/cpu.max", "1000 100000"),
        ]);
        let limits = limits(&tree);
        assert_eq!(limits.cpu_quota_cores, Some(0.5), "{root} {group}");
        assert_eq!(limits.memory_bytes, Some(Bytes::from_mib(256)));
    }
}

#[test]
fn v2_unlimited_is_no_limit() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "0::/user.slice/session-1.scope\n"),
        ("proc/self/status", &allowed("0-15")),
        ("sys/fs/cgroup/cpuset.cpus.effective", "0-15"),
        ("sys/fs/cgroup/user.slice/cpu.max", "max 100000"),
        ("sys/fs/cgroup/user.slice/memory.max", "max"),
        ("sys/fs/cgroup/user.slice/session-1.scope/memory.max", "max"),
        (
            "sys/fs/cgroup/user.slice/session-1.scope/memory.high",
            "max",
        ),
        ONLINE,
    ]);
    let expected = Limits {
        cgroup: Reading::Known("v2".into()),
        ..Limits::default()
    };
    assert_eq!(limits(&tree), expected);
}

#[test]
fn hybrid_takes_each_controller_where_it_lives() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
             31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
             34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        (
            "proc/self/cgroup",
            "9:name=systemd:/\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/job\n0::/job\n",
        ),
        ("proc/self/status", &allowed("0-1")),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "100000"),
        ("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0-1"),
        ("sys/fs/cgroup/unified/job/memory.max", "1048576000"),
        ("sys/devices/system/cpu/online", "0-1"),
    ]);
    let limits = limits(&tree);
    assert_eq!(limits.cpu_quota_cores, Some(1.0));
    assert_eq!(limits.memory_bytes, Some(Bytes::new(1_048_576_000)));
    assert_eq!(limits.cpuset_cores, None);
    assert_eq!(limits.cgroup, Reading::Known("hybrid".into()));
}

#[test]
fn the_affinity_mask_narrows_the_cpuset() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/status", &allowed("2,3")),
        ("sys/fs/cgroup/cpuset.cpus.effective", "0-7"),
        ONLINE,
    ]);
    assert_eq!(limits(&tree).cpuset_cores, Some(2));
}

#[test]
fn a_malformed_file_gives_a_reason_and_leaves_the_rest() {
    for (name, text) in [
        ("cpu.max", "plenty 100000"),
        ("cpu.max", "100000 0"),
        ("cpu.max", ""),
        ("memory.max", "8G"),
        ("cpuset.cpus.effective", "all"),
    ] {
        let file = format!("sys/fs/cgroup/app/{name}");
        let (_dir, tree) = tree(&[
            (
                "proc/self/mountinfo",
                "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            ("proc/self/cgroup", "0::/app\n"),
            (&file, text),
            ("sys/fs/cgroup/cpu.max", "300000 100000"),
            ("sys/fs/cgroup/memory.max", "4096"),
        ]);
        let limits = limits(&tree);
        assert_eq!(limits.cpu_quota_cores, Some(3.0), "{name}");
        assert_eq!(limits.memory_bytes, Some(Bytes::new(4096)));
        let why = limits.cgroup.to_string();
        assert!(why.contains(name) && why.starts_with("unknown ("), "{why}");
    }
}

#[test]
fn without_control_groups_there_is_a_reason() {
    let (_dir, none) = tree(&[("proc/self/status", &allowed("0"))]);
    let limits_there = limits(&none);
    assert!(limits_there.cgroup.to_string().contains("mountinfo"));
    assert_eq!(limits_there.cpuset_cores, Some(1));
    let (_dir, unmounted) = tree(&[
        (
            "proc/self/mountinfo",
            "22 27 0:21 / /proc rw - proc proc rw\n",
        ),
        ("proc/self/cgroup", "0::/\n"),
    ]);
    assert!(
        limits(&unmounted)
            .cgroup
            .to_string()
            .contains("no control groups are mounted")
    );
}

#[test]
fn a_mount_point_with_a_blank_is_found() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "35 24 0:29 / /mnt/control\\040groups rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "0::/app\n"),
        ("mnt/control groups/app/cpu.max", "100000 100000"),
    ]);
    assert_eq!(limits(&tree).cpu_quota_cores, Some(1.0));
}

#[test]
fn a_group_that_is_named_alike_is_not_an_ancestor() {
    let (_dir, tree) = tree(&[
        (
            "proc/self/mountinfo",
            "35 24 0:29 /app /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        ),
        ("proc/self/cgroup", "0::/application/web\n"),
        ("sys/fs/cgroup/lication/web/cpu.max", "1000 100000"),
        ("sys/fs/cgroup/cpu.max", "200000 100000"),
    ]);
    assert_eq!(limits(&tree).cpu_quota_cores, Some(2.0));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        mountinfo in "([0-9 /]| - |cgroup2?|cpu|,|\n|\\\\040|\\.\\.)*",
        group in "([0-9:/]|cpu|\\.\\.|\n)*",
        max in "\\PC*",
    ) {
        let (_dir, tree) = tree(&[
            ("proc/self/mountinfo", &mountinfo),
            ("proc/self/cgroup", &group),
            ("cpu.max", &max),
        ]);
        let limits = limits(&tree);
        prop_assert!(limits.cpu_quota_cores.is_none_or(|q| q > 0.0));
    }

    /// The least along the path counts, wherever it stands.
    #[test]
    fn the_least_quota_along_the_path_counts(quotas in prop::collection::vec(1_000_u64..10_000_000, 1..6)) {
        let mut files = vec![(
            "proc/self/mountinfo".to_owned(),
            "35 24 0:29 / /cg rw - cgroup2 cgroup2 rw\n".to_owned(),
        )];
        let mut folder = "cg".to_owned();
        for quota in &quotas {
            folder = format!("{folder}/g");
            files.push((format!("{folder}/cpu.max"), format!("{quota} 100000")));
        }
        files.push(("proc/self/cgroup".to_owned(), format!("0::{}", &folder[2..])));
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        let (_dir, tree) = tree(&borrowed);
        let least = *quotas.iter().min().unwrap() as f64 / 100_000.0;
        prop_assert_eq!(limits(&tree).cpu_quota_cores, Some(least));
    }
}

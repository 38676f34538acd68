//! Where the control groups of this process lie in the file system.
//!
//! The path in `/proc/self/cgroup` starts at the root of the hierarchy, the
//! mount may start further down (a container's does), and a namespace may hide
//! the top of either. Sources: Linux Documentation/admin-guide/cgroup-v1/cgroups.rst,
//! cgroup-v2.rst, and `proc_pid_mountinfo(5)`.

use crate::measure::probe::tree::Tree;

/// The two interfaces of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller or set of controllers.
    V1,
    /// One hierarchy for all.
    V2,
}

/// Where control groups are mounted and which of them this process is in.
#[derive(Debug, Clone, Default)]
pub struct Hierarchies {
    mounts: Vec<Mount>,
    memberships: Vec<Membership>,
}

#[derive(Debug, Clone)]
struct Mount {
    version: Version,
    /// The group that the mount point shows.
    root: String,
    point: String,
    /// Mount options of the file system; with v1 they name the controllers.
    options: Vec<String>,
}

#[derive(Debug, Clone)]
struct Membership {
    /// Empty for v2.
    controllers: Vec<String>,
    path: String,
}

/// The groups that bear on this process for one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Which files to expect.
    pub version: Version,
    /// Folders, from the process's own group up to the mount point.
    pub folders: Vec<String>,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
    ///
    /// # Errors
    /// Says which of the two could not be read.
    pub fn read(tree: &Tree) -> Result<Self, String> {
        let text = |path: &str| {
            tree.read(path)
                .map_err(|e| format!("cannot read `{path}`: {e}"))
        };
        Ok(Self::parse(
            &text("/proc/self/mountinfo")?,
            &text("/proc/self/cgroup")?,
        ))
    }

    /// Puts both texts together; lines that are not understood are left out.
    #[must_use]
    pub fn parse(mountinfo: &str, cgroup: &str) -> Self {
        Self {
            mounts: mountinfo.lines().filter_map(mount).collect(),
            memberships: cgroup.lines().filter_map(membership).collect(),
        }
    }

    /// `v1`, `v2` or `hybrid` by what is mounted; none where nothing is.
    #[must_use]
    pub fn kind(&self) -> Option<&'static str> {
        let has = |version| self.mounts.iter().any(|m| m.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Some("hybrid"),
            (true, false) => Some("v1"),
            (false, true) => Some("v2"),
            (false, false) => None,
        }
    }

    /// The groups that bear on this process for `controller`; none where it is
    /// not mounted.
    ///
    /// A controller belongs to v1 or to v2, never to both: v1 is looked at first.
    #[must_use]
    pub fn path(&self, tree: &Tree, controller: &str) -> Option<Path> {
        let in_v1 = |m: &&Membership| m.controllers.iter().any(|c| c == controller);
        let v1 = self.memberships.iter().find(in_v1).and_then(|member| {
            let mounts = self
                .mounts
                .iter()
                .filter(|m| m.version == Version::V1 && m.options.iter().any(|o| o == controller));
            best(tree, mounts, &member.path)
        });
        v1.or_else(|| {
            let member = self.memberships.iter().find(|m| m.controllers.is_empty())?;
            let mounts = self.mounts.iter().filter(|m| m.version == Version::V2);
            best(tree, mounts, &member.path)
        })
    }
}

/// Of several mounts of one hierarchy, the one that shows the process's own group
/// deepest.
fn best<'m>(tree: &Tree, mounts: impl Iterator<Item = &'m Mount>, path: &str) -> Option<Path> {
    mounts
        .map(|mount| Path {
            version: mount.version,
            folders: folders(tree, mount, path),
        })
        .max_by_key(|path| path.folders.len())
}

/// The folders from the group `path` up to the mount point.
fn folders(tree: &Tree, mount: &Mount, path: &str) -> Vec<String> {
    let below = below(&mount.root, path).unwrap_or_default();
    // A group above the namespace's root is written with `..`: the mount cannot
    // show it, so what the mount point itself shows is the nearest there is.
    let below = if below.split('/').any(|part| part == "..") {
        ""
    } else {
        below
    };
    let mut folder = mount.point.trim_end_matches('/').to_owned();
    let mut folders = vec![folder.clone()];
    for part in below.split('/').filter(|part| !part.is_empty()) {
        folder = format!("{folder}/{part}");
        if !tree.has(&folder) {
            break;
        }
        folders.push(folder.clone());
    }
    folders.reverse();
    folders
}

/// What of `path` lies below `root`; none where `path` is elsewhere, as with a
/// mount made in another namespace.
fn below<'p>(root: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// One line of mountinfo:
/// `36 35 98:0 /root /point options optional-fields - type source super-options`.
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split_whitespace().skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split_whitespace();
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = right.nth(1).unwrap_or("");
    Some(Mount {
        version,
        root: unescaped(root),
        point: unescaped(point),
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// The kernel writes blank, tab, newline and backslash as `\040` and the like.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

/// One line of `/proc/self/cgroup`: `4:memory:/path`, `0::/path`.
fn membership(line: &str) -> Option<Membership> {
    let mut parts = line.splitn(3, ':');
    let (_id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Membership {
        controllers: controllers
            .split(',')
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect(),
        path: path.to_owned(),
    })
}

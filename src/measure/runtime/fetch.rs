//! Fetching a pinned ONNX Runtime with the user's own package client, so that
//! their index settings, proxies and certificates hold.

use super::{
    locate::fetched_folder,
    release::{Build, Release, VERSION, for_platform},
};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A package client and how it is called.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// `uv pip install --target`.
    Uv,
    /// `pip download` through an interpreter or by name.
    Pip(&'static [&'static str]),
}

const CLIENTS: [Client; 4] = [
    Client::Uv,
    Client::Pip(&["python3", "-m", "pip"]),
    Client::Pip(&["pip"]),
    Client::Pip(&["python", "-m", "pip"]),
];

/// Fetches the pinned release into the data folder and returns the path of the
/// runtime library in it.
///
/// The files are checked against their pinned SHA-256 and moved into place only
/// when all of them are right; an interrupted fetch leaves nothing behind that
/// would be taken for a library.
///
/// # Errors
/// A machine error that lists every client tried with what it said, and the
/// other ways to provide a library.
pub fn fetch(data_dir: &Path, build: Build) -> Result<PathBuf> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let release = for_platform(os, arch, build).ok_or_else(|| {
        Error::machine(format!(
            "no {} build of ONNX Runtime {VERSION} is known for {os} on {arch}",
            build.name()
        ))
        .hint(OTHER_WAYS)
    })?;
    let folder = fetched_folder(data_dir);
    std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    let work = tempfile::Builder::new()
        .prefix(".fetching-")
        .tempdir_in(&folder)
        .map_err(|error| unwritable(&folder, &error))?;

    let mut tried = Vec::new();
    for client in CLIENTS {
        match download(client, release, work.path()) {
            Ok(()) => {
                let unpacked = work.path().join("unpacked");
                collect(release, work.path(), &unpacked)?;
                return put_in_place(release, &unpacked, &folder, build);
            }
            Err(why) => tried.push(why),
        }
    }
    Err(Error::machine(format!(
        "ONNX Runtime {VERSION} could not be fetched\n  {}",
        tried.join("\n  ")
    ))
    .hint(OTHER_WAYS))
}

/// What to do where nothing can be fetched.
pub const OTHER_WAYS: &str = "install it with `pip install onnxruntime`, or set `ORT_DYLIB_PATH` to the full path of \
     a libonnxruntime of version 1.20 or later, or run `advisor runtime --fetch` where the package index can be reached";

/// Runs one client; the error is one line that names it.
fn download(client: Client, release: &Release, into: &Path) -> std::result::Result<(), String> {
    let requirement = format!("{}=={VERSION}", release.package);
    let (name, mut command) = match client {
        Client::Uv => {
            let mut command = Command::new("uv");
            command
                .args([
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                ])
                .args([
                    "--python-version",
                    "3.12",
                    "--python-platform",
                    release.uv_platform,
                ])
                .arg("--target")
                .arg(into.join("target"))
                .arg(&requirement);
            ("uv".to_owned(), command)
        }
        Client::Pip(words) => {
            let (program, first) = words.split_first().ok_or("no client")?;
            let mut command = Command::new(program);
            command
                .args(first)
                .args([
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-input",
                ])
                .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp"])
                .args(["--python-version", "3.12", "--abi", "cp312"]);
            for platform in release.pip_platforms {
                command.args(["--platform", platform]);
            }
            command.arg("--dest").arg(into).arg(&requirement);
            (words.join(" "), command)
        }
    };
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("`{name}`: not installed"),
            _ => format!("`{name}`: {error}"),
        })?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        // The last line is the verdict; those before it repeat the connection attempts.
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no message");
        Err(format!("`{name}`: {}", last.trim()))
    }
}

/// Brings the wanted libraries of a wheel (or of an installed tree) together in
/// one folder and checks their hashes.
fn collect(release: &Release, downloaded: &Path, unpacked: &Path) -> Result<()> {
    std::fs::create_dir_all(unpacked).map_err(|error| unwritable(unpacked, &error))?;
    let installed = downloaded.join("target/onnxruntime/capi");
    if installed.is_dir() {
        for (name, _) in release.libraries {
            std::fs::rename(installed.join(name), unpacked.join(name)).map_err(|error| {
                Error::machine(format!("the package holds no `{name}`: {error}"))
            })?;
        }
    } else {
        let wheel = std::fs::read_dir(downloaded)
            .map_err(|error| unwritable(downloaded, &error))?
            .filter_map(std::result::Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "whl"))
            .ok_or_else(|| {
                Error::machine("the package client reported success but left no wheel")
            })?;
        unzip(release, &wheel, unpacked)?;
    }
    for (name, expected) in release.libraries {
        let found = sha256(&unpacked.join(name))
            .map_err(|error| Error::machine(format!("cannot read back `{name}`: {error}")))?;
        if found != *expected {
            return Err(Error::machine(format!(
                "the fetched `{name}` is not the published file (SHA-256 {found}, expected {expected})"
            ))
            .hint("the package index or a proxy handed out something else; nothing was installed"));
        }
    }
    Ok(())
}

/// Unpacks just the libraries.
fn unzip(release: &Release, wheel: &Path, unpacked: &Path) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::machine(format!(
            "the fetched wheel `{}` is broken: {error}",
            wheel.display()
        ))
    };
    let file = File::open(wheel).map_err(|error| broken(&error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| broken(&error))?;
    for (name, _) in release.libraries {
        let mut member = archive
            .by_name(&format!("onnxruntime/capi/{name}"))
            .map_err(|error| broken(&error))?;
        let target = unpacked.join(name);
        let mut out = File::create(&target).map_err(|error| unwritable(&target, &error))?;
        io::copy(&mut member, &mut out).map_err(|error| unwritable(&target, &error))?;
    }
    Ok(())
}

/// Moves the checked folder to its final name; a fetch that another process
/// finished meanwhile is as good.
fn put_in_place(
    release: &Release,
    unpacked: &Path,
    folder: &Path,
    build: Build,
) -> Result<PathBuf> {
    let target = folder.join(format!("{VERSION}-{}", build.name()));
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(|error| unwritable(&target, &error))?;
    }
    std::fs::rename(unpacked, &target).map_err(|error| unwritable(&target, &error))?;
    release
        .libraries
        .first()
        .map(|(name, _)| target.join(name))
        .ok_or_else(|| Error::machine("the release names no library"))
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::machine(format!("cannot write `{}`: {error}", path.display()))
        .hint("free some room or give another folder with `--data-dir DIR`")
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_published_one_is_refused() {
        static RELEASE: Release = Release {
            package: "onnxruntime",
            pip_platforms: &["any"],
            uv_platform: "any",
            megabytes: 1,
            libraries: &[("lib.so", "00")],
        };
        let work = tempfile::tempdir().unwrap();
        let capi = work.path().join("target/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::write(capi.join("lib.so"), "not a library").unwrap();
        let error = collect(&RELEASE, work.path(), &work.path().join("unpacked")).unwrap_err();
        assert!(
            error.message().contains("is not the published file"),
            "{error}"
        );
    }

    #[test]
    fn a_broken_wheel_is_named() {
        static RELEASE: Release = Release {
            package: "onnxruntime",
            pip_platforms: &["any"],
            uv_platform: "any",
            megabytes: 1,
            libraries: &[("lib.so", "00")],
        };
        let work = tempfile::tempdir().unwrap();
        std::fs::write(work.path().join("onnxruntime.whl"), "PK but not really").unwrap();
        let error = collect(&RELEASE, work.path(), &work.path().join("unpacked")).unwrap_err();
        assert!(error.message().contains("is broken"), "{error}");
    }
}

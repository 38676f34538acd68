//! The release of ONNX Runtime that `advisor` fetches by itself, pinned by the
//! hash of every library in it.

/// The version fetched when the machine has none.
pub const VERSION: &str = "1.31.1";

/// The oldest version that is accepted, fixed by the `api-20` feature of `ort`.
pub const OLDEST: &str = "1.20";

/// Which build of the runtime is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Runs on the CPU.
    Cpu,
    /// Runs on NVIDIA GPUs as well.
    Cuda,
}

impl Build {
    /// The name for people and folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// One published build: where it is and what is inside.
#[derive(Debug)]
pub struct Release {
    /// The Python package that carries it.
    pub package: &'static str,
    /// Platform tags for `pip download`, most specific first.
    pub pip_platforms: &'static [&'static str],
    /// The platform for `uv pip install`.
    pub uv_platform: &'static str,
    /// Size of the download, in megabytes, for the progress line.
    pub megabytes: u32,
    /// The libraries inside and their SHA-256; the first is the runtime itself.
    pub libraries: &'static [(&'static str, &'static str)],
}

/// The release for a platform; none where none is published or known.
///
/// The hashes were taken from the wheels of version [`VERSION`] (`CPython` 3.12)
/// as the Python package index serves them.
#[must_use]
pub fn for_platform(os: &str, arch: &str, build: Build) -> Option<&'static Release> {
    match (os, arch, build) {
        ("linux", "x86_64", Build::Cpu) => Some(&LINUX_X86_64),
        ("linux", "x86_64", Build::Cuda) => Some(&LINUX_X86_64_CUDA),
        ("linux", "aarch64", Build::Cpu) => Some(&LINUX_AARCH64),
        ("macos", "aarch64", Build::Cpu) => Some(&MACOS_AARCH64),
        ("windows", "x86_64", Build::Cpu) => Some(&WINDOWS_X86_64),
        _ => None,
    }
}

static LINUX_X86_64: Release = Release {
    package: "onnxruntime",
    pip_platforms: &["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
    uv_platform: "x86_64-manylinux_2_28",
    megabytes: 24,
    libraries: &[(
        "libonnxruntime.so.1.31.1",
        "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    )],
};

static LINUX_X86_64_CUDA: Release = Release {
    package: "onnxruntime-gpu",
    pip_platforms: &["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
    uv_platform: "x86_64-manylinux_2_28",
    megabytes: 256,
    libraries: &[
        (
            "libonnxruntime.so.1.31.1",
            "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
        ),
        (
            "libonnxruntime_providers_shared.so",
            "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
        ),
        (
            "libonnxruntime_providers_cuda.so",
            "8387867e857499e045caff5d13ac6a5de29571c801562fa2dde0e45f1f31de52",
        ),
    ],
};

static LINUX_AARCH64: Release = Release {
    package: "onnxruntime",
    pip_platforms: &["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
    uv_platform: "aarch64-manylinux_2_28",
    megabytes: 22,
    libraries: &[(
        "libonnxruntime.so.1.31.1",
        "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    )],
};

static MACOS_AARCH64: Release = Release {
    package: "onnxruntime",
    pip_platforms: &["macosx_14_0_arm64"],
    uv_platform: "aarch64-apple-darwin",
    megabytes: 21,
    libraries: &[(
        "libonnxruntime.1.31.1.dylib",
        "d586cbe89effc085a09d3341b3cfbd5c322517f9d397aeb20814af21433f2b36",
    )],
};

static WINDOWS_X86_64: Release = Release {
    package: "onnxruntime",
    pip_platforms: &["win_amd64"],
    uv_platform: "x86_64-pc-windows-msvc",
    megabytes: 15,
    libraries: &[(
        "onnxruntime.dll",
        "e45f61e50d8650885452be538a00bb14a715e46a1bc3691000ce947e89ed0306",
    )],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_pins_each_library_by_a_whole_hash() {
        for release in [
            &LINUX_X86_64,
            &LINUX_X86_64_CUDA,
            &LINUX_AARCH64,
            &MACOS_AARCH64,
            &WINDOWS_X86_64,
        ] {
            assert!(!release.libraries.is_empty() && !release.pip_platforms.is_empty());
            for (name, hash) in release.libraries {
                assert_eq!(hash.len(), 64, "{name}");
                assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
            }
        }
        assert!(for_platform("plan9", "mips", Build::Cpu).is_none());
    }
}

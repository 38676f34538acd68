//! The catalogue of known architectures, read from the TOML files that ship.

use super::Architecture;
use crate::error::{Error, Result, nearest};
use include_dir::{Dir, include_dir};
use serde::Deserialize;
use std::sync::OnceLock;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles/architectures");

/// The known architectures, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    architectures: Vec<Architecture>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    architecture: Vec<Architecture>,
}

/// The architectures that ship with the program.
///
/// # Errors
/// Fails only when a shipped file is broken, which a test excludes.
pub fn catalogue() -> Result<&'static Catalogue> {
    static CATALOGUE: OnceLock<Result<Catalogue, String>> = OnceLock::new();
    CATALOGUE
        .get_or_init(|| Catalogue::read().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(Error::machine)
}

impl Catalogue {
    fn read() -> Result<Self> {
        let mut files: Vec<_> = FILES
            .files()
            .filter(|file| file.path().extension().is_some_and(|e| e == "toml"))
            .collect();
        files.sort_by_key(|file| file.path());
        let mut architectures = Vec::new();
        for file in files {
            let name = file.path().display();
            let text = file
                .contents_utf8()
                .ok_or_else(|| Error::machine(format!("{name} is not text")))?;
            let parsed: File =
                toml::from_str(text).map_err(|error| Error::machine(format!("{name}: {error}")))?;
            architectures.extend(parsed.architecture);
        }
        Ok(Self { architectures })
    }

    /// All architectures, in the order of the files.
    #[must_use]
    pub fn all(&self) -> &[Architecture] {
        &self.architectures
    }

    /// The architecture of that name; case, `_` and the publisher before a `/`
    /// do not matter.
    ///
    /// # Errors
    /// An unknown name, with the nearest known ones.
    pub fn find(&self, name: &str) -> Result<&Architecture> {
        let wanted = plain(name);
        let found = self.architectures.iter().find(|architecture| {
            plain(&architecture.name) == wanted
                || architecture.aliases.iter().any(|a| plain(a) == wanted)
        });
        found.ok_or_else(|| {
            let near = nearest(
                &wanted,
                self.architectures.iter().flat_map(|a| {
                    std::iter::once(a.name.as_str()).chain(a.aliases.iter().map(String::as_str))
                }),
            );
            let error = Error::bad_input(format!("no architecture is called `{name}`"));
            if near.is_empty() {
                error.hint("list the known ones, or give the model's `config.json`")
            } else {
                let near: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
                error.hint(format!(
                    "did you mean {}? A model's `config.json` works as well",
                    near.join(" or ")
                ))
            }
        })
    }
}

fn plain(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.trim()
        .to_lowercase()
        .chars()
        .map(|c| if c == '_' || c == ' ' { '-' } else { c })
        .collect()
}

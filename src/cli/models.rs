//! `advisor models`.

use super::{
    Outcome,
    args::{Global, ModelsArgs},
    folders::shown,
    output,
};
use crate::{
    error::{Error, Result, nearest},
    model::reference::{self, ReferenceModel},
    render::{Report, Table},
};
use serde::Serialize;
use std::path::PathBuf;

/// A reference model, as listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    about: String,
    parameters: u64,
    parameters_source: String,
    written: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &ModelsArgs) -> Result<Outcome> {
    let models = chosen(&args.names)?;
    let mut listed = Vec::new();
    for model in models {
        let written = match &args.write {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| {
                    Error::bad_input(format!(
                        "cannot make the folder `{}`: {error}",
                        folder.display()
                    ))
                })?;
                output::note(global, &format!("Writing {} …", model.name));
                Some(reference::write_reference(&model, folder)?)
            }
            None => None,
        };
        listed.push(Listed {
            name: model.name.clone(),
            about: model.title.clone(),
            parameters: model.parameters.get(),
            parameters_source: model.parameters_source.clone(),
            written,
        });
    }
    let mut table = Table::new(&["name", ">parameters", "about"]);
    let mut files = Vec::new();
    for model in &listed {
        table.push([
            model.name.clone(),
            crate::units::Count::new(model.parameters).to_string(),
            model.about.clone(),
        ]);
        files.extend(model.written.as_deref().map(shown));
    }
    let mut report = Report::default();
    report.table(table).list("Written", files);
    output::print(global, &report, &listed)?;
    Ok(Outcome::Found)
}

fn chosen(names: &[String]) -> Result<Vec<ReferenceModel>> {
    let catalogue = reference::catalogue()?;
    if names.is_empty() {
        return Ok(catalogue);
    }
    names
        .iter()
        .map(|name| {
            catalogue
                .iter()
                .find(|model| model.name == *name)
                .cloned()
                .ok_or_else(|| {
                    let near = nearest(name, catalogue.iter().map(|model| model.name.as_str()));
                    let error = Error::bad_input(format!("no reference model is called `{name}`"));
                    if near.is_empty() {
                        error.hint("`advisor models` lists all")
                    } else {
                        error.hint(format!("did you mean `{}`?", near.join("` or `")))
                    }
                })
        })
        .collect()
}

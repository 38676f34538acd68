//! Results as text, Markdown or JSON. A command makes a [`Report`] and a
//! serialisable value; nothing here measures or decides.

mod batch;
mod calibration;
mod comparison;
mod demand;
mod energy;
mod hardware;
mod markdown;
mod memory;
mod onnx_memory;
mod plan;
mod prices;
mod profiles;
mod stakes;
mod text;
mod transfer;
mod verification;

use crate::{
    caveat::Caveat,
    error::{Error, Result},
};
use serde::Serialize;

pub use batch::batch_report;
pub use calibration::{calibration_report, first_look};
pub use comparison::comparison_report;
pub use demand::demand_blocks;
pub use energy::energy_blocks;
pub use hardware::{cpu_report, gpu_report, hardware_report};
pub use memory::{
    CardReport, EvaluationReport, Explain, MemoryReport, evaluation_report, memory_report,
};
pub use onnx_memory::{OnnxMemoryReport, OnnxMemoryRow, onnx_memory_report};
pub use plan::{PlanContext, plan_report};
pub use prices::{
    ImportSummary, difference_report, import_report, offers_report, one_machine_report,
};
pub use profiles::{ProfileRow, profile_report, profiles_report};
pub use stakes::{fleet_blocks, stakes_blocks};
pub use text::Style;
pub use transfer::{Changed, PricedRegret, fit_report, transfer_report};
pub use verification::{history_report, verification_report};

/// A result in the order in which it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The parts, first to last.
    pub blocks: Vec<Block>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The answer in one sentence.
    Answer(String),
    /// A paragraph.
    Paragraph(String),
    /// A heading.
    Heading(String),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// A table.
    Table(Table),
    /// Points, one each.
    List(Vec<String>),
    /// A command line to copy.
    Command(String),
}

/// A table: columns and rows of the same number of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Column headings.
    pub columns: Vec<Column>,
    /// Rows; a cell may hold several lines.
    pub rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Where its cells stand.
    pub align: Align,
}

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// A table without rows; a name that starts with `>` makes a column of numbers.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns
                .iter()
                .map(|name| match name.strip_prefix('>') {
                    Some(name) => Column {
                        name: name.to_owned(),
                        align: Align::Right,
                    },
                    None => Column {
                        name: (*name).to_owned(),
                        align: Align::Left,
                    },
                })
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Report {
    /// Adds the answer in one sentence.
    pub fn answer(&mut self, text: impl Into<String>) -> &mut Self {
        self.add(Block::Answer(text.into()))
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: impl Into<String>) -> &mut Self {
        self.add(Block::Paragraph(text.into()))
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        self.add(Block::Heading(text.into()))
    }

    /// Adds names and values, unless there are none.
    pub fn facts<K: Into<String>, V: Into<String>>(
        &mut self,
        facts: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        let facts: Vec<_> = facts
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        if facts.is_empty() {
            self
        } else {
            self.add(Block::Facts(facts))
        }
    }

    /// Adds a table, unless it has no rows.
    pub fn table(&mut self, table: Table) -> &mut Self {
        if table.rows.is_empty() {
            self
        } else {
            self.add(Block::Table(table))
        }
    }

    /// Adds a list under a heading, unless it is empty.
    pub fn list(&mut self, heading: &str, items: Vec<String>) -> &mut Self {
        if items.is_empty() {
            self
        } else {
            self.heading(heading).add(Block::List(items))
        }
    }

    /// Adds the doubts, unless there are none; the same doubt is told once.
    pub fn caveats<'c>(&mut self, caveats: impl IntoIterator<Item = &'c Caveat>) -> &mut Self {
        let mut lines: Vec<String> = Vec::new();
        for caveat in caveats {
            let line = caveat.to_string();
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        self.list("Caveats", lines)
    }

    /// Adds a command line.
    pub fn command(&mut self, text: impl Into<String>) -> &mut Self {
        self.add(Block::Command(text.into()))
    }

    fn add(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }

    /// The report for a terminal (or a pipe), ending in a newline.
    #[must_use]
    pub fn to_text(&self, style: Style) -> String {
        text::render(self, style)
    }

    /// The report as Markdown, ending in a newline.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }
}

/// A value as indented JSON, ending in a newline.
///
/// # Errors
/// The value holds something that JSON cannot hold.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::machine(format!("cannot write the result as JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

//! Reports as Markdown, for design reviews.

use super::{Align, Block, Report, Table};

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for (i, block) in report.blocks.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        match block {
            Block::Answer(text) => out.push_str(&format!("**{}**\n", escape(text))),
            Block::Paragraph(text) => out.push_str(&format!("{}\n", escape(text))),
            Block::Heading(text) => out.push_str(&format!("### {}\n", escape(text))),
            Block::Facts(facts) => {
                for (name, value) in facts {
                    out.push_str(&format!("- {}: {}\n", escape(name), escape(value)));
                }
            }
            Block::Table(table) => out.push_str(&table_markdown(table)),
            Block::List(items) => {
                for item in items {
                    out.push_str(&format!("- {}\n", escape(item)));
                }
            }
            Block::Command(text) => out.push_str(&format!("```sh\n{text}\n```\n")),
        }
    }
    out
}

fn table_markdown(table: &Table) -> String {
    let row = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut out = row(&mut table.columns.iter().map(|column| escape(&column.name)));
    out.push_str(&row(&mut table.columns.iter().map(|column| {
        match column.align {
            Align::Left => "---",
            Align::Right => "---:",
        }
        .to_owned()
    })));
    for cells in &table.rows {
        out.push_str(&row(&mut cells
            .iter()
            .map(|cell| escape(cell).replace('\n', "<br>"))));
    }
    out
}

/// Keeps text from turning into Markdown: a `|` would end a cell, a `<` start a
/// tag, and two `~` strike through.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('~', "\\~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_markdown_table_whatever_its_cells_hold() {
        let mut table = Table::new(&["a", ">b"]);
        table.push(["x|y".to_owned(), "1\n2".to_owned()]);
        let mut report = Report::default();
        report.table(table);
        assert_eq!(
            report.to_markdown(),
            "| a | b |\n| --- | ---: |\n| x\\|y | 1<br>2 |\n"
        );
    }
}

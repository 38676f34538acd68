//! Reports for terminals and pipes.

use super::{Align, Block, Report, Table};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};

/// How wide and how coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: u16,
}

/// Narrower than this a table is no longer readable.
const NARROWEST: u16 = 40;

pub(super) fn render(report: &Report, style: Style) -> String {
    let width = style.width.max(NARROWEST);
    let bold = anstyle::Style::new().bold();
    let mut out = String::new();
    for (i, block) in report.blocks.iter().enumerate() {
        let after_heading = i > 0 && matches!(report.blocks.get(i - 1), Some(Block::Heading(_)));
        if i > 0 && !after_heading {
            out.push('\n');
        }
        match block {
            Block::Answer(text) => {
                for line in wrap(text, width) {
                    out.push_str(&format!("{bold}{line}{bold:#}\n"));
                }
            }
            Block::Paragraph(text) => {
                for line in wrap(text, width) {
                    out.push_str(&line);
                    out.push('\n');
                }
            }
            Block::Heading(text) => out.push_str(&format!("{bold}{text}{bold:#}\n")),
            Block::Facts(facts) => out.push_str(&facts_text(facts, width)),
            Block::Table(table) => out.push_str(&table_text(table, width)),
            Block::List(items) => {
                for item in items {
                    for (n, line) in wrap(item, width - 2).into_iter().enumerate() {
                        out.push_str(if n == 0 { "- " } else { "  " });
                        out.push_str(&line);
                        out.push('\n');
                    }
                }
            }
            Block::Command(text) => {
                out.push_str("  ");
                out.push_str(text);
                out.push('\n');
            }
        }
    }
    out
}

fn facts_text(facts: &[(String, String)], width: u16) -> String {
    let names = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let room = (usize::from(width)).saturating_sub(names + 2).max(20) as u16;
    let mut out = String::new();
    for (name, value) in facts {
        for (n, line) in wrap(value, room).into_iter().enumerate() {
            let name = if n == 0 { name.as_str() } else { "" };
            out.push_str(&format!("{name:names$}  {line}\n"));
        }
    }
    out
}

fn table_text(table: &Table, width: u16) -> String {
    let mut drawn = comfy_table::Table::new();
    drawn
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(table.columns.iter().map(|column| column.name.as_str()));
    // Rows of several lines run into each other without a line between them.
    let apart = table.rows.iter().flatten().any(|cell| cell.contains('\n'));
    for (i, row) in table.rows.iter().enumerate() {
        if apart && i > 0 {
            drawn.add_row(vec![""; table.columns.len()]);
        }
        drawn.add_row(row);
    }
    if let Some(constraints) = constraints(table, width) {
        drawn.set_constraints(constraints);
    }
    for (i, column) in table.columns.iter().enumerate() {
        if let Some(drawn) = drawn.column_mut(i) {
            drawn.set_cell_alignment(match column.align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
            drawn.set_padding((0, 2));
        }
    }
    let lines: Vec<String> = drawn
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    let head = head_height(table, &lines);
    let rule = "─".repeat(
        lines
            .iter()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0),
    );
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i == head {
            out.push_str(&rule);
            out.push('\n');
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Figures and the last column are kept whole and text is wrapped between words,
/// where the terminal is wide enough for that.
fn constraints(table: &Table, width: u16) -> Option<Vec<ColumnConstraint>> {
    let last = table.columns.len().saturating_sub(1);
    let kept = |i: usize| {
        i == last
            || table
                .columns
                .get(i)
                .is_some_and(|c| c.align == Align::Right)
    };
    let mut left = usize::from(width);
    for i in 0..table.columns.len() {
        let needed = if kept(i) {
            widest(table, i, &['\n'])
        } else {
            NARROWEST_TEXT
        };
        left = left.checked_sub(needed + 2)?;
    }
    let mut constraints = Vec::new();
    for i in 0..table.columns.len() {
        if kept(i) {
            constraints.push(ColumnConstraint::ContentWidth);
            continue;
        }
        let more = widest(table, i, &['\n', ' '])
            .saturating_sub(NARROWEST_TEXT)
            .min(left);
        left -= more;
        let boundary = u16::try_from(NARROWEST_TEXT + more + 2).unwrap_or(u16::MAX);
        constraints.push(ColumnConstraint::LowerBoundary(Width::Fixed(boundary)));
    }
    Some(constraints)
}

/// A column of text narrower than this is hard to read.
const NARROWEST_TEXT: usize = 10;

/// The widest piece of a column when its cells are broken at these characters.
fn widest(table: &Table, column: usize, breaks: &[char]) -> usize {
    let cells = table.rows.iter().filter_map(|row| row.get(column));
    cells
        .chain(table.columns.get(column).map(|column| &column.name))
        .flat_map(|cell| cell.split(|c| breaks.contains(&c)))
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0)
}

/// Lines that the headings take: more than one where a heading had to be wrapped.
fn head_height(table: &Table, lines: &[String]) -> usize {
    let first: Option<&str> = table
        .rows
        .first()
        .and_then(|row| row.first())
        .and_then(|cell| cell.split([' ', '\n']).next());
    match first {
        Some(word) if !word.is_empty() => lines
            .iter()
            .position(|line| line.starts_with(word))
            .unwrap_or(1)
            .max(1),
        _ => 1,
    }
}

/// Breaks text at blanks so that no line is wider than `width`; a longer word
/// stands on its own line, since a broken path or command is of no use.
fn wrap(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_table_is_wider_than_the_terminal() {
        let mut table = Table::new(&["Machine", "Serve", ">p95", "Verdict"]);
        table.push(
            [
                "2 × aws c8a.2xlarge in us-east-1, on demand",
                "4 instances × 2 threads, batch up to 4, window 2 ms",
                "88.1 ms (70.2–117)",
                "MEETS",
            ]
            .map(str::to_owned),
        );
        let mut report = Report::default();
        report.table(table);
        for width in [60, 80, 120] {
            let text = report.to_text(Style { width });
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(width), "{widest} > {width}\n{text}");
            assert!(text.contains("MEETS"));
        }
    }

    #[test]
    fn words_are_never_broken() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("/a/very/long/path x", 5), ["/a/very/long/path", "x"]);
        assert_eq!(wrap("", 5), [""]);
    }
}

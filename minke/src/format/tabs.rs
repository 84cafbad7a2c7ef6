//! Columns that fit their cells: Go's `text/tabwriter` with padding by spaces.

/// Lays out `text`: cells end with a tab; the last one of a line is left as it is.
pub(crate) fn align(text: &str, least: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    block(&lines, &mut Vec::new(), least, padding, &mut out);
    // Each line was ended, the last one too.
    out.pop();
    out
}

/// Lays out lines that share the columns of `widths`.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, least: usize, padding: usize, out: &mut String) {
    let column = widths.len();
    let mut at = 0;
    while at < lines.len() {
        let has_cell = |line: &Vec<&str>| column + 1 < line.len();
        if !has_cell(&lines[at]) {
            line(&lines[at], widths, out);
            at += 1;
            continue;
        }
        let end =
            lines[at..].iter().position(|line| !has_cell(line)).map_or(lines.len(), |offset| at + offset);
        let widest =
            lines[at..end].iter().map(|line| line[column].chars().count() + padding).max().unwrap_or(0);
        widths.push(widest.max(least));
        block(&lines[at..end], widths, least, padding, out);
        widths.pop();
        at = end;
    }
}

fn line(cells: &[&str], widths: &[usize], out: &mut String) {
    for (at, cell) in cells.iter().enumerate() {
        out.push_str(cell);
        if at + 1 < cells.len() {
            let fill = widths[at].saturating_sub(cell.chars().count());
            out.extend(std::iter::repeat_n(' ', fill));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            align("ID\tNAME\tX\nabcdefghijkl\ty\t\n", 10, 3),
            "ID             NAME      X\nabcdefghijkl   y         \n"
        );
    }

    #[test]
    fn a_line_without_the_column_ends_it() {
        assert_eq!(align("a\tb\nccccc\nd\te", 0, 1), "a b\nccccc\nd e");
    }
}

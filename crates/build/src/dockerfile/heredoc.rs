//! Here-documents: which words of a line begin one, and how its text is cleaned (pure).

use super::{
    expand::{Expander, NoVariables},
    instruction::Heredoc,
};

/// The here-documents that `line` begins, without their texts.
pub(super) fn of_line(line: &str) -> Vec<Heredoc> {
    let how = Expander { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Expander::new('\\') };
    // A line with an open quote is for the shell to judge.
    how.words(line, &NoVariables).unwrap_or_default().iter().filter_map(|word| parse(word)).collect()
}

/// The here-document that `word` begins: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let one = |keep_quotes| {
        let how = Expander { keep_unset: true, keep_quotes, ..Expander::new('\\') };
        let words = how.words(rest, &NoVariables).ok()?;
        <[String; 1]>::try_from(words).ok().map(|[word]| word)
    };
    let (name, quoted) = (one(false)?, one(true)?);
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Heredoc { expand: quotes(&name) == quotes(&quoted), name, content: String::new(), strip_tabs })
}

/// `content` without the tabs that lines begin with.
pub(crate) fn without_tabs(content: &str) -> String {
    content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_a_document() {
        let show = |word| parse(word).map(|h| (h.name, h.strip_tabs, h.expand));
        assert_eq!(show("<<EOF"), Some(("EOF".into(), false, true)));
        assert_eq!(show("<<-EOF"), Some(("EOF".into(), true, true)));
        assert_eq!(show("<<'EOF'"), Some(("EOF".into(), false, false)));
        assert_eq!(show("<<-\"a b\""), Some(("a b".into(), true, false)));
        assert_eq!(show("3<< EOF"), Some(("EOF".into(), false, true)));
        for none in ["<<", "<EOF", "<<<EOF", "a<<EOF", "<<a b", "EOF", "<<-"] {
            assert_eq!(show(none), None, "{none}");
        }
    }

    #[test]
    fn a_line_may_begin_several() {
        let names = |line| of_line(line).into_iter().map(|h| h.name).collect::<Vec<_>>();
        assert_eq!(names("RUN 3<<A cat <<-'B' > \"<<no\" \\<<no"), ["A", "B"]);
        assert_eq!(names("RUN cat << EOF"), ["EOF"]);
        assert_eq!(names("RUN echo 'open <<EOF"), Vec::<String>::new());
        assert_eq!(without_tabs("\ta\n\t\tb\n c\t\n"), "a\nb\n c\t\n");
    }
}

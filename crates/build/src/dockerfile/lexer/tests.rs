use super::*;

fn source(text: &str) -> Source {
    Source { file: "Dockerfile".into(), text: text.into() }
}

fn statements(text: &str) -> Vec<Statement> {
    lex(&source(text)).unwrap().statements
}

/// Keyword, source and lines of each.
fn show(text: &str) -> Vec<(String, String, (u32, u32))> {
    let show = |s: Statement| (s.keyword, s.source, (s.lines.first, s.lines.last));
    statements(text).into_iter().map(show).collect()
}

#[test]
fn continued_lines_are_one_and_comments_between_them_go() {
    let text = "# top\nFROM a\n\nRUN one \\\n  # not this\n  two \\  \n three\r\nRUN last \\";
    assert_eq!(
        show(text),
        [
            ("FROM".into(), "FROM a".into(), (2, 2)),
            ("RUN".into(), "RUN one   two  three".into(), (4, 7)),
            ("RUN".into(), "RUN last ".into(), (8, 8)),
        ]
    );
}

#[test]
fn two_escapes_at_the_end_continue_nothing() {
    assert_eq!(show("RUN a \\\\\nRUN b").len(), 2);
    let windows = "# escape=`\nRUN dir c:\\\nRUN a `\n b";
    let texts: Vec<_> = statements(windows).into_iter().map(|s| s.source).collect();
    assert_eq!(texts, ["RUN dir c:\\", "RUN a  b"]);
}

#[test]
fn an_empty_line_within_is_noted() {
    let lexed = lex(&source("FROM a\nRUN x \\\n\n  y\nRUN z")).unwrap();
    assert_eq!(lexed.empty_continuations, [4]);
    assert_eq!(lexed.statements[1].source, "RUN x   y");
}

#[test]
fn comments_belong_to_what_follows_unless_an_empty_one_is_between() {
    let all = statements("# check=skip=all\n# a is a\nARG a\n# gone\n#\nARG b\n");
    assert_eq!(all[0].comments, ["a is a"]);
    assert_eq!(all[1].comments, Vec::<String>::new());
}

#[test]
fn documents_end_at_their_word() {
    let all = statements("RUN <<A cat <<-B\none\nA\n\t\ttwo\n\tB\nCOPY [\"<<X\", \"/\"]\n");
    assert_eq!(all.len(), 2);
    let texts: Vec<_> = all[0].documents.iter().map(|d| d.content.as_str()).collect();
    assert_eq!(texts, ["one\n", "\t\ttwo\n"]);
    assert_eq!((all[0].lines.first, all[0].lines.last), (1, 5));
    assert_eq!(statements("ONBUILD COPY <<A /\nx\nA\n")[0].documents.len(), 1);
}

#[test]
fn flags_lose_their_quotes_and_end_at_two_dashes() {
    let all = statements("RUN --mount=type=bind,\"target=/a b\" --x=\\\"y -- --not a flag");
    assert_eq!(all[0].flags, ["--mount=type=bind,target=/a b", "--x=\"y"]);
    assert_eq!(all[0].arguments, Arguments::Words(vec!["--not a flag".into()]));
}

#[test]
fn faults_say_where() {
    let at = |text: &str| {
        let e = lex(&source(text)).unwrap_err();
        (e.to_string(), e.line, e.column)
    };
    assert_eq!(at("\n# only\n"), ("file with no instructions".into(), 2, 1));
    assert_eq!(at("FROM a\nRUN cat <<E\nx\n"), ("unterminated heredoc".into(), 2, 9));
    assert_eq!(at("FROM a\n  ENV a"), ("ENV must have two arguments".into(), 2, 3));
    assert_eq!(
        at("ENV a=1 \\\n  b"),
        ("Syntax error - can't find = in \"b\". Must be of the form: name=value".into(), 2, 3)
    );
    assert_eq!(at("# escape=x\nFROM a"), ("invalid escape token 'x' does not match ` or \\".into(), 1, 10));
    assert_eq!(at("# escape=`\n# escape=`"), ("only one escape parser directive can be used".into(), 2, 1));
    let long = format!("FROM a\nRUN {}", "x".repeat(70_000));
    assert_eq!(at(&long).0, "dockerfile line greater than max allowed size of 65535");
}

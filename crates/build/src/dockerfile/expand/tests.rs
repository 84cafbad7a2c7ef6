use super::*;
use std::collections::BTreeMap;

impl Variables for BTreeMap<&str, &str> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).copied()
    }
}

fn variables() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("a", "value"),
        ("empty", ""),
        ("path", "/usr/local/lib/x.tar.gz"),
        ("two", "one two"),
        ("é", "e"),
    ])
}

fn expand(word: &str) -> String {
    match Expander::new('\\').word(word, &variables()) {
        Ok(out) => out.text,
        Err(fault) => format!("! {fault}"),
    }
}

#[test]
fn each_form_of_substitution() {
    for (word, result) in [
        ("$a", "value"),
        ("${a}", "value"),
        ("x$a-y", "xvalue-y"),
        ("$unset", ""),
        ("$", "$"),
        ("$ a", "$ a"),
        ("$é", "e"),
        ("$1a", "a"),
        ("${unset-d}", "d"),
        ("${empty-d}", ""),
        ("${empty:-d}", "d"),
        ("${a:-d}", "value"),
        ("${a+w}", "w"),
        ("${empty+w}", "w"),
        ("${empty:+w}", ""),
        ("${unset:+w}", ""),
        ("${a?m}", "value"),
        ("${empty?m}", ""),
        ("${unset?}", "! unset: is not allowed to be unset"),
        ("${unset?please set it}", "! unset: please set it"),
        ("${empty:?}", "! empty: is not allowed to be empty"),
        ("${unset:-${a}}", "value"),
        ("${unset:-\"${empty:-deep}\"}", "deep"),
        ("${path#*/}", "usr/local/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/local/lib/x.tar"),
        ("${path%%.*}", "/usr/local/lib/x"),
        ("${path#nothing}", "/usr/local/lib/x.tar.gz"),
        ("${a#?}", "alue"),
        ("${path/l*l/X}", "/usr/Xib/x.tar.gz"),
        ("${path/l/L}", "/usr/Local/lib/x.tar.gz"),
        ("${path//l/L}", "/usr/LocaL/Lib/x.tar.gz"),
        ("${path//\\//-}", "-usr-local-lib-x.tar.gz"),
        ("${a//*/x}", "x"),
        ("${a///-}", "-v-a-l-u-e-"),
        ("${unset/a/b}", ""),
    ] {
        assert_eq!(expand(word), result, "{word}");
    }
}

#[test]
fn quotes_and_escapes() {
    for (word, result) in [
        ("'$a'", "$a"),
        ("\"$a\"", "value"),
        ("\\$a", "$a"),
        ("\"\\$a\"", "$a"),
        ("\"\\n\"", "\\n"),
        ("\\n", "n"),
        ("a\\", "a"),
        ("\"it's\"", "it's"),
        ("'a'\"b\"c", "abc"),
        ("'a", "! unexpected end of statement while looking for matching single-quote"),
        ("\"a", "! unexpected end of statement while looking for matching double-quote"),
        ("a << b", "a << b"),
    ] {
        assert_eq!(expand(word), result, "{word}");
    }
    let windows = Expander::new('`').word("`$a \\$a", &variables()).unwrap();
    assert_eq!(windows.text, "$a \\value");
}

#[test]
fn broken_ones_say_why() {
    for (word, fault) in [
        ("${a", "! syntax error: missing '}'"),
        ("${", "! syntax error: missing '}'"),
        ("${a:-b", "! syntax error: missing '}'"),
        ("${}", "! syntax error: bad substitution"),
        ("${:-a}", "! syntax error: bad substitution"),
        ("${a!b}", "! unsupported modifier (!) in substitution"),
        ("${a:#b}", "! unsupported modifier (:#) in substitution"),
        ("${a/b}", "! syntax error: missing '/' in ${}"),
        ("${a#\\x}", "! invalid pattern (\\x) in substitution: invalid escape '\\x'"),
    ] {
        assert_eq!(expand(word), fault, "{word}");
    }
}

#[test]
fn words_split_at_blanks_outside_of_quotes_after_expansion() {
    let words = |text| Expander::new('\\').words(text, &variables()).unwrap();
    assert_eq!(words("a  $two 'b c' d\\ e \"\" $empty"), ["a", "one", "two", "b c", "d e"]);
    assert_eq!(words("80${unset:-80} x"), ["8080", "x"]);
}

#[test]
fn what_is_unset_can_stay() {
    let how = Expander { keep_unset: true, keep_quotes: true, ..Expander::new('\\') };
    let out = how.word("echo \"$a\" $b ${c} ${d:-x} ${e/a/b} ${f%.*}", &variables()).unwrap();
    assert_eq!(out.text, "echo \"value\" $b ${c} ${d:-x} ${e/a/b} ${f%.*}");
    assert_eq!(out.unmatched, ["b", "c", "d", "e", "f"].map(String::from).into());
    assert_eq!(out.matched, ["a".to_owned()].into());
}

#[test]
fn neither_depth_nor_size_grows_without_end() {
    let deep = "${x:-".repeat(10_000) + &"}".repeat(10_000);
    assert_eq!(expand(&deep), "! syntax error: substitutions are nested too deeply");
    let big = "x".repeat(1000);
    let variables = BTreeMap::from([("big", big.as_str())]);
    let out = Expander::new('\\').word(&"$big".repeat(2000), &variables);
    assert_eq!(out, Err(ExpandFault::Large));
}

use super::*;

fn entry(id: &str, kind: &'static str, shared: bool) -> CacheUsage {
    CacheUsage {
        id: id.into(),
        parents: vec!["below".into()],
        kind,
        description: format!("RUN {id}"),
        in_use: false,
        shared,
        size: 1,
        created: Timestamp::from_nanos(0),
        last_used: None,
        uses: 1,
        mutable: kind != "regular",
    }
}

fn filter(field: &str, operator: &str, value: &str) -> CacheFilter {
    CacheFilter { field: field.into(), operator: operator.into(), value: value.into() }
}

#[test]
fn filters_take_what_they_name() {
    let entry = entry("make", "regular", true);
    for (field, operator, value, is) in [
        ("id", "==", "make", true),
        ("id", "!=", "make", false),
        ("id", "~=", "^ma", true),
        ("type", "==", "exec.cachemount", false),
        ("description", "~=", "RUN", true),
        ("parents", "==", "below", true),
        ("shared", "", "", true),
        ("private", "", "", false),
        ("mutable", "==", "false", true),
        ("immutable", "", "", true),
        ("inuse", "==", "true", false),
        ("nothing", "==", "x", false),
    ] {
        assert_eq!(takes(&[filter(field, operator, value)], &entry), is, "{field}{operator}{value}");
    }
    assert!(takes(&[], &entry));
    assert!(!takes(&[filter("id", "==", "make"), filter("shared", "==", "false")], &entry));
}

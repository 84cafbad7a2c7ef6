use super::*;
use std::collections::BTreeSet;

#[test]
fn rules_name_only_what_there_is_and_sets_are_all_of_use() {
    let names: BTreeSet<&str> = SetName::ALL.iter().map(|name| name.as_str()).collect();
    assert_eq!(names.len(), SetName::ALL.len());
    let all = chains();
    let known = |name: &str| all.iter().any(|chain| chain.name == name);
    for open in [false, true] {
        let mut used = BTreeSet::new();
        for rule in rules(open) {
            assert!(known(&rule.chain), "{}", rule.chain);
            for step in &rule.steps {
                match step {
                    Expression::In(set, _) | Expression::NotIn(set, _) | Expression::Map(set, ..) => {
                        used.insert(set.clone());
                    }
                    Expression::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => {
                        assert!(known(chain), "{chain}")
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    }
}

#[test]
fn only_the_open_policy_lets_published_ports_past_the_hosts_rules() {
    let accepted = |open: bool| {
        let accepts = |rule: &Rule| rule.steps.last() == Some(&Expression::Verdict(Verdict::Accept));
        rules(open).iter().filter(|rule| rule.chain == "forward" && accepts(rule)).count()
    };
    // Published ports, and for each family routed ones, those from trusted interfaces, and unprotected ones.
    assert_eq!((accepted(false), accepted(true)), (7, 0));
}

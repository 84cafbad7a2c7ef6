//! The form of placement constraints, with Swarm's sentences. What they mean is the scheduler's to say.

use super::{Code, ControlError, Result};

/// `key==value` or `key!=value`; a list of them.
pub(crate) fn check(constraints: &[String]) -> Result<()> {
    constraints.iter().try_for_each(|text| check_one(text))
}

fn check_one(text: &str) -> Result<()> {
    let unknown = |message: String| ControlError::new(Code::Unknown, message);
    let Some((key, value)) = text.split_once("==").or_else(|| text.split_once("!=")) else {
        return Err(unknown("constraint expected one operator from ==, !=".to_owned()));
    };
    let (key, value) = (key.trim(), value.trim());
    let first = key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = key.bytes().skip(1).all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !first || !rest || key.len() < 2 {
        return Err(unknown(format!("key '{key}' is invalid")));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b":-_ \t\n\r\x0c.*()?+[]\\^$|/".contains(&b);
    match !value.is_empty() && value.bytes().all(fits) {
        true => Ok(()),
        false => Err(unknown(format!("value '{value}' is invalid"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_a_key_an_operator_and_a_value() {
        let said = |text: &str| check(&[text.to_owned()]).map_err(|e| e.to_string());
        for good in
            ["node.role==manager", "node.labels.a != b c", "node.ip==10.0.0.0/8", "engine.labels.x==^a*$"]
        {
            assert_eq!(said(good), Ok(()), "{good}");
        }
        let unknown = |text: &str| Err(format!("rpc error: code = Unknown desc = {text}"));
        assert_eq!(said("node.role=manager"), unknown("constraint expected one operator from ==, !="));
        assert_eq!(said("1a==b"), unknown("key '1a' is invalid"));
        assert_eq!(said("node.role=="), unknown("value '' is invalid"));
        assert_eq!(said("node.role==a>b"), unknown("value 'a>b' is invalid"));
    }
}

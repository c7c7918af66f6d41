//! Label selectors.

use kube::core::{Expression, Selector};

use crate::error::CallError;

/// Reads Kubernetes' selector syntax: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
pub fn parse(field: &'static str, text: &str) -> Result<Selector, CallError> {
    let mut selector = Selector::default();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let expression = parse_expression(part).ok_or_else(|| {
            CallError::invalid(field, format_args!("{part:?} is not a requirement"))
        })?;
        selector.extend(expression);
    }
    Ok(selector)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// As in Kubernetes: nothing, or up to 63 characters with a letter or digit at both ends.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= 63 && text.chars().all(legal);
    (fits && ends(text.chars().next()) && ends(text.chars().next_back())).then(|| text.to_owned())
}

fn parse_expression(part: &str) -> Option<Expression> {
    let key = |text: &str| {
        let text = text.trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        (!text.is_empty() && text.chars().all(legal)).then(|| text.to_owned())
    };
    if let Some(absent) = part.strip_prefix('!') {
        return Some(Expression::DoesNotExist(key(absent)?));
    }
    for (separator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((left, right)) = part.split_once(separator) {
            let (left, right) = (key(left)?, value(right)?);
            return Some(if negated {
                Expression::NotEqual(left, right)
            } else {
                Expression::Equal(left, right)
            });
        }
    }
    if let Some((left, list)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values = list.split(',').map(value).collect::<Option<_>>()?;
        let (name, operator) = left.trim().rsplit_once(' ')?;
        return match operator {
            "in" => Some(Expression::In(key(name)?, values)),
            "notin" => Some(Expression::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    Some(Expression::Exists(key(part)?))
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt;

    use super::*;

    fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
        let labels = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        parse("f", selector).unwrap().matches(&labels)
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels = [("env", "prod"), ("zone", "a")];
        for yes in [
            "",
            "env=prod",
            "env==prod,zone",
            "env in (dev, prod),zone notin (b)",
            "!missing",
            "env!=dev",
            "missing!=x",
            "missing notin(x),env in(prod)",
            "zone!=",
        ] {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in [
            "env=dev",
            "missing",
            "!env",
            "env notin (prod)",
            "zone in (b,c)",
            "env=",
        ] {
            assert!(!matches(no, &labels), "{no}");
        }
        for wrong in [
            "a b",
            "in (x)",
            "a between (b)",
            "=x",
            "a=b c",
            "a=-b",
            "a in (b;c)",
            "a>5",
        ] {
            assert!(parse("f", wrong).is_err(), "{wrong}");
        }
    }
}

//! Texts with a size limit.

/// The text, cut to at most `limit` bytes on a character boundary; a cut is shown by `…`.
pub fn truncate(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(MARK.len()));
    let mut cut = text[..end].to_owned();
    if limit >= MARK.len() {
        cut.push_str(MARK);
    }
    cut
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(truncate("short", 5), "short");
        assert_eq!(truncate("shorter", 6), "sho…");
        assert_eq!(truncate("ååååå", 6), "å…");
        assert_eq!(truncate("ab", 1), "");
        for limit in 0..40 {
            assert!(truncate("æøå and so on, and so on", limit).len() <= limit.max(3));
        }
    }
}

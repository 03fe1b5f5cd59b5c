//! Pages of a list, cut by keys and never by offsets.

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    /// At most as many items as were asked for.
    pub items: Vec<T>,
    /// The cursor to ask for the next page with; none when this is the last one.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// The page of at most `limit` items out of `rows`, for which one row more had been asked.
    pub(crate) fn cut(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next }
    }
}

/// The SQL limit that tells whether there is a next page: one row more than is shown.
pub(crate) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_when_there_is_more() {
        let page = Page::cut(vec![1, 2, 3], 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![1, 2], Some(2)));
        let page = Page::cut(vec![1, 2], 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![1, 2], None));
        assert_eq!(Page::cut(vec![], 2, |item: &i32| *item).next, None);
    }
}

//! Lookup by name in a list whose order matters.

/// Positions of a list, sorted by name: four bytes an entry, and the same build finds duplicates.
/// Sorting rather than hashing, so that no choice of names makes it slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameIndex(Box<[u32]>);

impl NameIndex {
    /// Indexes `items`, or gives the position of an item whose name occurred before.
    /// Lists are capped far below 2^32 entries by [`limits`](crate::limits).
    pub(crate) fn build<'a, T, K: Ord + ?Sized + 'a>(
        items: &'a [T],
        name: impl Fn(&'a T) -> &'a K,
    ) -> Result<Self, usize> {
        let at = |i: &u32| items.get(*i as usize).map(&name);
        let mut order: Box<[u32]> = (0..items.len() as u32).collect();
        order.sort_unstable_by_key(at);
        match order.windows(2).find(|pair| at(&pair[0]) == at(&pair[1])) {
            Some(pair) => Err(pair[1] as usize),
            None => Ok(Self(order)),
        }
    }

    /// The position of the item with this name.
    pub(crate) fn find<'a, T, K: Ord + ?Sized + 'a>(
        &self,
        items: &'a [T],
        name: impl Fn(&'a T) -> &'a K,
        key: &K,
    ) -> Option<usize> {
        let at = |i: &u32| items.get(*i as usize).map(&name);
        let found = self.0.binary_search_by(|i| at(i).cmp(&Some(key))).ok()?;
        self.0.get(found).map(|&i| i as usize)
    }
}

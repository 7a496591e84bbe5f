//! The prefix cache: full pages by the tokens that led to them.
//!
//! A tree whose nodes are pages: a node's children are keyed by the next page's tokens, compared whole, so that a hit is
//! never a collision. A page's contents depend only on the tokens up to its end and on the adapter, whoever computed
//! them (promise: same tokens every time), so a sequence that begins with the same tokens takes the page as it is.

use super::pages::Pages;
use std::collections::HashMap;

/// Index of a node.
pub type NodeId = usize;

struct Node {
    parent: Option<NodeId>,
    page: u32,
    children: HashMap<Box<[u32]>, NodeId>,
    tokens: Box<[u32]>,
    adapter: Option<u32>,
    /// Sequences whose path ends at or goes through this node.
    users: u32,
    /// When it was last taken or left.
    touched: u64,
}

/// See the module.
#[derive(Default)]
pub struct PrefixCache {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    roots: HashMap<(Option<u32>, Box<[u32]>), NodeId>,
    clock: u64,
}

impl PrefixCache {
    /// The child of `parent` (or the root of `adapter`) that holds `tokens`: its node and page.
    pub fn find(&self, parent: Option<NodeId>, adapter: Option<u32>, tokens: &[u32]) -> Option<(NodeId, u32)> {
        let id = match parent {
            Some(parent) => *self.nodes[parent].as_ref()?.children.get(tokens)?,
            None => *self.roots.get(&(adapter, Box::from(tokens)))?,
        };
        Some((id, self.nodes[id].as_ref()?.page))
    }

    /// A sequence's path now goes through `id`.
    pub fn enter(&mut self, id: NodeId) {
        self.clock += 1;
        if let Some(node) = &mut self.nodes[id] {
            node.users += 1;
            node.touched = self.clock;
        }
    }

    /// A sequence's path no longer goes through `id`.
    pub fn leave(&mut self, id: NodeId) {
        self.clock += 1;
        if let Some(node) = &mut self.nodes[id] {
            node.users -= 1;
            node.touched = self.clock;
        }
    }

    /// Adds a page, of which the cache becomes a user.
    pub fn insert(
        &mut self,
        pages: &mut Pages,
        parent: Option<NodeId>,
        adapter: Option<u32>,
        tokens: &[u32],
        page: u32,
    ) -> NodeId {
        pages.share(page);
        let id = self.vacant.pop().unwrap_or(self.nodes.len());
        if id == self.nodes.len() {
            self.nodes.push(None);
        }
        let tokens: Box<[u32]> = tokens.into();
        match parent.and_then(|p| self.nodes[p].as_mut()) {
            Some(parent) => parent.children.insert(tokens.clone(), id),
            None => self.roots.insert((adapter, tokens.clone()), id),
        };
        self.clock += 1;
        let node = Node { parent, page, children: HashMap::new(), tokens, adapter, users: 0, touched: self.clock };
        self.nodes[id] = Some(node);
        id
    }

    /// Drops the page that was longest without a user, among those that nobody builds on; false where there is none.
    pub fn evict(&mut self, pages: &mut Pages) -> bool {
        let idle = |n: &Node| n.users == 0 && n.children.is_empty();
        let candidates = self.nodes.iter().enumerate().filter_map(|(i, n)| Some((i, n.as_ref().filter(|n| idle(n))?)));
        let Some(id) = candidates.min_by_key(|(_, n)| n.touched).map(|(i, _)| i) else { return false };
        let Some(node) = self.nodes[id].take() else { return false };
        match node.parent {
            Some(parent) => {
                if let Some(parent) = &mut self.nodes[parent] {
                    parent.children.remove(&node.tokens);
                }
            }
            None => {
                self.roots.remove(&(node.adapter, node.tokens));
            }
        }
        pages.release(node.page);
        self.vacant.push(id);
        true
    }

    /// Pages got new numbers.
    pub fn renumber(&mut self, numbers: &[Option<u32>]) {
        for node in self.nodes.iter_mut().flatten() {
            if let Some(new) = numbers[node.page as usize] {
                node.page = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_go_before_what_they_stand_on_and_the_oldest_first() {
        let (mut pages, mut cache) = (Pages::new(3), PrefixCache::default());
        let [a, b, c] = [0; 3].map(|_| pages.take().unwrap());
        let root = cache.insert(&mut pages, None, None, &[1, 2], a);
        let leaf = cache.insert(&mut pages, Some(root), None, &[3, 4], b);
        let other = cache.insert(&mut pages, None, Some(7), &[1, 2], c);
        for page in [a, b, c] {
            pages.release(page);
        }
        assert_eq!(cache.find(Some(root), None, &[3, 4]), Some((leaf, b)));
        assert_eq!(cache.find(None, Some(7), &[1, 2]), Some((other, c)));
        assert_eq!(cache.find(Some(root), None, &[3, 5]), None);
        cache.enter(leaf);
        assert!(cache.evict(&mut pages));
        assert_eq!(pages.take(), Some(c));
        assert!(!cache.evict(&mut pages), "the leaf has a user, and the root a leaf");
        cache.leave(leaf);
        assert!(cache.evict(&mut pages) && cache.evict(&mut pages) && !cache.evict(&mut pages));
        assert_eq!((pages.take(), pages.take()), (Some(a), Some(b)));
    }
}

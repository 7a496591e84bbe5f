//! A sequence: its tokens, how many are computed, and the pages that hold them.
//!
//! Behind its tokens may stand *drafted* ones: guesses at what will be pushed next, computed along with the last token. They
//! are no part of the sequence. Where the guess comes true, [`Context::push`] finds the token computed; anything else that
//! changes the sequence takes the drafts back.

use super::pages::Pages;
use super::prefix::{NodeId, PrefixCache};
use super::{Context, PAGE, pages_for};
use crate::adapters::AdapterUse;
use crate::error::Error;

/// Stands for a page that has been freed because no layer looks back that far.
const PASSED: u32 = u32::MAX;

/// See the module.
#[derive(Default)]
pub struct Sequence {
    pub(super) tokens: Vec<u32>,
    /// Tokens that are computed, drafted ones included.
    pub(super) computed: usize,
    /// Drafts: between two steps all computed, before a step none.
    pub(super) drafted: Vec<u32>,
    pages: Vec<u32>,
    /// Pages at the front that are [`PASSED`].
    passed: usize,
    /// Nodes of the prefix cache that hold the first full pages.
    path: Vec<NodeId>,
    pub(super) adapter: Option<AdapterUse>,
    /// Most rows of a prompt in one step.
    pub(super) slice: Option<usize>,
    /// Neither takes nor offers cached prefixes.
    isolated: bool,
}

impl Sequence {
    /// Tokens yet to compute, without drafts.
    pub(super) fn missing(&self) -> usize {
        self.tokens.len().saturating_sub(self.computed)
    }

    /// How many of its own tokens are computed.
    fn settled(&self) -> usize {
        self.computed.min(self.tokens.len())
    }

    /// The token at `position`, drafts included.
    pub(super) fn token(&self, position: usize) -> u32 {
        match self.tokens.get(position) {
            Some(&token) => token,
            None => self.drafted[position - self.tokens.len()],
        }
    }

    /// The page that holds `position`.
    pub(super) fn page(&self, position: usize) -> u32 {
        self.pages[position / PAGE]
    }

    /// Its pages; those that were passed have any number.
    pub(super) fn page_table(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().map(|&p| if p == PASSED { 0 } else { p })
    }

    /// The pages that hold the first `positions`, with their place in the sequence, without those that were passed.
    pub(super) fn resident_pages(&self, positions: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let end = pages_for(positions as u64) as usize;
        self.pages.iter().copied().enumerate().take(end).filter(|(_, p)| *p != PASSED)
    }

    /// Pages at the front that no layer looks back to.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// An empty sequence whose first pages count as passed.
    pub(super) fn mark_passed(&mut self, pages: usize) {
        self.passed = pages;
        self.pages = vec![PASSED; pages];
    }

    /// Pages got new numbers.
    pub(super) fn renumber(&mut self, numbers: &[Option<u32>]) {
        for page in self.pages.iter_mut().filter(|p| **p != PASSED) {
            if let Some(new) = numbers[*page as usize] {
                *page = new;
            }
        }
    }
}

impl Context {
    /// The tokens of a sequence.
    pub fn tokens(&self, sequence: usize) -> &[u32] {
        self.sequences.get(sequence).map_or(&[], |s| &s.tokens)
    }

    /// How many tokens of a sequence are computed.
    pub fn computed(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, Sequence::settled)
    }

    /// Appends tokens; nothing is computed yet, but pages that hold the same tokens are taken over.
    ///
    /// # Errors
    /// [`Error::ContextFull`]: nothing was appended.
    pub fn push(&mut self, sequence: usize, tokens: &[u32]) -> Result<(), Error> {
        let capacity = self.size.positions as usize;
        let s = self.sequence(sequence)?;
        if s.tokens.len() + tokens.len() > capacity {
            return Err(Error::ContextFull { used: s.tokens.len(), wanted: tokens.len(), capacity });
        }
        let as_drafted = s.drafted.iter().zip(tokens).take_while(|(drafted, token)| drafted == token).count();
        s.tokens.extend_from_slice(&tokens[..as_drafted]);
        s.drafted.drain(..as_drafted);
        if as_drafted < tokens.len() {
            self.take_back_drafts(sequence)?;
            self.sequence(sequence)?.tokens.extend_from_slice(&tokens[as_drafted..]);
        }
        self.take_over(sequence);
        Ok(())
    }

    /// Guesses at the tokens after a sequence's own: the next step computes as many of them as it has room for along with the
    /// last token, and hands out the logits after each. Only where just one token is missing; drafts that could not be taken
    /// back without computing others again are left out.
    pub fn draft(&mut self, sequence: usize, tokens: &[u32]) -> Result<(), Error> {
        self.take_back_drafts(sequence)?;
        let room = self.size.positions as usize;
        let s = self.sequence(sequence)?;
        if s.missing() == 1 {
            let len = s.tokens.len();
            let undoable = self.recurrent.undoable(len as u64).map_or(usize::MAX, |n| n as usize);
            let count = tokens.len().min(room.saturating_sub(len)).min(undoable);
            self.sequence(sequence)?.drafted.extend_from_slice(&tokens[..count]);
        }
        Ok(())
    }

    /// Forgets drafts.
    pub fn take_back_drafts(&mut self, sequence: usize) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        if s.drafted.is_empty() {
            return Ok(());
        }
        let len = s.tokens.len();
        self.uncompute(sequence, len)
    }

    /// How a sequence is computed: at most `slice` rows of a prompt per step, and, where `isolated`, without pages that others
    /// computed or may use.
    pub fn configure(&mut self, sequence: usize, slice: Option<u64>, isolated: bool) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        (s.slice, s.isolated) = (slice.map(|n| n as usize), isolated);
        Ok(())
    }

    /// Which adapter of the graph's banks a sequence uses. Changing it makes everything so far uncomputed.
    pub fn set_adapter(&mut self, sequence: usize, adapter: Option<AdapterUse>) -> Result<(), Error> {
        if self.sequence(sequence)?.adapter != adapter {
            self.uncompute(sequence, 0)?;
            self.sequence(sequence)?.adapter = adapter;
        }
        Ok(())
    }

    /// Takes the last `n` tokens back; all of them where there are fewer.
    pub fn rollback(&mut self, sequence: usize, n: usize) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        let left = s.tokens.len().saturating_sub(n);
        s.tokens.truncate(left);
        self.uncompute(sequence, left)
    }

    /// Forgets a sequence's tokens and adapter.
    pub fn reset(&mut self, sequence: usize) -> Result<(), Error> {
        self.rollback(sequence, usize::MAX)?;
        self.sequence(sequence)?.adapter = None;
        Ok(())
    }

    /// Makes the empty sequence `to` what `from` is. They share pages until one of them writes.
    pub fn fork(&mut self, from: usize, to: usize) -> Result<(), Error> {
        self.reset(to)?;
        let source = self.sequence(from)?;
        let copy = Sequence {
            tokens: source.tokens.clone(),
            drafted: source.drafted.clone(),
            pages: source.pages.clone(),
            path: source.path.clone(),
            ..*source
        };
        self.recurrent.fork(&self.states, from, to)?;
        copy.pages.iter().filter(|&&p| p != PASSED).for_each(|&p| self.pages.share(p));
        copy.path.iter().for_each(|&id| self.prefixes.enter(id));
        *self.sequence(to)? = copy;
        Ok(())
    }

    /// Makes sure that there is a token to compute.
    ///
    /// # Errors
    /// [`Error::Empty`] where there are no tokens at all.
    pub fn begin(&mut self, sequence: usize) -> Result<(), Error> {
        self.take_back_drafts(sequence)?;
        let s = self.sequence(sequence)?;
        if s.tokens.is_empty() {
            return Err(Error::Empty);
        }
        if s.computed == s.tokens.len() {
            let last = s.computed - 1;
            self.uncompute(sequence, last)?;
        }
        self.take_over(sequence);
        Ok(())
    }

    /// Nothing counts as computed any more, and `pages` pages are free.
    pub(super) fn forget_computed(&mut self, pages: u64) {
        (self.pages, self.prefixes) = (Pages::new(pages), PrefixCache::default());
        for (i, s) in self.sequences.iter_mut().enumerate() {
            (s.computed, s.passed) = (0, 0);
            s.drafted.clear();
            s.pages.clear();
            s.path.clear();
            self.recurrent.replaced(i);
        }
    }

    /// Drops cached prefixes that no sequence uses.
    pub fn drop_prefixes(&mut self) {
        while self.prefixes.evict(&mut self.pages) {}
    }

    /// Makes at most `n` of a sequence's own tokens count as computed, and no drafts: the nearest point at or before `n` from
    /// which the states can go on.
    fn uncompute(&mut self, sequence: usize, n: usize) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        s.drafted.clear();
        let computed = s.computed;
        if n < computed {
            let mut from = self.recurrent.rewind(&self.states, sequence, computed as u64, n as u64)? as usize;
            let s = &self.sequences[sequence];
            if from < s.passed * PAGE + self.window as usize && s.passed > 0 {
                from = self.recurrent.recover(&self.states, sequence, 0)? as usize;
            }
            self.sequences[sequence].computed = from;
        }
        let s = &mut self.sequences[sequence];
        let keep = if s.computed == 0 { 0 } else { pages_for(n as u64) as usize };
        for page in s.pages.drain(keep.min(s.pages.len())..).filter(|&p| p != PASSED) {
            self.pages.release(page);
        }
        s.passed = s.passed.min(keep);
        for id in s.path.drain((s.computed / PAGE).min(s.path.len())..) {
            self.prefixes.leave(id);
        }
        Ok(())
    }

    /// Takes cached pages over as long as they hold the next tokens. The last token is left to compute, for its logits.
    fn take_over(&mut self, sequence: usize) {
        let s = &mut self.sequences[sequence];
        if self.recurrent.any() || s.isolated || s.passed > 0 {
            return;
        }
        while s.computed == s.path.len() * PAGE && s.computed + PAGE < s.tokens.len() {
            let next = &s.tokens[s.computed..s.computed + PAGE];
            let Some((id, page)) = self.prefixes.find(s.path.last().copied(), contents(s), next) else { return };
            self.pages.share(page);
            self.prefixes.enter(id);
            // A page that was begun already, by a cancelled step or before a rollback, gives way.
            for old in s.pages.drain(s.path.len()..).filter(|&p| p != PASSED) {
                self.pages.release(old);
            }
            s.pages.push(page);
            s.path.push(id);
            s.computed += PAGE;
        }
    }

    /// Pages up to `end`, and none of those to be written shared with anyone.
    pub(super) fn make_room(&mut self, sequence: usize, end: usize) -> Result<(), Error> {
        let s = &self.sequences[sequence];
        let first = (s.computed / PAGE).max(s.passed);
        for place in first..pages_for(end as u64) as usize {
            let old = self.sequences[sequence].pages.get(place).copied();
            if old.is_some_and(|p| p != PASSED && self.pages.users(p) == 1) {
                continue;
            }
            let Some(new) = self.take_page(old.filter(|&p| p != PASSED))? else { continue };
            let s = &mut self.sequences[sequence];
            match old {
                Some(old) => {
                    s.pages[place] = new;
                    if old != PASSED {
                        self.states
                            .iter()
                            .filter(|s| s.is_paged())
                            .try_for_each(|s| s.copy(u64::from(old), u64::from(new)))?;
                        self.pages.release(old);
                    }
                }
                None => s.pages.push(new),
            }
        }
        Ok(())
    }

    /// A free page; `None` where `shared`, a page of the sequence, has become its own instead: cached prefixes gave way.
    fn take_page(&mut self, shared: Option<u32>) -> Result<Option<u32>, Error> {
        loop {
            if let Some(page) = self.pages.take() {
                return Ok(Some(page));
            }
            if !self.prefixes.evict(&mut self.pages) {
                return Err(Error::Internal { what: "out of KV pages".into() });
            }
            if shared.is_some_and(|page| self.pages.users(page) == 1) {
                return Ok(None);
            }
        }
    }

    /// After a step: offers full pages to others, and frees what no layer looks back to.
    pub(super) fn settle(&mut self, sequence: usize) {
        let s = &mut self.sequences[sequence];
        let settled = s.settled();
        let share = !self.recurrent.any() && !s.isolated && s.passed == 0;
        while share && (s.path.len() + 1) * PAGE <= settled {
            let place = s.path.len();
            let (tokens, page) = (&s.tokens[place * PAGE..(place + 1) * PAGE], s.pages[place]);
            let parent = s.path.last().copied();
            let id = match self.prefixes.find(parent, contents(s), tokens) {
                Some((id, same)) => {
                    if same != page {
                        self.pages.share(same);
                        self.pages.release(page);
                        s.pages[place] = same;
                    }
                    id
                }
                None => self.prefixes.insert(&mut self.pages, parent, contents(s), tokens, page),
            };
            self.prefixes.enter(id);
            s.path.push(id);
        }
        if self.window == 0 {
            return;
        }
        // One page more than needed stays, for short rollbacks.
        let passed = (settled.saturating_sub(self.window as usize) / PAGE).saturating_sub(1);
        for page in s.pages.iter_mut().take(passed).skip(s.passed) {
            self.pages.release(std::mem::replace(page, PASSED));
        }
        s.passed = s.passed.max(passed);
        if s.passed > 0 {
            // Cached pages that nobody reads any more must be free to go.
            s.path.drain(..).for_each(|id| self.prefixes.leave(id));
        }
    }

    pub(super) fn sequence(&mut self, i: usize) -> Result<&mut Sequence, Error> {
        let count = self.sequences.len();
        self.sequences.get_mut(i).ok_or_else(|| Error::Internal { what: format!("sequence {i} of {count}") })
    }
}

/// Which adapter's contents its pages depend on.
fn contents(s: &Sequence) -> Option<u32> {
    s.adapter.map(|a| a.contents)
}

//! Filters that cut a list into lists, and text to a width.

use std::rc::Rc;

use super::call::Given;
use super::eval::Interp;
use super::format;
use super::text::Text;
use super::value::{Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

fn size(given: &Given, index: usize, name: &str) -> Result<usize> {
    let size = given.need(index, name, "the filter")?.as_int().and_then(|n| usize::try_from(n).ok());
    size.filter(|n| *n > 0).ok_or_else(|| runtime("the filter takes a number above 0"))
}

/// Stable sorting by a comparison that can fail: a merge sort, since the library's may panic where an order has gaps, as that
/// of values has.
pub(super) fn sorted<T: Clone>(mut items: Vec<T>, mut less: impl FnMut(&T, &T) -> Result<bool>) -> Result<Vec<T>> {
    let mut width = 1;
    while width < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for run in items.chunks(2 * width) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let (Some((l, rest_left)), Some((r, rest_right))) = (left.split_first(), right.split_first()) {
                if less(r, l)? {
                    merged.push(r.clone());
                    right = rest_right;
                } else {
                    merged.push(l.clone());
                    left = rest_left;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        items = merged;
        width *= 2;
    }
    Ok(items)
}

impl Interp<'_> {
    /// `batch(n, fill)`: lists of `n` items, the last filled up.
    pub(super) fn batches(&mut self, of: &Value, given: &Given) -> Result<Vec<Value>> {
        let n = size(given, 0, "linecount")?;
        let fill = given.get(1, "fill_with").filter(|v| !matches!(v, Value::None));
        let items = self.iterate(of)?;
        let mut out = Vec::new();
        for part in items.chunks(n) {
            let mut part = part.to_vec();
            if let Some(fill) = fill {
                Value::room_for(&self.meter, n)?;
                part.resize(n, fill.clone());
            }
            out.push(Value::list(&self.meter, part)?);
        }
        Ok(out)
    }

    /// `slice(n, fill)`: `n` lists, the longer ones first, the shorter ones filled up.
    pub(super) fn slices(&mut self, of: &Value, given: &Given) -> Result<Vec<Value>> {
        let n = size(given, 0, "slices")?;
        let fill = given.get(1, "fill_with").filter(|v| !matches!(v, Value::None));
        let items = self.iterate(of)?;
        Value::room_for(&self.meter, n)?;
        let (each, longer) = (items.len() / n, items.len() % n);
        let mut rest = items.as_slice();
        let mut out = Vec::new();
        for i in 0..n {
            let (part, tail) = rest.split_at((each + usize::from(i < longer)).min(rest.len()));
            rest = tail;
            let mut part = part.to_vec();
            if let Some(fill) = fill.filter(|_| i >= longer) {
                part.push(fill.clone());
            }
            out.push(Value::list(&self.meter, part)?);
        }
        Ok(out)
    }

    /// `groupby(attribute)`: pairs of a key and the items that have it, by rising key.
    pub(super) fn groups(&mut self, of: &Value, given: &Given) -> Result<Vec<Value>> {
        let by = given.need(0, "attribute", "groupby")?;
        let default = given.get(1, "default");
        let sensitive = given.get(2, "case_sensitive").is_some_and(Value::is_true);
        let mut keyed = Vec::new();
        for item in self.iterate(of)? {
            let shown = self.path(item.clone(), by, default)?;
            keyed.push((self.key(&shown, None, sensitive)?, shown, item));
        }
        let keyed = sorted(keyed, |a, b| Ok(a.0.compare(&b.0, &self.meter)?.is_lt()))?;
        let mut out: Vec<(Value, Value, Vec<Value>)> = Vec::new();
        for (key, shown, item) in keyed {
            match out.last_mut() {
                Some((last, _, items)) if last.equals(&key, &self.meter)? => items.push(item),
                _ => out.push((key, shown, vec![item])),
            }
        }
        let pair = |(_, shown, items): (Value, Value, Vec<Value>)| {
            let items = Value::list(&self.meter, items)?;
            Value::sequence(&self.meter, vec![shown, items], true)
        };
        out.into_iter().map(pair).collect()
    }

    /// Whether `truncate` has nothing to do.
    pub(super) fn is_short(&self, of: &Value, given: &Given) -> bool {
        let number = |i, name, usual| given.get(i, name).map_or(Some(usual), Value::as_int);
        match (self.length(of), number(0, "length", 255), number(3, "leeway", 5)) {
            (Ok(length), Some(most), Some(leeway)) => length <= most.saturating_add(leeway),
            _ => false,
        }
    }

    /// `truncate(length, killwords, end, leeway)`.
    pub(super) fn truncate(&mut self, text: &Text, given: &Given) -> Result<Value> {
        let number = |i, name, usual| match given.get(i, name) {
            None | Some(Value::None) => Ok(usual),
            Some(value) => {
                value.as_int().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| runtime("truncate takes numbers"))
            }
        };
        let (length, leeway) = (number(0, "length", 255)?, number(3, "leeway", 5)?);
        let end = match given.get(2, "end") {
            Some(end) => format::to_text(end, &self.meter)?,
            None => Rc::new(Text::copy(&self.meter, "...", false)?),
        };
        let s = text.as_str();
        self.meter.tick(s.len() / 16)?;
        if s.chars().count() <= length.saturating_add(leeway) {
            return text.part(0..s.len()).map(Value::text);
        }
        let kept = length.checked_sub(end.as_str().chars().count());
        let kept = kept.ok_or_else(|| runtime("truncate: the end is longer than the length"))?;
        let mut at = s.char_indices().nth(kept).map_or(s.len(), |(at, _)| at);
        if !given.get(1, "killwords").is_some_and(Value::is_true) {
            at = s.get(..at).and_then(|s| s.rfind(' ')).unwrap_or(at);
        }
        let kept = Value::text(text.part(0..at)?);
        super::ops::binary(super::ast::Op::Add, kept, &Value::Str(end), &self.meter)
    }
}

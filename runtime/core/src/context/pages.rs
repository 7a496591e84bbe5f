//! KV pages: who uses them, and which are free.

/// A pool of equal pages. Every layer's state has the same ones.
///
/// A page may have several users: sequences that share a prefix, and the prefix cache. Who writes to a page must be its
/// only user.
pub struct Pages {
    capacity: u32,
    users: Vec<u32>,
    free: Vec<u32>,
}

impl Pages {
    /// `capacity` pages, all free.
    pub fn new(capacity: u64) -> Self {
        Self { capacity: u32::try_from(capacity).unwrap_or(u32::MAX - 1), users: Vec::new(), free: Vec::new() }
    }

    /// Pages in all.
    pub fn capacity(&self) -> u64 {
        u64::from(self.capacity)
    }

    /// Pages that have a user.
    pub fn used(&self) -> u64 {
        (self.users.len() - self.free.len()) as u64
    }

    /// A page with one user; used ones first, so that memory never touched stays untouched.
    pub fn take(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None if (self.users.len() as u64) < self.capacity() => {
                self.users.push(0);
                self.users.len() as u32 - 1
            }
            None => return None,
        };
        self.users[page as usize] = 1;
        Some(page)
    }

    /// One more user.
    pub fn share(&mut self, page: u32) {
        self.users[page as usize] += 1;
    }

    /// One user less; the last one frees it.
    pub fn release(&mut self, page: u32) {
        let users = &mut self.users[page as usize];
        *users -= 1;
        if *users == 0 {
            self.free.push(page);
        }
    }

    /// Number of users.
    pub fn users(&self, page: u32) -> u32 {
        self.users.get(page as usize).copied().unwrap_or(0)
    }

    /// Changes the capacity, moving used pages to the front where it shrinks: the new number of each page, or `None`
    /// where it is free. Fails, and changes nothing, where the used pages do not fit.
    pub fn resize(&mut self, capacity: u64) -> Option<Vec<Option<u32>>> {
        let new = Self::new(capacity);
        if self.used() > new.capacity() {
            return None;
        }
        let keep = self.users.len() as u64 <= new.capacity();
        let mut next = 0;
        let numbers: Vec<Option<u32>> = (0..)
            .zip(&self.users)
            .map(|(old, &users)| {
                (users > 0).then(|| {
                    next += 1;
                    if keep { old } else { next - 1 }
                })
            })
            .collect();
        self.capacity = new.capacity;
        if !keep {
            self.users.retain(|&u| u > 0);
            self.free.clear();
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_frees() {
        let mut p = Pages::new(2);
        let (a, b) = (p.take().unwrap(), p.take().unwrap());
        assert_eq!(p.take(), None);
        p.share(a);
        p.release(a);
        assert_eq!((p.take(), p.used()), (None, 2));
        p.release(a);
        assert_eq!(p.take(), Some(a));
        assert_eq!(p.users(b), 1);
    }

    #[test]
    fn resizing_keeps_numbers_where_it_can() {
        let mut p = Pages::new(4);
        let all: Vec<u32> = (0..4).map(|_| p.take().unwrap()).collect();
        p.release(all[1]);
        assert_eq!(p.resize(8).unwrap(), [Some(0), None, Some(2), Some(3)]);
        assert_eq!(p.take(), Some(1));
        p.release(0);
        p.release(2);
        assert!(p.resize(1).is_none());
        assert_eq!(p.resize(2).unwrap(), [None, Some(0), None, Some(1)]);
        assert_eq!((p.used(), p.take()), (2, None));
    }
}

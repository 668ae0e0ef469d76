//! The entries that were used last, within a number of bytes and of entries, each with its time to live.
//!
//! A list without pointers: entries stand in a slab, the links of the order beside them, and an index leads from a
//! hash to a place in the slab. Keys are compared by the caller, times are its own; what is taken out is handed to it,
//! to be dropped when it likes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;

const NONE: u32 = u32::MAX;

/// A key with its value.
#[derive(Debug)]
pub struct Entry<K, V> {
    pub key: K,
    pub value: V,
}

/// What a lookup does not need.
#[derive(Debug, Clone, Copy, Default)]
struct About {
    hash: u64,
    weight: u64,
    /// Distinguishes an entry from what stood in its place before.
    stamp: u64,
}

/// What the index holds: a part of the hash stands beside the place, so that few other entries are looked at.
#[derive(Debug, Clone, Copy)]
struct Pointer {
    slot: u32,
    tag: u32,
}

impl Pointer {
    fn new(slot: u32, hash: u64) -> Self {
        Self { slot, tag: tag(hash) }
    }
}

fn tag(hash: u64) -> u32 {
    (spread(hash) >> 32) as u32
}

#[derive(Debug, Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Lru<K, V> {
    slots: Vec<Option<Entry<K, V>>>,
    abouts: Vec<About>,
    links: Vec<Link>,
    free: Vec<u32>,
    index: HashTable<Pointer>,
    oldest: u32,
    newest: u32,
    bytes: u64,
    max_bytes: u64,
    max_entries: usize,
    /// (time, place, stamp) of entries with a time to live; some have been replaced or removed since.
    expiries: BinaryHeap<Reverse<(u64, u32, u64)>>,
    stamps: u64,
    changes: u64,
}

/// Spreads a hash whose bits mean something, such as that of a small number.
fn spread(hash: u64) -> u64 {
    let product = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

impl<K, V> Lru<K, V> {
    #[must_use]
    pub fn new(max_bytes: u64, max_entries: usize) -> Self {
        Self {
            slots: Vec::new(),
            abouts: Vec::new(),
            links: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            bytes: 0,
            max_bytes,
            max_entries,
            expiries: BinaryHeap::new(),
            stamps: 0,
            changes: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The weights of all entries together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How often an entry has come or gone.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether one entry of this weight could be kept at all.
    #[must_use]
    pub fn fits(&self, weight: u64) -> bool {
        weight <= self.max_bytes && self.max_entries > 0
    }

    /// The place of the entry whose key is the one: `is_key` is asked with each place and key that may have this hash.
    pub fn find(&self, hash: u64, mut is_key: impl FnMut(u32, &K) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let same =
            |own: &Pointer| own.tag == tag && self.get(own.slot).is_some_and(|entry| is_key(own.slot, &entry.key));
        self.index.find(spread(hash), same).map(|own| own.slot)
    }

    #[must_use]
    pub fn has_hash(&self, slot: u32, hash: u64) -> bool {
        self.about(slot).hash == hash
    }

    fn about(&self, slot: u32) -> About {
        self.abouts.get(slot as usize).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Entry<K, V>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Counts the entry as used just now.
    pub fn touch(&mut self, slot: u32) {
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
    }

    /// Adds a key that is not there, as the newest; `expires` is the time from which on it is gone.
    pub fn insert(&mut self, hash: u64, key: K, value: V, weight: u64, expires: Option<u64>) {
        self.stamps += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.abouts.push(About::default());
            self.links.push(Link { older: NONE, newer: NONE });
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        let at = slot as usize;
        if let (Some(entry), Some(about)) = (self.slots.get_mut(at), self.abouts.get_mut(at)) {
            *entry = Some(Entry { key, value });
            *about = About { hash, weight, stamp: self.stamps };
        }
        let abouts = &self.abouts;
        let hash_of = |own: &Pointer| spread(abouts.get(own.slot as usize).map_or(0, |about| about.hash));
        // In a fuller index, entries that come and go leave marks behind, until all is hashed anew.
        if 2 * self.index.len() >= self.index.num_buckets() {
            self.index.reserve(self.index.len() + 1, hash_of);
        }
        self.index.insert_unique(spread(hash), Pointer::new(slot, hash), hash_of);
        self.link(slot);
        self.bytes = self.bytes.saturating_add(weight);
        self.changes += 1;
        self.expire_at(slot, expires);
    }

    /// Gives an entry another value, and counts it as used just now; the value it had.
    pub fn replace(&mut self, slot: u32, value: V, weight: u64, expires: Option<u64>) -> Option<V> {
        self.stamps += 1;
        let entry = self.slots.get_mut(slot as usize)?.as_mut()?;
        let old = std::mem::replace(&mut entry.value, value);
        let about = self.abouts.get_mut(slot as usize)?;
        self.bytes = self.bytes.saturating_sub(about.weight).saturating_add(weight);
        (about.weight, about.stamp) = (weight, self.stamps);
        self.touch(slot);
        self.expire_at(slot, expires);
        Some(old)
    }

    pub fn remove(&mut self, slot: u32) -> Option<Entry<K, V>> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        let about = self.about(slot);
        if let Ok(found) = self.index.find_entry(spread(about.hash), |other| other.slot == slot) {
            found.remove();
        }
        self.unlink(slot);
        self.free.push(slot);
        self.bytes = self.bytes.saturating_sub(about.weight);
        self.changes += 1;
        Some(entry)
    }

    /// Takes out one entry that is too much; None if all keep within the bounds.
    pub fn evict(&mut self) -> Option<Entry<K, V>> {
        if self.bytes > self.max_bytes || self.len() > self.max_entries { self.remove(self.oldest) } else { None }
    }

    /// Whether any entry may have a time to live.
    #[must_use]
    pub fn has_expiries(&self) -> bool {
        !self.expiries.is_empty()
    }

    /// Takes out one entry whose time is over.
    pub fn expire(&mut self, now: u64) -> Option<Entry<K, V>> {
        while let Some(&Reverse((time, slot, stamp))) = self.expiries.peek() {
            if time > now {
                return None;
            }
            self.expiries.pop();
            if self.is_current(slot, stamp) {
                return self.remove(slot);
            }
        }
        None
    }

    fn is_current(&self, slot: u32, stamp: u64) -> bool {
        self.get(slot).is_some() && self.about(slot).stamp == stamp
    }

    fn expire_at(&mut self, slot: u32, expires: Option<u64>) {
        let Some(time) = expires else { return };
        self.expiries.push(Reverse((time, slot, self.stamps)));
        // Those of entries that are no more must not pile up.
        if self.expiries.len() > 2 * self.len() + 64 {
            let mut all = std::mem::take(&mut self.expiries).into_vec();
            all.retain(|Reverse((_, slot, stamp))| self.is_current(*slot, *stamp));
            self.expiries = all.into();
        }
    }

    /// The places of all entries, those used longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(some(self.oldest), move |&slot| some(self.links.get(slot as usize)?.newer))
    }

    /// Takes out everything.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Option<Entry<K, V>>> {
        let (changes, stamps) = (self.changes + 1, self.stamps);
        let emptied = Self { stamps, changes, ..Self::new(self.max_bytes, self.max_entries) };
        std::mem::replace(self, emptied).slots
    }

    /// Puts an entry that is in no list at the newest end.
    fn link(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = Link { older, newer: NONE };
        }
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&Link { older, newer }) = self.links.get(slot as usize) else { return };
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
    }

    /// Says what is wrong with the structure, for tests: it takes time by the number of entries.
    pub fn validate(&self) -> Result<(), &'static str> {
        let (mut count, mut bytes, mut before) = (0, 0, NONE);
        for slot in self.iter() {
            let (Some(_), Some(link)) = (self.get(slot), self.links.get(slot as usize)) else {
                return Err("a link leads to nothing");
            };
            if link.older != before || count == self.len() {
                return Err("the links do not form a list");
            }
            if self.find(self.about(slot).hash, |other, _| other == slot).is_none() {
                return Err("an entry is not in the index");
            }
            (count, bytes, before) = (count + 1, bytes + self.about(slot).weight, slot);
        }
        let checks = [
            (before == self.newest && count == self.len(), "the list lacks entries"),
            (bytes == self.bytes, "the bytes are not those of the entries"),
            (self.slots.len() == count + self.free.len(), "a place is lost"),
            (bytes <= self.max_bytes && count <= self.max_entries, "there is too much"),
            (self.expiries.len() <= 2 * self.slots.len() + 64, "there are too many times"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as a vector, the newest last: (key, value, weight, expires).
    type Model = Vec<(u64, usize, u64, Option<u64>)>;

    struct Pair {
        lru: Lru<u64, usize>,
        model: Model,
        now: u64,
    }

    impl Pair {
        fn expire(&mut self) -> usize {
            let before = self.model.len();
            self.model.retain(|entry| entry.3.is_none_or(|time| time > self.now));
            while self.lru.expire(self.now).is_some() {}
            before - self.model.len()
        }

        fn slot(&self, key: u64) -> Option<u32> {
            // Keys share hashes, so that equality decides.
            self.lru.find(key % 16, |_, own| *own == key)
        }

        fn get(&mut self, key: u64) {
            let found = self.slot(key);
            let at = self.model.iter().position(|entry| entry.0 == key);
            assert_eq!(found.and_then(|slot| self.lru.get(slot)).map(|e| e.value), at.map(|at| self.model[at].1));
            if let (Some(slot), Some(at)) = (found, at) {
                self.lru.touch(slot);
                let entry = self.model.remove(at);
                self.model.push(entry);
            }
        }

        fn put(&mut self, key: u64, value: usize, weight: u64, expires: Option<u64>) -> usize {
            match self.slot(key) {
                Some(slot) => drop(self.lru.replace(slot, value, weight, expires)),
                None => self.lru.insert(key % 16, key, value, weight, expires),
            }
            self.model.retain(|entry| entry.0 != key);
            self.model.push((key, value, weight, expires));
            let mut evicted = 0;
            while let Some(entry) = self.lru.evict() {
                assert_eq!(entry.key, self.model.remove(0).0);
                evicted += 1;
            }
            evicted
        }

        fn check(&self) {
            self.lru.validate().unwrap();
            let found: Vec<_> = self.lru.iter().map(|slot| self.lru.get(slot).unwrap().key).collect();
            assert_eq!(found, self.model.iter().map(|entry| entry.0).collect::<Vec<_>>());
            assert_eq!(self.lru.bytes(), self.model.iter().map(|entry| entry.2).sum::<u64>());
        }
    }

    #[test]
    fn does_what_a_vector_does() {
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut evicted, mut expired) = (0, 0);
        let mut pair = Pair { lru: Lru::new(400, 30), model: Vec::new(), now: 0 };
        for value in 0..20_000 {
            let key = random(60);
            match random(20) {
                0..9 => pair.get(key),
                9..17 => {
                    let expires = (random(3) == 0).then(|| pair.now + random(50));
                    evicted += pair.put(key, value, random(40), expires);
                }
                17 => pair.now += random(20),
                18 => {
                    let removed = pair.slot(key).and_then(|slot| pair.lru.remove(slot));
                    assert_eq!(removed.map(|entry| entry.key), pair.model.iter().map(|e| e.0).find(|own| *own == key));
                    pair.model.retain(|entry| entry.0 != key);
                }
                _ if random(50) == 0 => {
                    let removed = pair.lru.clear();
                    assert_eq!(removed.iter().flatten().count(), pair.model.len());
                    pair.model.clear();
                }
                _ => {}
            }
            expired += pair.expire();
            pair.check();
        }
        assert!(evicted > 500 && expired > 500, "{evicted} {expired}");
    }

    #[test]
    fn an_entry_that_was_replaced_lives_by_its_last_time() {
        let mut lru = Lru::new(u64::MAX, usize::MAX);
        lru.insert(1, 1, "a", 0, Some(10));
        let slot = lru.find(1, |_, key| *key == 1).unwrap();
        lru.replace(slot, "b", 0, Some(30));
        assert!(lru.expire(29).is_none());
        lru.replace(slot, "c", 0, None);
        assert!(lru.expire(u64::MAX).is_none());
        assert_eq!(lru.get(slot).map(|entry| entry.value), Some("c"));
    }

    #[test]
    fn times_of_entries_that_are_no_more_do_not_pile_up() {
        let mut lru = Lru::new(u64::MAX, usize::MAX);
        lru.insert(1, 1, (), 0, Some(u64::MAX));
        let slot = lru.find(1, |_, _| true).unwrap();
        for time in 0..10_000 {
            lru.replace(slot, (), 0, Some(u64::MAX - time));
        }
        assert!(lru.expiries.len() <= 66);
        assert!(lru.expire(u64::MAX).is_some());
    }
}

//! The entries that were used last, within a number of bytes and of entries, each with its time to live.
//!
//! A list without pointers: entries stand in a slab with their links, and an index leads from a hash to a place in the
//! slab. Keys are compared by the caller, times are its own; what is taken out is handed to it, to be dropped when it
//! likes.

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

/// A place of the slab: half a line of the cache, if key and value are pointers.
#[derive(Debug)]
struct Slot<K, V> {
    entry: Option<Entry<K, V>>,
    hash: u64,
    older: u32,
    /// Of a free place, the next free one.
    newer: u32,
}

/// What only some caches need; nothing is written of an entry that has neither.
#[derive(Debug, Clone, Copy, Default)]
struct About {
    weight: u64,
    /// Distinguishes an entry with a time to live from what stood in its place before; else 0.
    stamp: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Lru<K, V> {
    slots: Vec<Slot<K, V>>,
    /// As far as any was needed.
    abouts: Vec<About>,
    free: u32,
    /// The places, by the hashes of their keys.
    index: HashTable<u32>,
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
            free: NONE,
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

    /// The place of the entry whose key is the one: `is_key` is asked with each place and key that has this hash.
    pub fn find(&self, hash: u64, mut is_key: impl FnMut(u32, &K) -> bool) -> Option<u32> {
        let is_it = |&at: &u32| {
            let Some(Slot { entry: Some(entry), hash: own, .. }) = self.slots.get(at as usize) else { return false };
            *own == hash && is_key(at, &entry.key)
        };
        self.index.find(spread(hash), is_it).copied()
    }

    fn about(&self, slot: u32) -> About {
        self.abouts.get(slot as usize).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Entry<K, V>> {
        self.slots.get(slot as usize)?.entry.as_ref()
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
        let new = Slot { entry: Some(Entry { key, value }), hash, older: NONE, newer: NONE };
        let slot = if let Some(place) = self.slots.get_mut(self.free as usize) {
            let slot = std::mem::replace(&mut self.free, place.newer);
            *place = new;
            slot
        } else {
            self.slots.push(new);
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        };
        self.index_at(slot, hash);
        self.link(slot);
        self.changes += 1;
        self.describe(slot, weight, expires);
    }

    fn index_at(&mut self, slot: u32, hash: u64) {
        let slots = &self.slots;
        let hash_of = |&at: &u32| spread(slots.get(at as usize).map_or(0, |slot| slot.hash));
        // In a fuller index, entries that come and go leave marks behind, until all is hashed anew.
        if 2 * self.index.len() >= self.index.num_buckets() {
            self.index.reserve(self.index.len() + 1, hash_of);
        }
        self.index.insert_unique(spread(hash), slot, hash_of);
    }

    /// Gives an entry another value, and counts it as used just now; the value it had.
    pub fn replace(&mut self, slot: u32, value: V, weight: u64, expires: Option<u64>) -> Option<V> {
        let entry = self.slots.get_mut(slot as usize)?.entry.as_mut()?;
        let old = std::mem::replace(&mut entry.value, value);
        self.touch(slot);
        self.describe(slot, weight, expires);
        Some(old)
    }

    pub fn remove(&mut self, slot: u32) -> Option<Entry<K, V>> {
        let place = self.slots.get_mut(slot as usize)?;
        let entry = place.entry.take()?;
        if let Ok(found) = self.index.find_entry(spread(place.hash), |other| *other == slot) {
            found.remove();
        }
        self.unlink(slot);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.newer = std::mem::replace(&mut self.free, slot);
        }
        self.changes += 1;
        self.describe(slot, 0, None);
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
        self.about(slot).stamp == stamp
    }

    /// Keeps the weight of what stands in a place, and when its time is over.
    fn describe(&mut self, slot: u32, weight: u64, expires: Option<u64>) {
        if weight == 0 && expires.is_none() && self.abouts.is_empty() {
            return;
        }
        self.stamps += 1;
        let new = About { weight, stamp: expires.map_or(0, |_| self.stamps) };
        if self.abouts.len() <= slot as usize {
            self.abouts.resize(slot as usize + 1, About::default());
        }
        let Some(about) = self.abouts.get_mut(slot as usize) else { return };
        let old = std::mem::replace(about, new);
        self.bytes = self.bytes.saturating_sub(old.weight).saturating_add(weight);
        if let Some(time) = expires {
            self.expire_at(time, slot);
        }
    }

    fn expire_at(&mut self, time: u64, slot: u32) {
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
        std::iter::successors(some(self.oldest), move |&slot| some(self.slots.get(slot as usize)?.newer))
    }

    fn free_places(&self) -> impl Iterator<Item = u32> {
        let free = |at: u32| self.slots.get(at as usize).is_some_and(|slot| slot.entry.is_none()).then_some(at);
        std::iter::successors(free(self.free), move |&at| free(self.slots.get(at as usize)?.newer))
            .take(self.slots.len())
    }

    /// Takes out everything.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Entry<K, V>> {
        let (changes, stamps) = (self.changes + 1, self.stamps);
        let emptied = Self { stamps, changes, ..Self::new(self.max_bytes, self.max_entries) };
        let slots = std::mem::replace(self, emptied).slots;
        slots.into_iter().filter_map(|slot| slot.entry).collect()
    }

    /// Puts an entry that is in no list at the newest end.
    fn link(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        if let Some(own) = self.slots.get_mut(slot as usize) {
            (own.older, own.newer) = (older, NONE);
        }
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(&Slot { older, newer, .. }) = self.slots.get(slot as usize) else { return };
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }

    /// Says what is wrong with the structure, for tests: it takes time by the number of entries.
    pub fn validate(&self) -> Result<(), &'static str> {
        let (mut count, mut bytes, mut before) = (0, 0, NONE);
        for slot in self.iter() {
            let Some(own @ Slot { entry: Some(_), .. }) = self.slots.get(slot as usize) else {
                return Err("a link leads to nothing");
            };
            if own.older != before || count == self.len() {
                return Err("the links do not form a list");
            }
            if self.find(own.hash, |other, _| other == slot).is_none() {
                return Err("an entry is not in the index");
            }
            (count, bytes, before) = (count + 1, bytes + self.about(slot).weight, slot);
        }
        let checks = [
            (before == self.newest && count == self.len(), "the list lacks entries"),
            (bytes == self.bytes, "the bytes are not those of the entries"),
            (self.slots.len() == count + self.free_places().count(), "a place is lost"),
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
        let (evicted, expired) = compare(true);
        assert!(evicted > 500 && expired > 500, "{evicted} {expired}");
        let (evicted, expired) = compare(false);
        assert!(evicted > 500 && expired == 0, "{evicted} {expired}");
    }

    /// With weights and times to live, or without both; how many entries were evicted, and how many expired.
    fn compare(has_abouts: bool) -> (usize, usize) {
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
                    let expires = (has_abouts && random(3) == 0).then(|| pair.now + random(50));
                    let weight = if has_abouts { random(40) } else { 0 };
                    evicted += pair.put(key, value, weight, expires);
                }
                17 => pair.now += random(20),
                18 => {
                    let removed = pair.slot(key).and_then(|slot| pair.lru.remove(slot));
                    assert_eq!(removed.map(|entry| entry.key), pair.model.iter().map(|e| e.0).find(|own| *own == key));
                    pair.model.retain(|entry| entry.0 != key);
                }
                _ if random(50) == 0 => {
                    let removed = pair.lru.clear();
                    assert_eq!(removed.len(), pair.model.len());
                    pair.model.clear();
                }
                _ => {}
            }
            expired += pair.expire();
            pair.check();
        }
        assert_eq!(pair.lru.abouts.is_empty(), !has_abouts);
        (evicted, expired)
    }

    #[test]
    fn two_places_are_a_line_of_the_cache() {
        assert_eq!(size_of::<Slot<&u8, &u8>>(), 32);
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

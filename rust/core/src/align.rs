//! Which elements of two arrays belong together: those of one id, else those that a bounded search finds equal.

use std::collections::{HashMap, HashSet};

use crate::tree::Tree;

/// So many elements may have been removed and added for the search by values; its time grows with this number.
const MOST_EDITS: usize = 256;
/// So many steps may be spent on finding where moved elements stand.
const MOST_STEPS: usize = 4_000_000;

/// How one array becomes the other, in this order: removals, moves, additions; then what was kept may still differ.
#[derive(Debug, Default)]
pub struct Alignment {
    /// Indices in the old array, ascending.
    pub removed: Vec<usize>,
    /// From where to where, each in what the steps before it have made.
    pub moved: Vec<(usize, usize)>,
    /// Indices in the new array, ascending.
    pub added: Vec<usize>,
    /// Indices in both, in the order of the new array.
    pub kept: Vec<(usize, usize)>,
}

impl Alignment {
    /// How many removals, moves and additions.
    #[must_use]
    pub fn edits(&self) -> usize {
        self.removed.len() + self.moved.len() + self.added.len()
    }
}

/// Aligns two arrays, whose first and last elements differ. What cannot be read belongs to nothing.
pub fn align<'a, T: Tree<'a>>(old: &[T], new: &[T]) -> Alignment {
    let mut partners = vec![None; new.len()];
    if old.len() > 1 || new.len() > 1 {
        partners = by_id(old, new).or_else(|| by_value(old, new)).unwrap_or(partners);
    }
    let mut stable = longest_increasing(&partners);
    pair_in_gaps(old.len(), &mut partners, &mut stable);
    arranged(old.len(), partners, &stable)
}

/// Pairs elements of one id. Not if one has none, or an id stands twice.
fn by_id<'a, T: Tree<'a>>(old: &[T], new: &[T]) -> Option<Vec<Option<usize>>> {
    let mut places = HashMap::with_capacity(old.len());
    for (index, element) in old.iter().enumerate() {
        if places.insert(element.id().ok()??, index).is_some() {
            return None;
        }
    }
    let mut seen = HashSet::with_capacity(new.len());
    let mut partners = Vec::with_capacity(new.len());
    for element in new {
        let id = element.id().ok()??;
        partners.push(places.get(&id).copied());
        if !seen.insert(id) {
            return None;
        }
    }
    Some(partners)
}

/// Pairs equal elements in one order on both sides (Myers, "An O(ND) Difference Algorithm", 1986).
fn by_value<'a, T: Tree<'a>>(old: &[T], new: &[T]) -> Option<Vec<Option<usize>>> {
    let mut classes = HashMap::new();
    let mut class = |element: &T| {
        let mut text = Vec::new();
        element.write(&mut text).ok()?;
        let next = classes.len();
        Some(*classes.entry(text).or_insert(next))
    };
    let old = old.iter().map(&mut class).collect::<Option<Vec<_>>>()?;
    let new = new.iter().map(&mut class).collect::<Option<Vec<_>>>()?;
    let mut partners = vec![None; new.len()];
    for (x, y) in common(&old, &new)? {
        if let Some(partner) = partners.get_mut(y) {
            *partner = Some(x);
        }
    }
    Some(partners)
}

/// The furthest place in the old array that so many edits reach, for each diagonal: how much further that place is
/// than the one in the new array.
#[derive(Clone)]
struct Reach {
    furthest: Vec<isize>,
    middle: isize,
}

impl Reach {
    fn get(&self, diagonal: isize) -> isize {
        usize::try_from(diagonal + self.middle).ok().and_then(|at| self.furthest.get(at)).copied().unwrap_or(-1)
    }

    fn set(&mut self, diagonal: isize, place: isize) {
        if let Some(found) = usize::try_from(diagonal + self.middle).ok().and_then(|at| self.furthest.get_mut(at)) {
            *found = place;
        }
    }

    /// The diagonal from which one more edit leads furthest on this one.
    fn before(&self, diagonal: isize, edits: isize) -> isize {
        let adds = diagonal == -edits || diagonal != edits && self.get(diagonal - 1) < self.get(diagonal + 1);
        if adds { diagonal + 1 } else { diagonal - 1 }
    }
}

/// The pairs of a longest common subsequence; None if that takes more edits than are tried.
fn common(old: &[usize], new: &[usize]) -> Option<Vec<(usize, usize)>> {
    let most = isize::try_from(MOST_EDITS.min(old.len() + new.len())).ok()?;
    let mut reach = Reach { furthest: vec![0; usize::try_from(2 * most + 3).ok()?], middle: most + 1 };
    let same = |x: isize, y: isize| {
        let at = |of: &[usize], place: isize| usize::try_from(place).ok().and_then(|place| of.get(place)).copied();
        at(old, x).is_some_and(|class| Some(class) == at(new, y))
    };
    let ends = (isize::try_from(old.len()).ok()?, isize::try_from(new.len()).ok()?);
    let mut trace = Vec::new();
    for edits in 0..=most {
        trace.push(reach.clone());
        for diagonal in (-edits..=edits).step_by(2) {
            let before = reach.before(diagonal, edits);
            let mut x = reach.get(before) + isize::from(before < diagonal);
            while same(x, x - diagonal) {
                x += 1;
            }
            reach.set(diagonal, x);
            if x >= ends.0 && x - diagonal >= ends.1 {
                return Some(pairs(&trace, ends));
            }
        }
    }
    None
}

/// Back from the ends of both, over one edit after the other.
fn pairs(trace: &[Reach], (mut x, mut y): (isize, isize)) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut edits = isize::try_from(trace.len()).unwrap_or_default();
    for reach in trace.iter().rev() {
        edits -= 1;
        let before = reach.before(x - y, edits);
        let (from_x, from_y) = (reach.get(before), reach.get(before) - before);
        while x > from_x.max(0) && y > from_y.max(0) {
            (x, y) = (x - 1, y - 1);
            found.extend(usize::try_from(x).ok().zip(usize::try_from(y).ok()));
        }
        (x, y) = (from_x, from_y);
    }
    found
}

/// For each partner whether it belongs to the longest run of them that ascends: those need not move.
fn longest_increasing(partners: &[Option<usize>]) -> Vec<bool> {
    // The ends of the runs of each length, and before each partner the end of the run that it continues.
    let (mut ends, mut before): (Vec<(usize, usize)>, Vec<Option<usize>>) = (Vec::new(), vec![None; partners.len()]);
    for (index, partner) in partners.iter().enumerate() {
        let Some(place) = *partner else { continue };
        let length = ends.partition_point(|&(end, _)| end < place);
        if let Some(before) = before.get_mut(index) {
            *before = length.checked_sub(1).and_then(|shorter| ends.get(shorter)).map(|&(_, index)| index);
        }
        ends.truncate(ends.len().max(length));
        match ends.get_mut(length) {
            Some(end) => *end = (place, index),
            None => ends.push((place, index)),
        }
    }
    let mut stable = vec![false; partners.len()];
    let mut next = ends.last().map(|&(_, index)| index);
    while let Some(index) = next {
        if let Some(stable) = stable.get_mut(index) {
            *stable = true;
        }
        next = before.get(index).copied().flatten();
    }
    stable
}

/// Pairs what has no partner between the same two stable elements: it may be an element that was rewritten.
fn pair_in_gaps(old_length: usize, partners: &mut [Option<usize>], stable: &mut [bool]) {
    let taken = taken(old_length, partners);
    let fence =
        |(index, (partner, &stable)): (usize, (&Option<usize>, &bool))| Some((index, partner.filter(|_| stable)?));
    let mut fences: Vec<_> = partners.iter().zip(&*stable).enumerate().filter_map(fence).collect();
    fences.push((partners.len(), old_length));
    let (mut from, mut old_from) = (0, 0);
    for (to, old_to) in fences {
        let mut free = (old_from..old_to).filter(|&place| taken.get(place) == Some(&false));
        let range = from..to;
        let gap =
            partners.get_mut(range.clone()).into_iter().flatten().zip(stable.get_mut(range).into_iter().flatten());
        for (partner, stable) in gap.filter(|(partner, _)| partner.is_none()) {
            *partner = free.next();
            *stable = partner.is_some();
        }
        (from, old_from) = (to + 1, old_to + 1);
    }
}

fn taken(old_length: usize, partners: &[Option<usize>]) -> Vec<bool> {
    let mut taken = vec![false; old_length];
    for place in partners.iter().flatten() {
        if let Some(taken) = taken.get_mut(*place) {
            *taken = true;
        }
    }
    taken
}

fn arranged(old_length: usize, mut partners: Vec<Option<usize>>, stable: &[bool]) -> Alignment {
    let movers = partners.iter().zip(stable).filter(|(partner, stable)| partner.is_some() && !**stable).count();
    if movers.saturating_mul(old_length) > MOST_STEPS {
        for (partner, _) in partners.iter_mut().zip(stable).filter(|(_, stable)| !**stable) {
            *partner = None;
        }
    }
    let taken = taken(old_length, &partners);
    let removed = (0..old_length).filter(|&place| taken.get(place) == Some(&false)).collect();
    let mut out = Alignment { removed, ..Alignment::default() };
    let mut current: Vec<_> = (0..old_length).filter(|&place| taken.get(place) == Some(&true)).collect();
    let mut before = None;
    for (index, (partner, stable)) in partners.iter().zip(stable).enumerate() {
        let Some(place) = *partner else {
            out.added.push(index);
            continue;
        };
        if !stable {
            out.moved.extend(moved_behind(&mut current, place, before));
        }
        out.kept.push((place, index));
        before = Some(place);
    }
    out
}

/// Moves one of them behind another, or to the front.
fn moved_behind(current: &mut Vec<usize>, place: usize, before: Option<usize>) -> Option<(usize, usize)> {
    let from = current.iter().position(|&own| own == place)?;
    current.remove(from);
    let to = before.and_then(|before| current.iter().position(|&own| own == before)).map_or(0, |at| at + 1);
    current.insert(to, place);
    (from != to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Text;

    fn aligned<'a>(old: &[&'a str], new: &[&'a str]) -> Alignment {
        let of = |texts: &[&'a str]| texts.iter().map(|text| Text(text.as_bytes())).collect::<Vec<_>>();
        align(&of(old), &of(new))
    }

    #[test]
    fn equal_elements_are_kept_in_their_order() {
        let found = aligned(&["1", "2", "3", "4", "5"], &["0", "2", "3", "5"]);
        assert_eq!((found.kept, found.removed), (vec![(0, 0), (1, 1), (2, 2), (4, 3)], vec![3]));
        assert!(found.moved.is_empty() && found.added.is_empty());
    }

    #[test]
    fn elements_of_one_id_are_moved() {
        let ids = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}"];
        let found = aligned(&ids, &[ids[3], ids[0], ids[1], ids[2]]);
        assert_eq!((found.moved, found.removed.len(), found.added.len()), (vec![(3, 0)], 0, 0));
        assert_eq!(found.kept, [(3, 0), (0, 1), (1, 2), (2, 3)]);
        // An id that stands twice identifies nothing.
        assert!(aligned(&[ids[0], ids[1]], &[ids[1], ids[0], ids[0]]).moved.is_empty());
    }

    #[test]
    fn too_many_edits_are_not_searched_for() {
        let numbers: Vec<_> = (0..2000).map(|n| n.to_string()).collect();
        let old: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let new: Vec<&str> = old.iter().rev().copied().collect();
        assert_eq!(aligned(&old, &new).kept.len(), 2000);
        assert_eq!(common(&[1, 2, 3], &[2, 3, 4]), Some(vec![(2, 1), (1, 0)]));
    }
}

//! New ids of turns.

use std::fmt;
use std::hash::Hasher as _;

use caduceus_contract::turn_id::TurnId;
use siphasher::sip::SipHasher24;
use uuid::Uuid;

/// Makes ids of turns without a clock and without a random source: the same seed gives the same ids, so a plan that contains it is a
/// value.
///
/// The ids of one seed sort in the order in which they are made, and after those of an older seed. Without the seed they cannot be guessed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TurnIds {
    seed: Uuid,
    made: u32,
}

impl TurnIds {
    /// Ids that begin with the time of `seed`.
    #[must_use]
    pub fn seeded(seed: Uuid) -> Self {
        Self { seed, made: 0 }
    }

    /// The next id: the time of the seed (48 bits), the count (32 bits), and a hash of the count with the seed as key (42 bits).
    pub fn make(&mut self) -> TurnId {
        self.made = self.made.wrapping_add(1);
        let mut hasher = SipHasher24::new_with_key(self.seed.as_bytes());
        hasher.write_u32(self.made);
        let digest = hasher.finish().to_be_bytes();
        let mut bytes = *self.seed.as_bytes();
        let [a, b, c, d] = self.made.to_be_bytes();
        // 12 bits beside the version, 20 bits beside the variant.
        bytes[6] = 0x70 | (a >> 4);
        bytes[7] = (a << 4) | (b >> 4);
        bytes[8] = 0x80 | ((b & 0x0f) << 2) | (c >> 6);
        bytes[9] = (c << 2) | (d >> 6);
        bytes[10] = (d << 2) | (digest[0] & 0x03);
        bytes[11..].copy_from_slice(&digest[1..6]);
        Uuid::from_bytes(bytes).into()
    }
}

impl fmt::Debug for TurnIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnIds").field("made", &self.made).finish_non_exhaustive()
    }
}

/// A new id. Ids sort by the time at which they were made.
#[must_use]
pub fn fresh_turn_id() -> TurnId {
    Uuid::now_v7().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_seed_are_reproducible_and_sort_in_order_of_creation() {
        let seed = Uuid::now_v7();
        let (mut ids, mut again) = (TurnIds::seeded(seed), TurnIds::seeded(seed));
        let mut last = None;
        for _ in 0..5_000 {
            let next = ids.make();
            assert_eq!(next, again.make());
            assert!(last < Some(next) && next != seed.into());
            let id: Uuid = next.to_string().parse().unwrap();
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            last = Some(next);
        }
        ids.made = u32::MAX - 1;
        assert!(last < Some(ids.make()));
    }

    #[test]
    fn ids_of_a_later_seed_sort_after() {
        let (older, later) = ("01900000-0000-7fff-bfff-ffffffffffff", "01900000-0001-7000-8000-000000000000");
        let next = |seed: &str, made| TurnIds { made, ..TurnIds::seeded(seed.parse().unwrap()) }.make();
        assert!(next(older, u32::MAX - 1) < next(later, 0));
        assert_ne!(next(later, 0), next("01900000-0001-7000-8000-000000000001", 0));
    }
}

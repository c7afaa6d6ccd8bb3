//! Several fields in one word, which is written whole or not at all, even if its writer is killed.

/// The widths of the fields in bits, from the highest to the lowest.
pub(super) struct Word<const FIELDS: usize>(pub(super) [u32; FIELDS]);

impl<const FIELDS: usize> Word<FIELDS> {
    /// The word of these fields. What is too large for its field becomes the largest that fits.
    pub(super) fn pack(&self, fields: [u64; FIELDS]) -> u64 {
        self.0.iter().zip(fields).fold(0, |word, (&width, field)| word << width | field.min(mask(width)))
    }

    /// The fields of a word.
    pub(super) fn unpack(&self, mut word: u64) -> [u64; FIELDS] {
        let mut fields = [0; FIELDS];
        for (field, &width) in fields.iter_mut().zip(&self.0).rev() {
            *field = word & mask(width);
            word >>= width;
        }
        fields
    }
}

fn mask(width: u32) -> u64 {
    (1 << width) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORD: Word<3> = Word([42, 8, 3]);

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_packed(fields in (0..1_u64 << 42, 0..256_u64, 0..8_u64)) {
            let fields = [fields.0, fields.1, fields.2];
            prop_assert_eq!(WORD.unpack(WORD.pack(fields)), fields);
        }

        #[test]
        fn a_field_that_is_too_large_spoils_no_other(fields: [u64; 3]) {
            let expected = [fields[0].min((1 << 42) - 1), fields[1].min(255), fields[2].min(7)];
            prop_assert_eq!(WORD.unpack(WORD.pack(fields)), expected);
        }
    }
}

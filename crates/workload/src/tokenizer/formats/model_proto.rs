//! Reading a SentencePiece model: the fields of its protocol buffer (`sentencepiece_model.proto`)
//! that tell how a text is cut.

/// A SentencePiece model.
#[derive(Debug)]
pub(super) struct ModelProto {
    pub(super) pieces: Vec<Piece>,
    /// 1 is Unigram, 2 is BPE.
    pub(super) model_type: u64,
    pub(super) byte_fallback: bool,
    /// Words end with the mark for a space instead of starting with it.
    pub(super) space_is_suffix: bool,
    pub(super) unk_id: usize,
    /// Negative where there is none.
    pub(super) bos_id: i64,
    pub(super) eos_id: i64,
    pub(super) unk_piece: String,
    pub(super) bos_piece: String,
    pub(super) eos_piece: String,
    /// Compiled rules of normalisation; empty for none.
    pub(super) charsmap: Vec<u8>,
    pub(super) adds_dummy_prefix: bool,
    pub(super) removes_extra_spaces: bool,
}

/// A token.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Normal,
    /// Has no text: the beginning, the end.
    Control,
    /// Found in a text as a whole.
    UserDefined,
    Other,
}

impl Default for ModelProto {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            space_is_suffix: false,
            unk_id: 0,
            bos_id: 1,
            eos_id: 2,
            unk_piece: "<unk>".to_owned(),
            bos_piece: "<s>".to_owned(),
            eos_piece: "</s>".to_owned(),
            charsmap: Vec::new(),
            adds_dummy_prefix: true,
            removes_extra_spaces: true,
        }
    }
}

impl ModelProto {
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let mut model = Self::default();
        let read = each_field(content, &mut |number, value| {
            match (number, value) {
                (1, Field::Bytes(bytes)) => model.pieces.push(piece(bytes)?),
                (2, Field::Bytes(bytes)) => model.trainer(bytes)?,
                (3, Field::Bytes(bytes)) => model.normalizer(bytes)?,
                _ => {}
            }
            Some(())
        });
        if read.is_none() || model.pieces.is_empty() {
            return Err(
                "expected a SentencePiece model (a protocol buffer) or tiktoken's ranks".to_owned(),
            );
        }
        Ok(model)
    }

    fn trainer(&mut self, bytes: &[u8]) -> Option<()> {
        each_field(bytes, &mut |number, value| {
            match (number, value) {
                (3, Field::Number(kind)) => self.model_type = kind,
                (24, Field::Number(truth)) => self.space_is_suffix = truth != 0,
                (35, Field::Number(truth)) => self.byte_fallback = truth != 0,
                (40, Field::Number(id)) => self.unk_id = usize::try_from(id as i64).unwrap_or(0),
                // Negative numbers are sign-extended to 64 bits.
                (41, Field::Number(id)) => self.bos_id = id as i64,
                (42, Field::Number(id)) => self.eos_id = id as i64,
                (45, Field::Bytes(text)) => self.unk_piece = utf8(text)?,
                (46, Field::Bytes(text)) => self.bos_piece = utf8(text)?,
                (47, Field::Bytes(text)) => self.eos_piece = utf8(text)?,
                _ => {}
            }
            Some(())
        })
    }

    fn normalizer(&mut self, bytes: &[u8]) -> Option<()> {
        each_field(bytes, &mut |number, value| {
            match (number, value) {
                (2, Field::Bytes(map)) => self.charsmap = map.to_vec(),
                (3, Field::Number(truth)) => self.adds_dummy_prefix = truth != 0,
                (4, Field::Number(truth)) => self.removes_extra_spaces = truth != 0,
                _ => {}
            }
            Some(())
        })
    }
}

fn piece(bytes: &[u8]) -> Option<Piece> {
    let mut piece = Piece::default();
    each_field(bytes, &mut |number, value| {
        match (number, value) {
            (1, Field::Bytes(text)) => piece.text = utf8(text)?,
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => {
                piece.kind = match kind {
                    1 => Kind::Normal,
                    3 => Kind::Control,
                    4 => Kind::UserDefined,
                    _ => Kind::Other,
                }
            }
            _ => {}
        }
        Some(())
    })?;
    Some(piece)
}

fn utf8(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// The value of a field.
enum Field<'a> {
    Number(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Visits the fields of a message; `None` where it is not one.
fn each_field(mut rest: &[u8], visit: &mut dyn FnMut(u64, Field<'_>) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let number = key >> 3;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                visit(number, Field::Number(value))?;
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let value = rest.get(..length)?;
                rest = &rest[length..];
                visit(number, Field::Bytes(value))?;
            }
            5 => {
                let (bits, after) = rest.split_first_chunk::<4>()?;
                rest = after;
                visit(number, Field::Fixed32(u32::from_le_bytes(*bits)))?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_read_field_by_field() {
        // One piece "▁a" of score -1.5 and type 4; trainer_spec: BPE, byte fallback, bos_id -1;
        // normalizer_spec: no dummy prefix; a field of an unknown number.
        let bytes = [
            &[0x0a, 0x0d, 0x0a, 0x04][..],
            "▁a".as_bytes(),
            &[0x15, 0, 0, 0xc0, 0xbf, 0x18, 4],
            &[0x12, 0x11, 0x18, 2, 0x98, 2, 1],
            &[
                0xc8, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            &[0x1a, 2, 0x18, 0],
            &[0x50, 7],
        ]
        .concat();
        let model = ModelProto::parse(&bytes).unwrap();
        assert_eq!(model.pieces.len(), 1);
        assert_eq!(model.pieces[0].text, "▁a");
        assert_eq!(model.pieces[0].score, -1.5);
        assert_eq!(model.pieces[0].kind, Kind::UserDefined);
        assert_eq!((model.model_type, model.byte_fallback), (2, true));
        assert_eq!((model.bos_id, model.adds_dummy_prefix), (-1, false));
        for broken in [
            &b""[..],
            b"hello",
            &bytes[..8],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            assert!(ModelProto::parse(broken).is_err());
        }
    }
}

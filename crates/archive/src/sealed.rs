//! Small texts sealed under the names key: readable for whoever shares it, and for nobody else.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::NamesKey;

impl NamesKey {
    /// Seals `plain`: a random nonce of 12 bytes, then its ciphertext by ChaCha20-Poly1305 with tag, under a key that is
    /// the names key's hash of `purpose`. It opens only with the same `purpose` and `context`.
    pub fn seal(&self, purpose: &str, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = plain.to_vec();
        let key = self.sealing_key(purpose);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .expect("it is far from the longest text that can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed; `None` where it was sealed under another key, or is not what was sealed.
    pub fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let key = self.sealing_key(purpose);
        let length = key.open_in_place(nonce, Aad::from(context), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }

    fn sealing_key(&self, purpose: &str) -> LessSafeKey {
        let key = self.hash("seal", &[purpose.as_bytes()]);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key.0).expect("the key has 32 bytes");
        LessSafeKey::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let key = NamesKey::generate();
        let sealed = key.seal("names", b"crm", b"STRIPE_KEY");
        assert_eq!(key.open("names", b"crm", &sealed).unwrap(), b"STRIPE_KEY");
        assert_ne!(sealed, key.seal("names", b"crm", b"STRIPE_KEY"));
        assert!(key.open("other", b"crm", &sealed).is_none());
        assert!(key.open("names", b"shop", &sealed).is_none());
        assert!(NamesKey::generate().open("names", b"crm", &sealed).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(key.open("names", b"crm", &altered).is_none(), "{place}");
            assert!(key.open("names", b"crm", &sealed[..place]).is_none(), "{place}");
        }
    }
}

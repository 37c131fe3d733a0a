//! The upgrade token: proves the identity of a dialling gateway to the connector, for some minutes.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Default validity of a token, in seconds.
pub const DEFAULT_TTL_S: u64 = 300;

/// Closing code of a connection whose token was refused.
pub const UNAUTHORIZED_CODE: u16 = 4_401;

/// Close reason with [`UNAUTHORIZED_CODE`] for a missing or invalid token.
pub const UNAUTHORIZED: &str = "unauthorized";

/// Close reason with [`UNAUTHORIZED_CODE`] for a valid token that has expired.
pub const EXPIRED: &str = "expired";

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token. Retrying cannot help.
    #[error("the token is malformed")]
    Malformed,
    /// None of the secrets signed it.
    #[error("the token is not signed by a known secret")]
    Signature,
    /// Its validity is over. A new token is needed.
    #[error("the token has expired")]
    Expired,
}

/// A token for `gateway_id`, valid for `ttl_s` seconds from `now_s`; without expiry if `ttl_s` is 0.
#[must_use]
pub fn mint(gateway_id: &str, secret: &SecretString, now_s: u64, ttl_s: u64) -> SecretString {
    let expires_s = if ttl_s == 0 { 0 } else { now_s.saturating_add(ttl_s) };
    let signed = format!("{gateway_id}:{expires_s}");
    let signature = hex::encode(mac(secret, &[signed.as_bytes()]).finalize().into_bytes());
    let token = Zeroizing::new(format!("{signed}:{signature}"));
    BASE64_URL_SAFE_NO_PAD.encode(token.as_bytes()).into()
}

/// The gateway in `token`, if it is signed with any of `secrets`; empty secrets sign nothing.
///
/// # Errors
/// [`TokenError`]; only a token with a valid signature is reported as expired.
pub fn verify(token: &str, secrets: &[SecretString], now_s: u64) -> Result<String, TokenError> {
    let Claim { gateway_id, expires_s, signature } = Claim::read(token)?;
    let signed = format!("{gateway_id}:{expires_s}");
    signed_by(&signature, secrets, &[signed.as_bytes()]).ok_or(TokenError::Signature)?;
    if expires_s != 0 && now_s > expires_s { Err(TokenError::Expired) } else { Ok(gateway_id) }
}

/// The gateway in `token`, for the lookup of its secrets. It is not verified.
#[must_use]
pub fn claimed_gateway(token: &str) -> Option<String> {
    Claim::read(token).ok().map(|claim| claim.gateway_id)
}

/// The contents of a token, not verified.
struct Claim {
    gateway_id: String,
    /// Unix seconds; 0 is never.
    expires_s: u64,
    signature: Vec<u8>,
}

impl Claim {
    fn read(token: &str) -> Result<Self, TokenError> {
        // The original's encoder can leave one character of padding; nothing else has two forms.
        let text = token.strip_suffix('=').unwrap_or(token);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
        let decoded = String::from_utf8(bytes).map_err(|_| TokenError::Malformed)?;
        // From the right, because the gateway's id may contain colons.
        let (signed, signature) = decoded.rsplit_once(':').ok_or(TokenError::Malformed)?;
        let (gateway_id, expires) = signed.rsplit_once(':').ok_or(TokenError::Malformed)?;
        let expires_s = expires.parse::<u64>().map_err(|_| TokenError::Malformed)?;
        if expires_s.to_string() != expires {
            return Err(TokenError::Malformed);
        }
        let signature = hex::decode(signature).map_err(|_| TokenError::Malformed)?;
        Ok(Self { gateway_id: gateway_id.to_owned(), expires_s, signature })
    }
}

/// The key in `keys` that made `signature` over the concatenated parts. Compares in constant time.
pub(super) fn signed_by(signature: &[u8], keys: &[SecretString], parts: &[&[u8]]) -> Option<usize> {
    let matches = |key: &SecretString| mac(key, parts).verify_slice(signature).is_ok();
    keys.iter().position(|key| !key.expose_secret().is_empty() && matches(key))
}

/// HMAC-SHA256 under the key's UTF-8 bytes.
pub(super) fn mac(key: &SecretString, parts: &[&[u8]]) -> Hmac<Sha256> {
    let key = key.expose_secret().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_expired_token_is_distinguished_from_a_forged_one() {
        let secret = SecretString::from("s");
        let token = mint("gw", &secret, 1000, 300);
        let secrets = [SecretString::from("new"), secret];
        let verify = |token: &str, now_s| verify(token, &secrets, now_s);
        assert_eq!(verify(token.expose_secret(), 1300), Ok("gw".into()));
        assert_eq!(verify(token.expose_secret(), 1301), Err(TokenError::Expired));
        let forged = mint("gw", &SecretString::from("other"), 0, 300);
        assert_eq!(verify(forged.expose_secret(), 1000), Err(TokenError::Signature));
        assert_eq!(verify("!", 0), Err(TokenError::Malformed));
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        let token = mint("gw", &SecretString::from(""), 0, 0);
        assert_eq!(verify(token.expose_secret(), &[SecretString::from("")], 0), Err(TokenError::Signature));
    }

    #[test]
    fn unused_bits_of_the_last_character_must_be_zero() {
        use base64::engine::{GeneralPurpose, general_purpose};
        let lenient = general_purpose::NO_PAD.with_decode_allow_trailing_bits(true);
        let lenient = GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
        let secret = [SecretString::from("s")];
        let token = mint("g", &secret[0], 5, 0);
        let (head, last) = token.expose_secret().split_at(token.expose_secret().len() - 1);
        let bytes = lenient.decode(token.expose_secret()).unwrap();
        let variants = ('0'..='z').filter(char::is_ascii_alphanumeric).map(|c| format!("{head}{c}"));
        let variants: Vec<_> = variants.filter(|variant| lenient.decode(variant).unwrap() == bytes).collect();
        assert!(variants.len() > 1);
        assert_eq!(variants.iter().filter(|variant| verify(variant, &secret, 9).is_ok()).count(), 1, "{last}");
    }

    proptest! {
        #[test]
        fn a_token_has_one_form_with_and_one_without_padding(id in ".{0,20}", tail in "[A-Za-z0-9_=-]{1,3}") {
            let secret = [SecretString::from("s")];
            let token = mint(&id, &secret[0], 5, 0);
            let token = token.expose_secret();
            prop_assert_eq!(verify(token, &secret, 9), Ok(id.clone()));
            let longer = format!("{token}{tail}");
            prop_assert_eq!(verify(&longer, &secret, 9).is_ok(), tail == "=");
        }
    }
}

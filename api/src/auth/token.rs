//! Access tokens: JWTs in the profile of RFC 9068, signed with Ed25519.

use super::keys::Keys;
use crate::limits::ACCESS_TOKEN_LIFETIME;
use crate::problem::{Problem, ProblemCode};
use axum::http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use uuid::Uuid;

/// The type of an access token (RFC 9068, 2.1): no other kind of JWT passes for one.
const TYPE: &str = "at+jwt";
/// Who issues, and for whom: this API, in both cases.
const ISSUER: &str = "touchline";
const AUDIENCE: &str = "touchline-api";
/// How far the clocks of two nodes may be apart, in seconds.
const LEEWAY_S: i64 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// Why no token could be issued.
#[derive(Debug, thiserror::Error)]
#[error("no access token could be signed")]
pub(crate) struct IssueError(#[source] jsonwebtoken::errors::Error);

impl Keys {
    /// A token for an account, good from `now` on.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub(crate) fn issue(
        &self,
        user_id: UserId,
        token_id: Uuid,
        now: Timestamp,
    ) -> Result<String, IssueError> {
        let issued_at = now.timestamp();
        let lifetime = i64::try_from(ACCESS_TOKEN_LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user_id,
            iat: issued_at,
            nbf: issued_at,
            exp: issued_at.saturating_add(lifetime),
            jti: token_id,
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(self.signer().kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        encode(&header, &claims, &self.signer().private).map_err(IssueError)
    }

    /// Whose token this is.
    ///
    /// The same token comes with every request of its ten minutes, and a signature costs as much to
    /// verify as the rest of a request: a token that was good once is known again by its hash.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<UserId, TokenError> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(grant) = self.grants().get(&hash) {
            return grant.at(now);
        }
        let grant = self.check(token)?;
        self.grants().insert(hash, grant);
        grant.at(now)
    }

    /// What the token grants, if it is signed by one of these keys and meant for this API.
    fn check(&self, token: &str) -> Result<Grant, TokenError> {
        let header = decode_header(token).map_err(|_malformed| TokenError::Invalid)?;
        // `crit` names what a reader must understand (RFC 7515, 4.1.11); this one understands nothing.
        if header.typ.as_deref() != Some(TYPE)
            || header.alg != Algorithm::EdDSA
            || header.crit.is_some()
        {
            return Err(TokenError::Invalid);
        }
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let key = self.public(&kid).ok_or(TokenError::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        // jsonwebtoken would ask the machine for the time; `Grant::at` is told it.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims: Claims = decode(token, key, &validation)
            .map_err(|_refused| TokenError::Invalid)?
            .claims;
        Ok(Grant {
            user_id: claims.sub,
            starts: claims.nbf.max(claims.iat).saturating_sub(LEEWAY_S),
            ends: claims.exp.saturating_add(LEEWAY_S),
        })
    }
}

/// What a good token says: whose it is, and from when until when, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    user_id: UserId,
    starts: i64,
    ends: i64,
}

impl Grant {
    fn at(self, now: Timestamp) -> Result<UserId, TokenError> {
        let now = now.timestamp();
        if self.ends <= now {
            Err(TokenError::Expired)
        } else if self.starts > now {
            Err(TokenError::Invalid)
        } else {
            Ok(self.user_id)
        }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Not a token of this API, or changed.
    Invalid,
    /// Perhaps signed by a key that this process has not seen yet.
    UnknownKey,
    /// It was good once.
    Expired,
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(match error {
            TokenError::Invalid | TokenError::UnknownKey => ProblemCode::InvalidToken,
            TokenError::Expired => ProblemCode::TokenExpired,
        })
    }
}

/// The token in `Authorization: Bearer …` (RFC 6750, 2.1); none when the header is not there.
///
/// # Errors
/// When the header is there, but not like that or more than once.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let invalid = || Problem::new(ProblemCode::InvalidToken);
    if values.next().is_some() {
        return Err(invalid());
    }
    let text = value.to_str().map_err(|_not_ascii| invalid())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::tests::{keys, pairs, pkcs8};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use chrono::{DateTime, TimeDelta};
    use jsonwebtoken::EncodingKey;

    fn now() -> Timestamp {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: UserId::new(Uuid::from_u128(7)),
            iat: 1_700_000_000,
            nbf: 1_700_000_000,
            exp: 1_700_000_600,
            jti: Uuid::from_u128(9),
        }
    }

    fn header(kid: &str) -> Header {
        Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::EdDSA)
        }
    }

    /// Signed by the first or the second key, or by one that nobody knows.
    fn signed(header: &Header, claims: &Claims, key: usize) -> String {
        let secret = pairs().get(key - 1).map_or([3; 32], |pair| pair.0);
        encode(header, claims, &EncodingKey::from_ed_der(&pkcs8(&secret))).unwrap()
    }

    #[test]
    fn an_issued_token_is_good_until_it_expires() {
        let keys = keys();
        let token = keys
            .issue(UserId::new(Uuid::from_u128(7)), Uuid::nil(), now())
            .unwrap();
        let after = |seconds| now() + TimeDelta::seconds(seconds);
        assert_eq!(
            keys.verify(&token, after(0)),
            Ok(UserId::new(Uuid::from_u128(7)))
        );
        assert_eq!(
            keys.verify(&token, after(604)),
            Ok(UserId::new(Uuid::from_u128(7)))
        );
        assert_eq!(keys.verify(&token, after(605)), Err(TokenError::Expired));
        assert_eq!(keys.verify(&token, after(-6)), Err(TokenError::Invalid));
    }

    #[test]
    fn both_keys_of_a_rotation_are_good() {
        for (kid, key) in [("new", 1), ("old", 2)] {
            let token = signed(&header(kid), &claims(), key);
            assert!(keys().verify(&token, now()).is_ok(), "{kid}");
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let refused = |token: &str| keys().verify(token, now()).unwrap_err();
        // Another key under a known name, and a name that nobody knows.
        assert_eq!(
            refused(&signed(&header("new"), &claims(), 3)),
            TokenError::Invalid
        );
        assert_eq!(
            refused(&signed(&header("other"), &claims(), 3)),
            TokenError::UnknownKey
        );
        // A JWT of another kind, for others, or by others.
        let id_token = Header {
            typ: Some("JWT".to_owned()),
            ..header("new")
        };
        assert_eq!(
            refused(&signed(&id_token, &claims(), 1)),
            TokenError::Invalid
        );
        let no_key = Header {
            kid: None,
            ..header("new")
        };
        assert_eq!(refused(&signed(&no_key, &claims(), 1)), TokenError::Invalid);
        let others = Claims {
            aud: "somebody-else".to_owned(),
            ..claims()
        };
        assert_eq!(
            refused(&signed(&header("new"), &others, 1)),
            TokenError::Invalid
        );
        let others = Claims {
            iss: "somebody-else".to_owned(),
            ..claims()
        };
        assert_eq!(
            refused(&signed(&header("new"), &others, 1)),
            TokenError::Invalid
        );
        // The public key as an HMAC secret, and no signature at all.
        let mut hmac = header("new");
        hmac.alg = Algorithm::HS256;
        let token = encode(&hmac, &claims(), &EncodingKey::from_secret(&pairs()[0].1)).unwrap();
        assert_eq!(refused(&token), TokenError::Invalid);
        let good = signed(&header("new"), &claims(), 1);
        let mut parts = good.split('.');
        let payload = parts.nth(1).unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"none","kid":"new"}"#);
        assert_eq!(refused(&format!("{none}.{payload}.")), TokenError::Invalid);
        // One changed character.
        let mut changed = good.clone();
        changed.replace_range(
            good.len() - 10..good.len() - 9,
            if good.ends_with('A') { "B" } else { "A" },
        );
        assert!(changed == good || keys().verify(&changed, now()) == Err(TokenError::Invalid));
        for junk in ["", ".", "..", "a.b.c", "a"] {
            assert_eq!(refused(junk), TokenError::Invalid, "{junk}");
        }
    }

    #[test]
    fn the_header_is_bearer_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers).unwrap(), None);
        headers.insert(header::AUTHORIZATION, "bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap(), Some("abc"));
        headers.append(header::AUTHORIZATION, "Bearer abc".parse().unwrap());
        assert!(bearer(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert!(bearer(&headers).is_err());
    }
}

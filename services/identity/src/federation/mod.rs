//! Users from elsewhere: an identity provider vouches for them (OpenID Connect,
//! by bearer token), and a mapping says who they are here.
//!
//! A request to `…/identity_providers/{idp_id}/protocols/{protocol_id}/auth` goes
//! through [`openid`] (is the token good, what does it claim), [`mapping`] (the
//! rules of the mapping, applied to the claims), [`shadow`] (the records of the
//! user, with groups, projects and roles) and [`sign_in`], which leads through
//! all of it. [`standing`] says later whether what such a token stands on is
//! still there, and [`ended`] which tokens end with it.
//!
//! Not here: SAML, and sign-in by browser (websso): their routes answer 501.
mod ended;
pub(crate) mod mapping;
pub(crate) mod openid;
mod shadow;
mod sign_in;
mod standing;
